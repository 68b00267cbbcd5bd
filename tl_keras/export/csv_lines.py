"""The lines of a CSV file with their numbers, so that a message can say in which one something is wrong."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Sequence
from pathlib import Path

from tl_keras.errors import InputError

Line = tuple[int, list[str]]  # its number in the file, its cells


def read(path: Path, strict: bool) -> list[Line]:
    """The lines of a CSV file in UTF-8, one at least.

    Args:
        strict: a byte order mark and carriage returns are refused too; else they do not matter.

    Raises:
        InputError: no such file, an empty one, another encoding, a broken line.

    >>> read(Path("predictions.csv"), strict=True)[0]  # doctest: +SKIP
    (1, ['image', 'label', 'probability'])
    """
    text = _text(Path(path), strict)
    reader, lines = csv.reader(io.StringIO(text, newline=""), strict=True), list[Line]()
    try:
        for cells in reader:
            lines.append((reader.line_num, cells))
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: expected cells between commas, received a broken line ({error}); mend it"
        ) from error
    return lines


def _text(path: Path, strict: bool) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: expected a CSV file, received none that can be read ({error.strerror}); check the path"
        ) from error
    marked = content.startswith(codecs.BOM_UTF8)
    if strict and marked:
        raise InputError(
            f"{path}, line 1: expected UTF-8 without a byte order mark, received one; save it as plain UTF-8"
        )
    try:
        text = content.decode("utf-8-sig" if marked else "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}, line {_line(content, error.start)}: expected UTF-8, received the byte "
            f"{content[error.start]:#04x}; save it as UTF-8"
        ) from error
    if not text.strip():
        raise InputError(f"{path}: expected a header and a row for each image, received an empty file; write it anew")
    returned = content.find(b"\r")
    if strict and returned >= 0:
        raise InputError(
            f"{path}, line {_line(content, returned)}: expected lines that end with \\n alone, received a "
            "carriage return; save it with Unix line ends"
        )
    return text


def _line(content: bytes, place: int) -> int:
    return content.count(b"\n", 0, place) + 1


def check_cells(place: str, cells: list[str], header: Sequence[str], filled: int) -> None:
    """Refuse a line without a cell under each name of the header, or with a blank one among the first `filled`.

    Raises:
        InputError: it is that.

    >>> check_cells("a.csv, line 2", ["1.jpg", "", ""], ["image", "label", "probability"], filled=1)
    """
    if len(cells) != len(header):
        raise InputError(f"{place}: expected {len(header)} cells, received {len(cells)}; mend the line")
    blank = [name for name, cell in zip(header[:filled], cells, strict=False) if not cell.strip()]
    if blank:
        raise InputError(f"{place}: expected no blank cell, received a blank {blank[0]}; fill it in")


def shown(text: str) -> str:
    """A text for a message: quoted, on one line, not too long.

    >>> shown("a.jpg")
    "'a.jpg'"
    """
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
