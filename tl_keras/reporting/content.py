"""What a report says: texts, tables, figures and sections, before anything is laid out."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path

import PIL.Image


@dataclass(frozen=True)
class Text:
    """Plain text; a blank line starts a new paragraph.

    >>> Text("First.\\n\\nSecond.").paragraphs
    ['First.', 'Second.']
    """

    text: str

    @property
    def paragraphs(self) -> list[str]:
        return [part for part in re.split(r"\n\s*\n", self.text.strip()) if part]


@dataclass(frozen=True)
class Table:
    """Rows under a header; the first column names the row, columns of numbers are right-aligned.

    Args:
        caption: what the table shows.
        header: one name per column.
        rows: cells of any type: 0.91234 is shown as 0.9123, 1234567 as 1,234,567, None as –; text stays as it is.
        note: a remark under the table.

    Raises:
        ValueError: a row is longer or shorter than the header.

    >>> Table("Parameters", ["network", "weights"], [["vgg16", 14714688]]).cells
    [['vgg16', '14,714,688']]
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""

    def __post_init__(self):
        for number, row in enumerate(self.rows, 1):
            if len(row) != len(self.header):
                raise ValueError(
                    f"table {self.caption!r}: expected {len(self.header)} cells in row {number}, received {len(row)}"
                )

    @cached_property
    def cells(self) -> list[list[str]]:
        return [[_written(value) for value in row] for row in self.rows]

    @property
    def text(self) -> str:
        """The table for a terminal."""
        rows = [list(self.header), *self.cells]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        aligned = [str.rjust if numeric else str.ljust for numeric in self.numeric]
        return "\n".join(
            "  ".join(align(cell, width) for align, cell, width in zip(aligned, row, widths, strict=True)).rstrip()
            for row in rows
        )

    @cached_property
    def numeric(self) -> list[bool]:
        columns = ([row[number] for row in self.cells] for number in range(len(self.header)))
        number = re.compile(r"[+\-−±≈<>]?\s*\.?\d|(–|nan|-?inf)$")
        return [bool(column) and all(map(number.match, filter(None, column))) for column in columns]


@dataclass(frozen=True)
class Figure:
    """A PNG or JPEG file, shown at the size that its dots per inch ask for; the caption is its alternative text."""

    path: str | Path
    caption: str

    @cached_property
    def inches(self) -> tuple[float, float]:
        with PIL.Image.open(self.path) as image:
            dpi = image.info.get("dpi", (200, 200))
            return image.width / float(dpi[0]), image.height / float(dpi[1])

    @property
    def data_uri(self) -> str:
        with PIL.Image.open(self.path) as image:
            kind = image.get_format_mimetype()
        return f"data:{kind};base64,{base64.b64encode(Path(self.path).read_bytes()).decode()}"


@dataclass(frozen=True)
class Section:
    """A heading with its texts, tables and figures."""

    title: str
    blocks: Sequence[Text | Table | Figure]


@dataclass(frozen=True)
class Report:
    """What a reader gets: title, subtitle, the key findings in one sentence each, then the sections."""

    title: str
    subtitle: str
    summary: Sequence[str]
    sections: Sequence[Section]


def _written(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}"
    if isinstance(value, Real):
        return f"{float(value):,.0f}" if 1000 <= abs(value) < float("inf") else f"{float(value):.4g}"
    return str(value)


def labelled(report: Report) -> list[tuple[Section, list[tuple[Text | Table | Figure, str]]]]:
    """Every section with its blocks, tables and figures numbered through the whole report."""
    counts = {Table: 0, Figure: 0}
    sections = []
    for section in report.sections:
        blocks = []
        for block in section.blocks:
            if type(block) in counts:
                counts[type(block)] += 1
            blocks.append((block, f"{type(block).__name__} {counts.get(type(block), '')}".strip()))
        sections.append((section, blocks))
    return sections
