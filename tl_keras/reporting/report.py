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
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from io import BytesIO
from numbers import Integral, Real
from pathlib import Path
from xml.sax.saxutils import escape

import jinja2
import matplotlib
import PIL.Image
from reportlab import platypus
from reportlab.lib.colors import HexColor, white
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import inch, mm
from reportlab.lib.utils import simpleSplit
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

from tl_keras import __version__

INK, FAINT, ACCENT, WASH = (HexColor(code) for code in ("#22272e", "#5b6470", "#005f96", "#edf5fb"))
LINE, STRIPE = HexColor("#dfe3e8"), HexColor("#f6f8fa")
MARGIN, TOP, BOTTOM = 20 * mm, 22 * mm, 20 * mm
WIDTH, HEIGHT = A4[0] - 2 * MARGIN, A4[1] - TOP - BOTTOM
CELL_SIZES = (8.5, 8, 7.5, 7, 6.5, 6)
CELL_PADDING = 4


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
        return [all(re.match(r"[+\-−±≈<>]?\s*\.?\d|–$|nan|-?inf|$", cell) for cell in column) for column in columns]


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
    page = environment.get_template("report.html").render(
        report=report, sections=_labelled(report), version=__version__
    )
    _write(path, page.encode())


def write_pdf(report: Report, path: str | Path) -> None:
    """Write `report` as an A4 PDF with the content of the HTML page; the same report gives the same bytes.

    Raises:
        FileNotFoundError: an image of the report is missing.
    """
    _register_fonts()
    content = BytesIO()
    _Document(content, report).build(_story(report))
    _write(path, content.getvalue())


def _write(path: str | Path, content: bytes) -> None:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


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


def _labelled(report: Report) -> list[tuple[Section, list[tuple[Text | Table | Figure, str]]]]:
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


@cache
def _register_fonts() -> None:
    # DejaVu comes with matplotlib and, unlike the fonts that PDF readers bring, is not limited to Latin-1.
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    pdfmetrics.registerFont(TTFont("DejaVu", folder / "DejaVuSans.ttf"))
    pdfmetrics.registerFont(TTFont("DejaVu-Bold", folder / "DejaVuSans-Bold.ttf"))
    pdfmetrics.registerFontFamily("DejaVu", "DejaVu", "DejaVu-Bold", "DejaVu", "DejaVu-Bold")


def _style(size: float, leading: float = 1.45, font: str = "DejaVu", color=INK, **rest) -> ParagraphStyle:
    name = rest.pop("name", "")
    return ParagraphStyle(
        name,
        fontName=font,
        fontSize=size,
        leading=size * leading,
        textColor=color,
        allowWidows=0,
        allowOrphans=0,
        **rest,
    )


def _paragraph(text: str, style: ParagraphStyle, label: str = "") -> platypus.Paragraph:
    start = f'<font name="DejaVu-Bold" color="#22272e">{escape(label)}.</font> ' if label else ""
    return platypus.Paragraph(start + escape(text).replace("\n", "<br/>"), style)


class _Document(platypus.BaseDocTemplate):
    """A4 pages: a running title from the second page on, page numbers, the sections as PDF bookmarks."""

    def __init__(self, file: BytesIO, report: Report):
        super().__init__(
            file, pagesize=A4, title=report.title, subject=report.subtitle, author="tl_keras", lang="en", invariant=1
        )
        frame = platypus.Frame(MARGIN, BOTTOM, WIDTH, HEIGHT, 0, 0, 0, 0)
        self.addPageTemplates(platypus.PageTemplate(frames=[frame], onPage=self._decorate))

    def _decorate(self, canvas, _) -> None:
        canvas.setFont("DejaVu", 8)
        canvas.setFillColor(FAINT)
        canvas.setStrokeColor(LINE)
        canvas.drawString(MARGIN, 11 * mm, f"tl_keras {__version__}")
        before = f"Page {canvas.getPageNumber()} of "
        canvas.drawRightString(A4[0] - MARGIN - 5 * mm, 11 * mm, before)
        canvas.saveState()
        canvas.translate(A4[0] - MARGIN - 5 * mm, 11 * mm)
        canvas.doForm("total")
        canvas.restoreState()
        if canvas.getPageNumber() > 1:
            lines = simpleSplit(self.title, "DejaVu", 8, WIDTH - 5 * mm)
            canvas.drawString(MARGIN, A4[1] - 14 * mm, lines[0] + ("…" if len(lines) > 1 else ""))
            canvas.line(MARGIN, A4[1] - 16.5 * mm, A4[0] - MARGIN, A4[1] - 16.5 * mm)

    def afterFlowable(self, flowable) -> None:
        if isinstance(flowable, platypus.Paragraph) and flowable.style.name == "heading":
            key = f"section-{self.seq.nextf('heading')}"
            self.canv.bookmarkPage(key)
            self.canv.addOutlineEntry(flowable.getPlainText(), key)


class _TotalPages(platypus.Flowable):
    """Stands last and fills in the number of pages that every footer refers to."""

    def draw(self) -> None:
        canvas, pages = self.canv, str(self.canv.getPageNumber())
        canvas.beginForm("total")
        canvas.setFont("DejaVu", 8)
        canvas.setFillColor(FAINT)
        canvas.drawString(0, 0, pages)
        canvas.endForm()


