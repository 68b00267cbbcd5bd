"""What goes out with a network: its name, its model card, and images to check a converted one on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tl_keras.errors import InputError
from tl_keras.evaluation.arms import Arm
from tl_keras.models import model_file
from tl_keras.reporting import model_card
from tl_keras.study import pages

TILES = 4  # a side: of each photograph of scikit-learn so many times so many parts


@dataclass(frozen=True)
class Outgoing:
    """A network that goes out.

    Args:
        name: as in `saved_models/`: the experiment and the arm, or the name of a lone file.
        card: its model card, Markdown.
        arm: what is recorded of it; None of a lone file.
    """

    name: str
    card: str
    arm: Arm | None = None


def of(path: Path) -> Outgoing:
    """What goes out with the network of a .keras file: one that lies in a run's `models/` has a record there.

    >>> of(Path("runs/finetune/monday/models/full.keras")).name  # doctest: +SKIP
    'finetune-full'
    """
    _, class_names = model_file.said_of(path)
    folder = path.absolute().parent.parent
    try:
        run = pages.read(folder)
        arm = next(arm for arm in run.arms if path.stem in [record.name for record in arm.records])
    except (InputError, StopIteration):  # a copy of a file, or a run that has not finished
        return Outgoing(path.stem, model_card.card(path.stem, class_names, None))
    return of_arm(run, arm)


def of_arm(run: pages.Run, arm: Arm) -> Outgoing:
    """What goes out with the first network of an arm."""
    name = f"{run.config['experiment']}-{arm.name}"
    return Outgoing(name, model_card.card(name, arm.first.class_names, arm, run.config["data"]), arm)


def samples(path: Path, arm: Arm | None) -> np.ndarray:
    """Real images as the network of a file sees them, uint8 (N, H, W, C): the small test images that its record has.

    A lone file has none: there they are parts of the photographs that come with scikit-learn.
    """
    view, _ = model_file.said_of(path)
    pictures = _photographs() if arm is None else arm.first.thumbnails.images
    return np.stack([view.of(Image.fromarray(picture.squeeze()).convert("RGB")) for picture in pictures])


def _photographs() -> list[np.ndarray]:
    from sklearn.datasets import load_sample_images

    strips = [strip for image in load_sample_images().images for strip in np.array_split(image, TILES)]
    return [tile for strip in strips for tile in np.array_split(strip, TILES, axis=1)]
