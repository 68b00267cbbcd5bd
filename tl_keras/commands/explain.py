"""Show where a trained network looked: images with what it says of them, and Grad-CAM beside each.

    python -m tl_keras.run explain runs/finetune/2026-11-21_10-00-00 photos/ants photos/bees --out looked.png

An image that lies in a folder called as a class is of that class, and its answer is judged. What cannot be read as an
image is named and left out.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tl_keras import data, evaluation, files, models, reporting
from tl_keras.config import Options, option
from tl_keras.data.layouts import IMAGE_SUFFIXES
from tl_keras.errors import InputError
from tl_keras.quiet import keras
from tl_keras.study import trained

KEEPS_RUN = False


@dataclass(frozen=True)
class Settings(Options):
    """What this command can be asked."""

    run: str = option(None, "the folder of a run, or a .keras file", positional=True)
    images: tuple[str, ...] = option((), "image files, and folders of them", positional=True, several=True)
    model: str | None = option(None, "which network of the run (default its winner)")
    out: str = option("explained.png", "the PNG file to write")
    limit: int = option(24, "images that are shown; of more, these are drawn", minimum=1, maximum=200)

    def __post_init__(self):
        super().__post_init__()
        _ = self.network, self.files  # a wrong path is answered before TensorFlow is imported
        if Path(self.out).suffix.lower() != ".png" or Path(self.out).is_dir():
            raise InputError(f"--out: expected the name of a .png file, received {self.out}; give another one")

    @property
    def network(self) -> Path:
        """The .keras file that is meant."""
        return trained.find(Path(self.run), self.model)

    @property
    def files(self) -> list[Path]:
        """The image files, those of a folder by name with numbers by value.

        Raises:
            InputError: no such file or folder, or none at all.
        """
        found = [file for name in self.images for file in _files(Path(name))]
        if not found:
            raise InputError(
                f"IMAGES: expected image files or folders of them, received {', '.join(self.images) or 'nothing'} "
                "without any; name some"
            )
        return found


def run(settings: Settings) -> None:
    """Write the sheet, and print how many answers are right.

    Raises:
        InputError: no image can be read, or the network has no map to show.
    """
    path = settings.network
    model, names = models.model_file.load(path), models.model_file.class_names(path)
    shown, pixels = _read(settings.files, models.networks.view(str(path), mirror=False), settings.limit)
    probabilities = _probabilities(model, pixels)
    numbers = probabilities.argmax(axis=1)
    names = names or tuple(f"class {number}" for number in range(probabilities.shape[1]))
    heats = evaluation.interpret.grad_cam(model, pixels, numbers)
    explained = [
        reporting.explanations.Explained(
            file.name, image, heat, names[number], float(row[number]), file.resolve().parent.name if known else None
        )
        for file, image, heat, number, row in zip(shown, pixels, heats, numbers, probabilities, strict=True)
        for known in [file.resolve().parent.name in names]
    ]
    files.write_bytes(
        Path(settings.out),
        reporting.figures.png(reporting.explanations.sheet(explained, f"{path.stem}: where it looked")),
    )
    judged = [each.right for each in explained if each.right is not None]
    right = f", {sum(judged)} of {len(judged)} right" if judged else ""
    print(f"{settings.out}: {len(shown)} of {len(settings.files)} images{right}")


def _probabilities(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    from tl_keras.training import inference

    given = inference.probabilities(model, pixels)
    sums = given.sum(axis=1)
    if given.min() < 0 or not np.allclose(sums, 1, atol=1e-2):  # a file of another program may end in logits
        given = np.exp(given - given.max(axis=1, keepdims=True))
        given /= given.sum(axis=1, keepdims=True)
    return given


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        inside = [file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != "."]
        return sorted((file for file in inside if file.is_file()), key=_natural)
    if not path.is_file():
        raise InputError(f"IMAGES: expected image files or folders of them, received {path}; check the path")
    return [path]


def _natural(path: Path) -> list[tuple[int, str]]:
    """Digits by their value: 2.png stands before 10.png."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part), part) if number % 2 else (0, part) for number, part in enumerate(parts)]


def _read(paths: list[Path], view: data.view.View, most: int) -> tuple[list[Path], np.ndarray]:
    """What the network sees of at most so many images that can be read, and their files; says which cannot."""
    order = list(data.splits.drawn(len(paths), most))
    spare = [number for number in range(len(paths)) if number not in set(order)]
    read = dict[int, np.ndarray]()
    for number in [*order, *spare]:
        if len(read) == most:
            break
        try:
            read[number] = view.of(data.decode.decode(paths[number]))
        except InputError as error:
            print(f"{paths[number]}: left out: {error}", file=sys.stderr)
    if not read:
        raise InputError(f"IMAGES: expected one that can be read, received {len(paths)} that cannot; replace them")
    kept = sorted(read)
    return [paths[number] for number in kept], np.stack([read[number] for number in kept])
