"""What these studies take over from PyTorch's tutorial on spatial transformers: MNIST, 28 x 28, batches of 64."""

from __future__ import annotations

from dataclasses import dataclass

from tl_keras.config import Settings as CommonSettings
from tl_keras.config import only_own_network, option
from tl_keras.data import selection
from tl_keras.data.image_data import ImageData
from tl_keras.data.view import View

IMAGE_SIZE = (28, 28)  # its convolutions do not pad: smaller images, such as the digits, are scaled up


@dataclass(frozen=True)
class Settings(CommonSettings):
    """What such a study can be asked; the number of epochs is the tutorial's too."""

    batch_size: int = option(64, "images per training step", minimum=1)
    seeds: int = option(1, "how often each network is trained", minimum=1)

    def __post_init__(self):
        super().__post_init__()
        only_own_network(self)

    @property
    def repetitions(self) -> range:
        """The seeds of the trainings."""
        return range(self.seed, self.seed + self.seeds)


def load(settings: Settings) -> ImageData:
    """The whole set."""
    return selection.asked(settings.data, "mnist", settings.data_dir, IMAGE_SIZE)


def view(images: ImageData) -> View:
    """How the networks see them."""
    return View(IMAGE_SIZE, mirror=images.mirror)
