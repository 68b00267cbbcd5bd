"""Ask a trained network about images: one row for each, with its class and how sure the network is.

    python -m tl_keras.run predict runs/finetune/monday holiday/ cat.jpg --out predictions.csv

RUN is the folder of a run, whose winner answers, or another of its networks by `--model`; or the .keras file of one.
The images are read as those were that the network was trained on, a batch at a time. Of a folder all image files below
it are taken, `2.jpg` before `10.jpg`. One that cannot be read has a row too, with an empty label and probability 0.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tl_keras import data, models, quiet, reporting, training
from tl_keras.config import Options, option
from tl_keras.data.layouts import IMAGE_SUFFIXES
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.export import predictions_csv
from tl_keras.files import check_writable
from tl_keras.study import trained

KEEPS_RUN = NEEDS_TENSORFLOW = False  # it is imported once all that was asked for has been found
SHOWN = 20  # rows, or images that cannot be read

Read = tuple[np.ndarray, dict[int, str]]  # images (N, H, W, C), and why some of them are none


@dataclass(frozen=True)
class Settings(Options):
    """What this command can be asked."""

    run: str = option(None, "the folder of a finished run, or the .keras file of a network", positional=True)
    images: tuple[str, ...] = option((), "image files, and folders of such", positional=True, several=True)
    out: str | None = option(None, "the .csv file that is written (default: the first rows are printed)")
    model: str | None = option(None, "which network of the run (default: the winner)")

    def __post_init__(self):
        super().__post_init__()
        if not self.images:
            raise InputError("IMAGES: expected image files or folders of such, received nothing; name some")
        if self.out is not None:
            _check_out(Path(self.out))


def run(settings: Settings) -> None:
    """Predict every image, and write or print the rows.

    Raises:
        InputError: no such run or images, a network that does not say how it sees images, no image that can be read.
    """
    path = trained.find(Path(settings.run), settings.model)
    view, class_names = models.model_file.said_of(path)
    names, files = zip(*find(settings.images), strict=True)
    quiet.import_tensorflow()
    answers, unreadable = predict(path, view, class_names, files)
    rows = [(name, *answer) for name, answer in zip(names, answers, strict=True)]
    _warn([(names[index], reason) for index, reason in unreadable.items()], len(rows))
    if settings.out is not None:
        predictions_csv.write(Path(settings.out), rows)
        print(f"{len(rows):,} rows: {settings.out}")
        return
    print(reporting.content.Table("", predictions_csv.HEADER, rows[:SHOWN]).text)
    if len(rows) > SHOWN:
        print(f"... and {len(rows) - SHOWN:,} more; --out FILE.csv writes all")


def find(given: Sequence[str]) -> list[tuple[str, Path]]:
    """The image files under what was given, each once, behind the name that it has in the answer.

    A name is the path below the folder that was given, or the file's own; where two would share one, the whole path.

    Raises:
        InputError: something is not there, or a folder has no image files.

    >>> find(["holiday"])  # doctest: +SKIP
    [('2.jpg', PosixPath('holiday/2.jpg')), ('10.jpg', PosixPath('holiday/10.jpg'))]
    """
    found: dict[str, tuple[str, Path]] = {}
    for text in given:
        top = Path(text)
        if not top.exists():
            raise InputError(f"IMAGES: expected image files or folders, received {text}, which is not there; check it")
        paths = _below(top) if top.is_dir() else [top]
        if not paths:
            raise InputError(
                f"IMAGES: expected a folder with image files ({', '.join(IMAGE_SUFFIXES)}), received {text} without; "
                "name another one"
            )
        for path in paths:
            name = path.relative_to(top).as_posix() if top.is_dir() else path.name
            found.setdefault(os.path.abspath(path), (name, path))
    names = [name for name, _ in found.values()]
    alone = len(set(names)) == len(names)
    return [(_printable(name if alone else str(path)), path) for name, path in found.values()]


def predict(
    path: Path, view: View, class_names: tuple[str, ...], files: Sequence[Path]
) -> tuple[list[tuple[str, float]], dict[int, str]]:
    """The most probable class of each file and its probability, and why some, by their index, cannot be read.

    Raises:
        InputError: no file can be read, or the network in `path` is not one of this view and these classes.

    >>> predict(path, *models.model_file.said_of(path), [Path("cat.jpg")])  # doctest: +SKIP
    ([('cat', 0.98)], {})
    """
    training.runtime.prepare(seed=0)
    model = _loaded(path, view, class_names)
    answers, unreadable = [("", 0.0)] * len(files), dict[int, str]()
    with tqdm(desc="images", total=len(files), unit="image", disable=None, leave=False) as progress:
        start = 0
        for images, failed in _read_ahead(files, view):
            unreadable |= {start + row: reason for row, reason in failed.items()}
            if len(failed) < len(images):
                probabilities = _finite(training.inference.probabilities(model, images), path)
                for row in set(range(len(images))) - set(failed):
                    best = int(probabilities[row].argmax())
                    answers[start + row] = (class_names[best], float(probabilities[row, best]))
            start += len(images)
            progress.update(len(images))
    if len(unreadable) == len(files):
        raise InputError(
            f"IMAGES: expected one that can be read, received {len(files)} that cannot; {files[0]}: {unreadable[0]}"
        )
    return answers, unreadable


def _check_out(out: Path) -> None:
    """Refuse what could not be written in the end, and what might be an image."""
    if out.suffix.lower() != ".csv" or out.is_dir():
        kind = "a folder" if out.is_dir() else "another one"
        raise InputError(f"--out: expected a file whose name ends in .csv, received {kind}, {out}; name a .csv file")
    try:
        check_writable(out.parent)
    except OSError as error:
        raise InputError(
            f"--out: expected a file that can be written, received {out} ({error.strerror}); choose another folder"
        ) from error


def _below(folder: Path) -> list[Path]:
    """The image files below a folder, hidden ones left out, numbers in their names by value."""
    files = [path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    shown = [path for path in files if not any(part[0] == "." for part in path.relative_to(folder).parts)]
    return sorted(shown, key=lambda path: _natural(path.relative_to(folder)))


def _natural(path: Path) -> list[list[tuple[int, int, str]]]:
    return [
        [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in re.split("([0-9]+)", part) if piece]
        for part in (*path.parts, str(path))  # at last as text: 01.jpg and 1.jpg are not equal
    ]


def _printable(name: str) -> str:
    """A file name that is no UTF-8 with its foreign bytes escaped, as tables of predictions have them."""
    return name.encode("utf-8", "backslashreplace").decode()


def _loaded(path: Path, view: View, class_names: tuple[str, ...]):
    try:
        model = models.model_file.load(path)
    except InputError as error:
        raise InputError(str(error).replace("--backbone", "RUN", 1)) from error
    if (model.input_shape, model.output_shape) != ((None, *view.shape), (None, len(class_names))):
        raise InputError(
            f"RUN: expected a network of images {view.shape} and {len(class_names)} classes, as {path} says of it, "
            f"received {model.input_shape} and {model.output_shape}; save the model anew"
        )
    return model


def _finite(probabilities: np.ndarray, path: Path) -> np.ndarray:
    if not np.isfinite(probabilities).all():
        raise InputError(
            f"RUN: expected a network that gives probabilities, received nan of {path}, as of one whose training "
            "diverged; name another one"
        )
    return probabilities


def _read_ahead(files: Sequence[Path], view: View) -> Iterator[Read]:
    """A batch after the other; the next one is read while this one is looked at."""
    size = data.pipeline.evaluation_batch_size(np.empty((0, *view.shape), np.uint8))
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(_read, files[:size], view)
        for start in range(size, len(files) + size, size):
            read, following = following.result(), reader.submit(_read, files[start : start + size], view)
            yield read


def _read(files: Sequence[Path], view: View) -> Read:
    """What the network sees of some files; black where one cannot be read, so that all batches have one shape."""
    images, failed = np.zeros((len(files), *view.shape), np.uint8), dict[int, str]()

    def place(rows: range) -> None:
        for row in rows:
            try:
                images[row] = view.of(data.decode.decode(files[row]))
            except InputError as error:
                failed[row] = str(error)

    for _ in data.decode.in_threads(place, len(files)):
        pass
    return images, failed


def _warn(unreadable: Sequence[tuple[str, str]], count: int) -> None:
    if unreadable:
        print(f"warning: {len(unreadable):,} of {count:,} images cannot be read:", file=sys.stderr)
        for name, reason in sorted(unreadable)[:SHOWN]:
            print(f"  {name}: {reason}", file=sys.stderr)
        if len(unreadable) > SHOWN:
            print(f"  ... and {len(unreadable) - SHOWN:,} more, without a label in their rows", file=sys.stderr)
