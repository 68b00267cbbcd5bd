"""What a report says: texts, tables, figures and sections, before anything is laid out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from numbers import Integral, Real
from typing import TYPE_CHECKING

import PIL.Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


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


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        from tl_keras.reporting import templates  # not before a notebook shows it

        return templates.table(self)

    @cached_property
    def numeric(self) -> list[bool]:
        columns = ([row[number] for row in self.cells] for number in range(len(self.header)))
        number = re.compile(r"[+\-−±≈<>]?\s*\.?\d|(–|nan|-?inf)$")
        return [bool(column) and all(map(number.match, filter(None, column))) for column in columns]

    @property
    def narrow(self) -> bool:
        """Whether two such tables stand side by side: names with their values."""
        return len(self.header) == 2 and not self.note


@dataclass(frozen=True, repr=False)
class Figure:
    """A figure that is drawn once, when a page first asks for it.

    Args:
        name: of its file: `plots/NAME.png`.
        caption: what it shows; also its alternative text.
        draw: gives the matplotlib figure.

    >>> Figure("curves", "Accuracy by epoch.", lambda: figures.learning_curves(histories))
    Figure: Accuracy by epoch.
    """

    name: str
    caption: str
    draw: Callable[[], Drawing]

    @cached_property
    def png(self) -> bytes:
        """The figure as a PNG file."""
        from tl_keras.reporting import figures  # matplotlib is not wanted before there is something to draw

        return figures.png(self.draw())

    @cached_property
    def inches(self) -> tuple[float, float]:
        """Width and height that its dots per inch ask for."""
        with PIL.Image.open(BytesIO(self.png)) as image:
            across, down = image.info["dpi"]
            return image.width / float(across), image.height / float(down)

    def __repr__(self) -> str:
        return f"Figure: {self.caption}"

    def _repr_png_(self) -> bytes:
        return self.png


@dataclass(frozen=True)
class Section:
    """A heading with its texts, tables and figures."""

    title: str
    blocks: Sequence[Text | Table | Figure]


@dataclass(frozen=True)
class Report:
    """What a reader gets: title, subtitle, the key findings in one sentence each, then the sections.

    >>> report["Table 1"].header  # doctest: +SKIP
    ['network', 'test accuracy']
    """

    title: str
    subtitle: str
    summary: Sequence[str]
    sections: Sequence[Section]

    def __getitem__(self, label: str) -> Table | Figure:
        """The table or figure that pages call `label`."""
        found = {name: block for _, blocks in labelled(self) for block, name in blocks if not isinstance(block, Text)}
        if label not in found:
            raise KeyError(f"expected one of {', '.join(found)}, received {label}")
        return found[label]


def _written(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}"
    if isinstance(value, Real):
        return f"{float(value):,.0f}" if 1000 <= abs(float(value)) < float("inf") else f"{float(value):.4g}"
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
