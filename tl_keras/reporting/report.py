"""One report for every study: a small content model, written as one HTML file and as a PDF of the same content.

>>> report = Report(
...     title="Which way of re-using VGG16 works best?",
...     subtitle="CIFAR-10, 50 epochs",
...     summary=["Training the last two layers reaches 0.925."],
...     sections=[Section("Results", [Figure("plots/vgg16.png", "Accuracy by epoch"), Text("It still rises.")])],
... )
>>> write_html(report, "report.html")
>>> write_pdf(report, "report.pdf")
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path

import jinja2
import PIL.Image

from tl_keras import __version__
from tl_keras.files import write_bytes


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


def write_html(report: Report, path: str | Path) -> None:
    """Write `report` as one HTML file that needs no other: images inside, light and dark, printable.

    Raises:
        FileNotFoundError: an image of the report is missing.
    """
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("report.html").render(report=report, sections=labelled(report), version=__version__)
    write_bytes(path, page.encode())


def write_pdf(report: Report, path: str | Path) -> None:
    """Write `report` as an A4 PDF with the content of the HTML page; the same report gives the same bytes.

    Raises:
        FileNotFoundError: an image of the report is missing.
    """
    from tl_keras.reporting import pdf

    write_bytes(path, pdf.render(report))


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