def _story(report: Report) -> list[platypus.Flowable]:
    heading = _style(14, 1.3, "DejaVu-Bold", spaceBefore=16, spaceAfter=6, name="heading")
    story = [_paragraph(report.title, _style(21, 1.25, "DejaVu-Bold"))]
    if report.subtitle:
        story.append(_paragraph(report.subtitle, _style(11.5, color=FAINT, spaceBefore=4)))
    story.append(platypus.HRFlowable("100%", 2, color=ACCENT, spaceBefore=10, spaceAfter=12))
    if report.summary:
        story.append(_findings(report.summary))
    for section, blocks in _labelled(report):
        group = [_paragraph(section.title, heading)]
        for block, label in blocks:
            flowables, whole = _BLOCKS[type(block)](block, label)
            if whole:
                story.append(platypus.KeepTogether([*group, *flowables]))
            else:
                room = 35 * mm if group or isinstance(block, Table) else 0
                story += [platypus.CondPageBreak(room), *group, *flowables]
            group = []
        story += group
    return [*story, _TotalPages()]


def _findings(summary: Sequence[str]) -> platypus.Table:
    body = _style(9.5, bulletFontName="DejaVu", bulletFontSize=9.5, leftIndent=12)
    rows = [[_paragraph("Key findings", _style(10.5, font="DejaVu-Bold", color=ACCENT))]]
    rows += [[platypus.Paragraph(escape(finding), body, bulletText="•")] for finding in summary]
    look = [
        ("BACKGROUND", (0, 0), (-1, -1), WASH),
        ("LINEBEFORE", (0, 0), (0, -1), 3, ACCENT),
        ("LEFTPADDING", (0, 0), (-1, -1), 12),
        ("TOPPADDING", (0, 0), (-1, 0), 8),
        ("BOTTOMPADDING", (0, -1), (-1, -1), 9),
    ]
    return platypus.Table(rows, [WIDTH], style=look, splitInRow=1)


def _text(block: Text, _: str) -> tuple[list[platypus.Flowable], bool]:
    style = _style(9.5, 1.5, spaceAfter=7)
    return [platypus.Paragraph(escape(paragraph), style) for paragraph in block.paragraphs], False


def _figure(block: Figure, label: str) -> tuple[list[platypus.Flowable], bool]:
    width, height = (side * inch for side in block.inches)
    scale = min(1, WIDTH / width, (HEIGHT - 60 * mm) / height)
    image = platypus.Image(str(block.path), width * scale, height * scale, hAlign="LEFT")
    caption = _paragraph(block.caption, _style(8.5, color=FAINT, spaceBefore=4, spaceAfter=14), label)
    return [platypus.Spacer(0, 6), image, caption], True


def _table(block: Table, label: str) -> tuple[list[platypus.Flowable], bool]:
    widths, size = _column_widths(block)
    rows = []
    for number, row in enumerate([block.header, *block.cells]):
        font = "DejaVu" if number else "DejaVu-Bold"
        styles = (_style(size, 1.3, font, alignment=TA_RIGHT if right else 0) for right in block.numeric)
        rows.append([_paragraph(cell, style) for cell, style in zip(row, styles, strict=True)])
    look = [
        ("VALIGN", (0, 0), (-1, 0), "BOTTOM"),
        ("VALIGN", (0, 1), (-1, -1), "TOP"),
        ("LINEBELOW", (0, 0), (-1, 0), 1, INK),
        ("LINEBELOW", (0, 1), (-1, -1), 0.5, LINE),
        ("ROWBACKGROUNDS", (0, 1), (-1, -1), [white, STRIPE]),
        ("LEFTPADDING", (0, 0), (-1, -1), CELL_PADDING),
        ("RIGHTPADDING", (0, 0), (-1, -1), CELL_PADDING),
    ]
    table = platypus.Table(rows, widths, style=look, repeatRows=1, splitInRow=1, hAlign="LEFT")
    caption = _paragraph(block.caption, _style(8.5, color=FAINT, spaceBefore=8, spaceAfter=4), label)
    note = [_paragraph(block.note, _style(8, color=FAINT, spaceBefore=4))] if block.note else []
    whole = table.wrap(WIDTH, HEIGHT)[1] < HEIGHT / 2
    return [caption, table, *note, platypus.Spacer(0, 12)], whole


_BLOCKS = {Text: _text, Table: _table, Figure: _figure}


def _column_widths(block: Table) -> tuple[list[float], float]:
    """Widths in points and the largest font size at which no word has to be broken (else the smallest)."""
    fonts = ["DejaVu-Bold", *["DejaVu"] * len(block.cells)]
    for size in CELL_SIZES:
        longest, lines = [], []
        for column in zip(block.header, *block.cells, strict=True):
            width = [pdfmetrics.stringWidth(cell, font, size) for cell, font in zip(column, fonts, strict=True)]
            words = [(word, font) for cell, font in zip(column, fonts, strict=True) for word in cell.split()]
            longest.append(
                max((pdfmetrics.stringWidth(*word, size) for word in words), default=0) + 2 * CELL_PADDING + 1
            )
            lines.append(max(*width, 0) + 2 * CELL_PADDING + 1)
        if sum(longest) <= WIDTH:
            break
    spare = WIDTH - sum(longest)
    if spare < 0:
        return [WIDTH * width / sum(longest) for width in longest], size
    wanted = sum(lines) - sum(longest)
    share = min(1, spare / wanted) if wanted else 0
    return [least + share * (line - least) for least, line in zip(longest, lines, strict=True)], size
