"""The view: how a file becomes what a network sees. It is saved with the model, and read wherever images come in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from tl_keras.data.decode import resize
from tl_keras.errors import InputError

RESAMPLING = {"bilinear": Image.Resampling.BILINEAR}  # by which data sets are scaled too
# ImageNet networks are tested on the centre of images whose short side is 256 for 224, and in proportion.
MARGIN = 256 / 224


@dataclass(frozen=True)
class View:
    """Size, crop, resampling and channels of what a network sees, and whether a mirror image is still of its class.

    An image is scaled until it covers `scaled`, keeping its aspect ratio; the centre of `size` counts.

    Args:
        size: (height, width) that the network sees.
        scaled: (height, width) that images are scaled to cover before the centre is cut out; None: `size`.
        resampling: bilinear, antialiased where it reduces.
        channels: 3 for RGB, 1 for grey.
        mirror: whether images may be mirrored left-right in training: of natural images, not of digits.

    Raises:
        InputError: sizes below 1, a crop larger than what it is cut from, another resampling, other channels.

    >>> View((28, 28), channels=1).of(Image.new("RGB", (40, 56))).shape
    (28, 28, 1)
    """

    size: tuple[int, int]
    scaled: tuple[int, int] | None = None
    resampling: str = "bilinear"
    channels: int = 3
    mirror: bool = True

    def __post_init__(self):
        pairs = all(len(size) == 2 and all(isinstance(side, int) for side in size) for size in (self.size, self.loaded))
        if not pairs or min(self.size) < 1 or self.loaded[0] < self.size[0] or self.loaded[1] < self.size[1]:
            raise InputError(
                f"view: expected (height, width) of at least 1 and no larger than what it is cut from, received "
                f"{self.size} of {self.loaded}; give another size"
            )
        if self.resampling not in RESAMPLING or self.channels not in (1, 3):
            raise InputError(
                f"view: expected {' or '.join(RESAMPLING)} and 1 or 3 channels, received {self.resampling} and "
                f"{self.channels}; choose one of them"
            )

    @property
    def loaded(self) -> tuple[int, int]:
        """(height, width) of images as they lie in memory, before the centre is cut out."""
        return self.scaled or self.size

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels): the input of the network."""
        return (*self.size, self.channels)

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the centre."""
        tops = [(whole - part) // 2 for whole, part in zip(self.loaded, self.size, strict=True)]
        rows, columns = (slice(top, top + side) for top, side in zip(tops, self.size, strict=True))
        return rows, columns

    @property
    def loading(self) -> View:
        """The view of images as they lie in memory: scaled, not yet cut, so that crops can be drawn from them."""
        return replace(self, size=self.loaded, scaled=None)

    def of(self, image: Image.Image) -> np.ndarray:
        """What the network sees of a Pillow image: uint8 (height, width, channels)."""
        scaled = resize(image, self.loaded, RESAMPLING[self.resampling])
        pixels = np.asarray(scaled.convert("L" if self.channels == 1 else "RGB"))
        return (pixels[..., None] if self.channels == 1 else pixels)[self.window]


def standard(size: tuple[int, int], **given) -> View:
    """The view that ImageNet networks are tested with: for 224 the short side is scaled to 256, the centre counts.

    >>> standard((224, 224)).scaled
    (256, 256)
    """
    return View(size, scaled=(round(size[0] * MARGIN), round(size[1] * MARGIN)), **given)
