"""Predictions as a competition wants them: a CSV file with one row for every test image, in the order of a sample.

    image,label,probability
    00000.jpg,1,0.982143
    00001.jpg,0,0.75

`write` makes such a file, and `check` says before it is handed in whether every convention holds.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path, PurePosixPath

from tl_keras.errors import InputError
from tl_keras.export.csv_lines import Line, check_cells, shown
from tl_keras.export.csv_lines import read as read_lines
from tl_keras.files import atomic

HEADER = ("image", "label", "probability")
# What the columns of a sample may be called, in any case.
CALLED = {
    "image": ("image", "id", "file", "filename", "name"),
    "label": ("label", "class", "prediction", "category"),
    "probability": ("probability", "prob", "confidence", "score"),
}
WHOLE = re.compile("0|[1-9][0-9]*")
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
# A roll number becomes a part of file names, on any system.
ROLL = re.compile("[A-Za-z0-9]([A-Za-z0-9._-]{0,38}[A-Za-z0-9])?")
NAMED = 3  # images in a message
ROUNDING = 1e-6  # of a float32 that should be 1

Row = tuple[str, object, float]  # image, label, probability


@dataclass(frozen=True)
class Sample:
    """What a sample file asks for.

    Args:
        header: the names of its three columns.
        images: the name of each image, in order.
        labels: the label of each, a placeholder as a rule.
        label: the place of the labels among the columns, 1 or 2; the probabilities have the other one.
    """

    header: tuple[str, ...]
    images: tuple[str, ...]
    labels: tuple[str, ...]
    label: int

    def allowed(self) -> Collection[str] | re.Pattern | None:
        """The labels that may be given: whole numbers where the sample has them, else the names in it.

        None, which means any, where one name at most stands in it: that is a placeholder.

        >>> Sample(HEADER, ("1.jpg", "2.jpg"), ("ant", "bee"), 1).allowed()
        ['ant', 'bee']
        """
        names = sorted(filter(str.strip, set(self.labels)))
        if names and all(map(WHOLE.fullmatch, names)):
            return WHOLE
        return names if len(names) > 1 else None


def write(path: Path, rows: Iterable[Row], sample: Path | None = None) -> None:
    """Write the predictions of all test images, atomically: UTF-8, `\\n` line ends, probabilities to six decimals.

    Args:
        rows: (image, label, probability) of each image, once.
        sample: a file whose header and order of images are taken over. Images are told by the names of their files,
            by their whole paths where the sample has folders in them.

    Raises:
        InputError: no image, one twice, a probability that is none, a sample of other columns or other images.
        OSError: `path` cannot be written.

    >>> write(Path("predictions.csv"), [("00000.jpg", 1, 0.982143), ("00001.jpg", 0, 0.75)])
    """
    rows = list(rows)
    if not rows:
        raise InputError(f"{path}: expected predictions of images, received none; predict some")
    for image, _, probability in rows:
        if not 0 <= probability <= 1 + ROUNDING:
            raise InputError(
                f"{image}: expected a probability from 0 to 1, received {probability}; a network whose training "
                "diverged gives such, train it anew"
            )
    asked = None if sample is None else read_sample(sample)
    ordered = _by_image(path, rows, whole=True).values() if asked is None else _in_order(path, rows, asked, sample)
    swapped = asked is not None and asked.label == 2
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(asked.header if asked else HEADER)
        for image, label, probability in ordered:
            number = _decimal(probability)
            writer.writerow((image, number, label) if swapped else (image, label, number))


def read_sample(path: Path) -> Sample:
    """What the sample file of a competition asks for; a byte order mark, CRLF and blank lines do not matter in it.

    Raises:
        InputError: no CSV file in UTF-8, other columns, no image, an image twice.

    >>> read_sample(Path("sample_submission.csv")).images[0]  # doctest: +SKIP
    '00000.jpg'
    """
    (first, header), *lines = [line for line in read_lines(path, strict=False) if line[1]]
    known = ", ".join(f"{kind} (or {', '.join(names[1:])})" for kind, names in CALLED.items())
    kinds = [next((kind for kind, names in CALLED.items() if cell.strip().lower() in names), "") for cell in header]
    if len(kinds) != 3 or kinds[0] != "image" or set(kinds) != set(CALLED):
        raise InputError(
            f"{path}, line {first}: expected three columns, {known}, the image first, received "
            f"{shown(','.join(header))}; name the sample file of the competition"
        )
    for number, cells in lines:
        check_cells(f"{path}, line {number}", cells, header, filled=1)
    images = [cells[0] for _, cells in lines]
    if not images:
        raise InputError(f"{path}: expected a row for each test image, received a header alone; name a whole sample")
    twice = _twice(images)
    if twice is not None:
        raise InputError(f"{path}: expected each image once, received {shown(twice)} twice; name a whole sample")
    label = kinds.index("label")
    return Sample(tuple(header), tuple(images), tuple(cells[label] for _, cells in lines), label)


def check(path: Path, sample: Path, labels: Sequence[str] | None = None) -> int:
    """How many rows a predictions file has, after every convention has been found to hold.

    Plain UTF-8 with `\\n` line ends; the header, the number of rows and the order of the sample; each image once; no
    blank cell; a label that is allowed; a probability from 0 to 1.

    Args:
        labels: those that are allowed; None: what the sample says (`Sample.allowed`).

    Raises:
        InputError: the first convention that is broken, and in which line.

    >>> check(Path("predictions.csv"), Path("sample_submission.csv"))  # doctest: +SKIP
    10000
    """
    asked = read_sample(sample)
    (first, header), *lines = read_lines(path, strict=True)
    if tuple(header) != asked.header:
        raise InputError(
            f"{path}, line {first}: expected the header {','.join(asked.header)}, received "
            f"{shown(','.join(header))}; take over the first line of the sample"
        )
    _check_order(path, lines, asked.images)
    allowed = asked.allowed() if labels is None else labels
    for number, cells in lines:
        place = f"{path}, line {number}"
        check_cells(place, cells, header, filled=3)
        _check_label(place, cells[asked.label], allowed)
        _check_probability(place, cells[3 - asked.label])
    return len(lines)


def check_roll(roll: str) -> None:
    """Refuse a roll number that cannot be a part of a file name on every system.

    Raises:
        InputError: it is none of 1 to 40 letters and digits, with `-`, `_` and `.` between them.

    >>> check_roll("M25_cs-0042")
    """
    if not ROLL.fullmatch(roll):
        raise InputError(
            f"--roll: expected 1 to 40 letters and digits, with -, _ or . only between them, received {shown(roll)}; "
            "give the roll number alone"
        )


def _by_image(path: Path, rows: Iterable[Row], whole: bool) -> dict[str, Row]:
    """The rows by image: by its whole name, or by that of its file."""
    found: dict[str, Row] = {}
    for row in rows:
        name = row[0] if whole else PurePosixPath(row[0]).name
        if name in found:
            raise InputError(f"{path}: expected each image once, received {shown(name)} twice; predict it once")
        found[name] = row
    return found


def _in_order(path: Path, rows: list[Row], asked: Sample, sample: object) -> list[Row]:
    """The rows in the order of the sample, under its names of the images."""
    found = _by_image(path, rows, whole=any("/" in image for image in asked.images))
    lacking = [image for image in asked.images if image not in found]
    if lacking:
        raise InputError(
            f"{sample}: expected images that were predicted, received {len(lacking)} of {len(asked.images)} that were "
            f"not: {_some(lacking)}; predict the folder of images that it belongs to"
        )
    surplus = sorted(found.keys() - set(asked.images))
    if surplus:
        raise InputError(
            f"{sample}: expected every predicted image in it, received {len(surplus)} of {len(rows)} that it lacks: "
            f"{_some(surplus)}; take them away, or name the sample of these images"
        )
    return [(image, *found[image][1:]) for image in asked.images]


def _decimal(probability: float) -> str:
    text = f"{min(probability, 1):.6f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def _check_order(path: Path, lines: list[Line], images: Sequence[str]) -> None:
    """Raise InputError unless the lines are of these images, in this order."""
    found = [cells[0] if cells else "" for _, cells in lines]
    row = next((row for row, pair in enumerate(zip_longest(found, images)) if pair[0] != pair[1]), None)
    if row is None:
        return
    if row == len(found):
        where, remedy = "the end of the file", f"add {_some(images[row:])}"
    elif row == len(images):
        where, remedy = f"line {lines[row][0]}", "take it and what follows away"
    else:
        again = " a second time" if found[row] in found[:row] else ""
        unknown = "" if found[row] in images else ", which the sample lacks,"
        where = f"line {lines[row][0]}"
        remedy = (
            f"there {shown(found[row])}{again or unknown} stands for {shown(images[row])}: write each image of the "
            "sample once, in its order"
        )
    raise InputError(
        f"{path}: expected the {len(images)} rows of the sample, received {len(found)} that differ from {where} on; "
        f"{remedy}"
    )


def _check_label(place: str, label: str, allowed: Collection[str] | re.Pattern | None) -> None:
    if isinstance(allowed, re.Pattern):
        if not allowed.fullmatch(label):
            raise InputError(
                f"{place}: expected a whole number as the label, as in the sample, received {shown(label)}; give the "
                "number of the class"
            )
    elif allowed is not None and label not in allowed:
        raise InputError(f"{place}: expected a label among {_some(allowed)}, received {shown(label)}; give one of them")


def _check_probability(place: str, text: str) -> None:
    value = float(text) if NUMBER.fullmatch(text) else math.nan
    if not 0 <= value <= 1:
        raise InputError(f"{place}: expected a probability from 0 to 1, received {shown(text)}; give a number")


def _twice(names: Sequence[str]) -> str | None:
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]


def _some(names: Collection[str]) -> str:
    return ", ".join([*map(shown, list(names)[:NAMED]), *(["..."] if len(names) > NAMED else [])])
