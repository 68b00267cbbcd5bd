"""The pages of report.pdf: a report's content laid out on A4 with ReportLab, no system library needed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import matplotlib
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
from tl_keras.reporting.content import Figure, Report, Table, Text, labelled
from tl_keras.reporting.figures import FULL

INK, FAINT, ACCENT, WASH = (HexColor(code) for code in ("#22272e", "#5b6470", "#005f96", "#edf5fb"))
LINE, STRIPE = HexColor("#dfe3e8"), HexColor("#f6f8fa")
MARGIN, TOP, BOTTOM = 15 * mm, 18 * mm, 17 * mm
WIDTH, HEIGHT = A4[0] - 2 * MARGIN, A4[1] - TOP - BOTTOM
GAP = 8 * mm  # between two tables side by side
CELL_SIZES = (8, 7.5, 7, 6.5, 6)
CELL_PADDING = 4
# Figures of full width fill a page's; narrower ones shrink as much, so that letters keep one size.
SCALE = WIDTH / (FULL * inch)
LEAST = 0.7  # of its size: so far a figure shrinks for the rest of a page


def render(report: Report) -> bytes:
    """The PDF of `report`; the same report gives the same bytes."""
    _register_fonts()
    file = BytesIO()
    _Document(file, report).build(_story(report))
    return file.getvalue()


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
        frame = platypus.Frame(MARGIN, BOTTOM, WIDTH, HEIGHT, 0, 0, 0, 0, id="page")
        self.addPageTemplates(platypus.PageTemplate(frames=[frame], onPage=self._decorate))

    def _decorate(self, canvas, _) -> None:
        canvas.setFont("DejaVu", 8)
        canvas.setFillColor(FAINT)
        canvas.setStrokeColor(LINE)
        canvas.drawString(MARGIN, 9 * mm, f"tl_keras {__version__}")
        canvas.drawRightString(A4[0] - MARGIN, 9 * mm, f"Page {canvas.getPageNumber()}")
        if canvas.getPageNumber() > 1:
            lines = simpleSplit(self.title, "DejaVu", 8, WIDTH - 5 * mm)
            canvas.drawString(MARGIN, A4[1] - 12 * mm, lines[0] + ("…" if len(lines) > 1 else ""))
            canvas.line(MARGIN, A4[1] - 14 * mm, A4[0] - MARGIN, A4[1] - 14 * mm)

    def handle_flowable(self, flowables: list) -> None:
        """A section gives its next part, chosen by the room that the page has left."""
        while flowables and isinstance(flowables[0], _Rest):
            rest = flowables.pop(0)
            flowables[:0] = [*rest.next(self.frame._y - self.frame._y1p), *([rest] if rest.parts else [])]
        if flowables:
            super().handle_flowable(flowables)

    def afterFlowable(self, flowable) -> None:
        if isinstance(flowable, platypus.Paragraph) and flowable.style.name == "heading":
            key = f"section-{self.seq.nextf('heading')}"
            self.canv.bookmarkPage(key)
            self.canv.addOutlineEntry(flowable.getPlainText(), key)


@dataclass
class _Part:
    """One block laid out, and the height that it needs at least to begin on a page."""

    flowables: list
    least: float
    floats: bool = False


class _Rest(platypus.NullDraw):
    """What is left of a section: texts and tables keep their order, a figure without room lets them go first."""

    def __init__(self, heading: platypus.Paragraph, parts: list[_Part]):
        super().__init__()
        self.heading, self.parts = [heading], parts

    def next(self, room: float) -> list[platypus.Flowable]:
        room -= _height_of(self.heading)
        first = next((part for part in self.parts if not part.floats), None)
        fitting = [part for part in (self.parts[0], first) if part and part.least <= room]
        part = fitting[0] if fitting else self.parts[0]
        self.parts = [other for other in self.parts if other is not part]
        heading, self.heading = self.heading, []
        return [*([] if fitting else [platypus.CondPageBreak(HEIGHT)]), *heading, *part.flowables]


def _story(report: Report) -> list[platypus.Flowable]:
    story = [_paragraph(report.title, _style(19, 1.2, "DejaVu-Bold"))]
    if report.subtitle:
        story.append(_paragraph(report.subtitle, _style(10.5, color=FAINT, spaceBefore=3)))
    story.append(platypus.HRFlowable("100%", 2, color=ACCENT, spaceBefore=7, spaceAfter=9))
    if report.summary:
        story.append(_findings(report.summary))
    heading = _style(13, 1.3, "DejaVu-Bold", spaceBefore=11, spaceAfter=4, name="heading")
    story += [_Rest(_paragraph(each.title, heading), _parts(blocks)) for each, blocks in labelled(report) if blocks]
    return story


def _parts(blocks: Sequence[tuple[Text | Table | Figure, str]]) -> list[_Part]:
    parts: list[_Part] = []
    for narrow, group in itertools.groupby(blocks, lambda block: isinstance(block[0], Table) and block[0].narrow):
        found: list[Any] = list(group)
        parts += [_columns(found)] if narrow else [_BLOCKS[type(block)](block, label) for block, label in found]
    return parts


def _height_of(flowables: Sequence[platypus.Flowable]) -> float:
    """At most: spaces between neighbours are shared."""
    return sum(each.wrap(WIDTH, HEIGHT)[1] + each.getSpaceBefore() + each.getSpaceAfter() for each in flowables)


def _findings(summary: Sequence[str]) -> platypus.Table:
    body = _style(9, 1.4, bulletFontName="DejaVu", bulletFontSize=9, leftIndent=12)
    rows = [[_paragraph("Key findings", _style(10, font="DejaVu-Bold", color=ACCENT))]]
    rows += [[platypus.Paragraph(escape(finding), body, bulletText="•")] for finding in summary]
    look = [
        ("BACKGROUND", (0, 0), (-1, -1), WASH),
        ("LINEBEFORE", (0, 0), (0, -1), 3, ACCENT, "butt"),
        ("LEFTPADDING", (0, 0), (-1, -1), 12),
        ("TOPPADDING", (0, 1), (-1, -1), 1.5),
        ("BOTTOMPADDING", (0, 0), (-1, -2), 1.5),
        ("BOTTOMPADDING", (0, -1), (-1, -1), 7),
    ]
    return platypus.Table(rows, [WIDTH], style=look, splitInRow=1)


def _text(block: Text, _: str) -> _Part:
    style = _style(9, 1.45, spaceAfter=5)
    return _Part([platypus.Paragraph(escape(paragraph), style) for paragraph in block.paragraphs], 15 * mm)


class _Picture(platypus.Flowable):
    """An image with its caption, a little smaller where only so much room is left."""

    def __init__(self, block: Figure, label: str):
        super().__init__()
        self.file = BytesIO(block.png)
        self.size = [side * inch for side in block.inches]
        self.caption = _paragraph(block.caption, _style(8, color=FAINT), label)
        self.below = self.caption.wrap(WIDTH, HEIGHT)[1] + 3
        self.most = min(SCALE, WIDTH / self.size[0], (HEIGHT - 30 * mm - self.below) / self.size[1])
        self.least = LEAST * self.most * self.size[1] + self.below
        self.spaceBefore, self.spaceAfter = 5, 9

    def wrap(self, _, room: float) -> tuple[float, float]:
        scale = (room - self.below) / self.size[1]
        self.scale = min(scale, self.most) if scale >= LEAST * self.most else self.most
        return WIDTH, self.scale * self.size[1] + self.below

    def draw(self) -> None:
        width, height = (self.scale * side for side in self.size)
        platypus.Image(self.file, width, height).drawOn(self.canv, 0, self.below)
        self.caption.drawOn(self.canv, 0, 0)


def _figure(block: Figure, label: str) -> _Part:
    picture = _Picture(block, label)
    return _Part([picture], picture.least + 5, floats=True)


def _table(block: Table, label: str) -> _Part:
    caption = _paragraph(block.caption, _style(8, color=FAINT, spaceBefore=5, spaceAfter=3), label)
    note = [_paragraph(block.note, _style(7.5, 1.35, color=FAINT, spaceBefore=3))] if block.note else []
    flowables = [caption, _grid(block, *_column_widths(block, WIDTH)), *note, platypus.Spacer(0, 7)]
    whole = _height_of(flowables)
    return _Part(flowables, whole if whole < HEIGHT / 4 else 35 * mm)


def _grid(block: Table, widths: Sequence[float], size: float, above: Sequence[Sequence] = ()) -> platypus.Table:
    """The cells under their header, and under the rows `above`, which are repeated with it on a new page."""
    rows, first = [*above], len(above)
    for number, row in enumerate([block.header, *block.cells]):
        font = "DejaVu" if number else "DejaVu-Bold"
        styles = (_style(size, 1.25, font, alignment=TA_RIGHT if right else 0) for right in block.numeric)
        rows.append([_paragraph(cell, style) for cell, style in zip(row, styles, strict=True)])
    look = [
        *(("SPAN", (0, row), (-1, row)) for row in range(first)),
        ("VALIGN", (0, 0), (-1, first), "BOTTOM"),
        ("VALIGN", (0, first + 1), (-1, -1), "TOP"),
        ("LINEBELOW", (0, first), (-1, first), 1, INK),
        ("LINEBELOW", (0, first + 1), (-1, -1), 0.5, LINE),
        ("ROWBACKGROUNDS", (0, first + 1), (-1, -1), [white, STRIPE]),
        ("LEFTPADDING", (0, 0), (-1, -1), CELL_PADDING),
        ("RIGHTPADDING", (0, 0), (-1, -1), CELL_PADDING),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
    ]
    return platypus.Table(rows, widths, style=look, repeatRows=first + 1, splitInRow=1, hAlign="LEFT")


def _columns(tables: Sequence[tuple[Table, str]]) -> _Part:
    """Narrow tables in two columns, each table in the one that is shorter so far."""
    width = (WIDTH - GAP) / 2
    columns: list[list] = [[], []]
    for block, label in tables:
        (names, _), size = _column_widths(block, width)
        above = [[_paragraph(block.caption, _style(8, color=FAINT), label), ""]]
        min(columns, key=_height_of).extend([_grid(block, [names, width - names], size, above), platypus.Spacer(0, 9)])
    look: list[tuple] = [("VALIGN", (0, 0), (-1, -1), "TOP")]
    look += [(f"{side}PADDING", (0, 0), (-1, -1), 0) for side in ("TOP", "BOTTOM", "LEFT", "RIGHT")]
    pair = platypus.Table([[columns[0], "", columns[1]]], [width, GAP, width], style=look, splitInRow=1)
    return _Part([pair], min(_height_of([pair]), 50 * mm))


_BLOCKS: dict[type, Callable[..., _Part]] = {Text: _text, Table: _table, Figure: _figure}


def _column_widths(block: Table, width: float) -> tuple[list[float], float]:
    """Widths in points, with the largest font size (else the smallest) at which all columns get what they need."""
    sizes = {size: _needed_and_wanted(block, width, size) for size in CELL_SIZES}
    size = next((size for size in CELL_SIZES if sum(sizes[size][0]) <= width), CELL_SIZES[-1])
    needed, wanted = sizes[size]
    spare, lacking = width - sum(needed), sum(wanted) - sum(needed)
    if spare < 0:
        return [width * each / sum(needed) for each in needed], size
    share = min(1, spare / lacking) if lacking else 0
    return [least + share * (most - least) for least, most in zip(needed, wanted, strict=True)], size


def _needed_and_wanted(block: Table, width: float, size: float) -> tuple[list[float], list[float]]:
    """Of each column: with lines broken between words, and without."""
    needed, wanted, padding = [], [], 2 * CELL_PADDING + 1
    for number, (name, *cells) in zip(block.numeric, zip(block.header, *block.cells, strict=True), strict=True):
        # Numbers stay on one line; a long identifier may break, or it alone would shrink the whole table.
        words = min(_widest(" ".join(cells).split(), "DejaVu", size), width / 3)
        body = _widest(cells, "DejaVu", size)
        needed.append(max(_widest(name.split(), "DejaVu-Bold", size), body if number else words) + padding)
        wanted.append(max(_widest([name], "DejaVu-Bold", size), body) + padding)
    return needed, wanted


def _widest(texts: Sequence[str], font: str, size: float) -> float:
    return max((pdfmetrics.stringWidth(text, font, size) for text in texts), default=0)
