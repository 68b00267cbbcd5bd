"""The pages of `report.write_pdf`: a report's content laid out on A4 with ReportLab, no system library needed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
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

INK, FAINT, ACCENT, WASH = (HexColor(code) for code in ("#22272e", "#5b6470", "#005f96", "#edf5fb"))
LINE, STRIPE = HexColor("#dfe3e8"), HexColor("#f6f8fa")
MARGIN, TOP, BOTTOM = 20 * mm, 22 * mm, 20 * mm
WIDTH, HEIGHT = A4[0] - 2 * MARGIN, A4[1] - TOP - BOTTOM
CELL_SIZES = (8.5, 8, 7.5, 7, 6.5, 6)
CELL_PADDING = 4


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
    for section, blocks in labelled(report):
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
        ("LINEBEFORE", (0, 0), (0, -1), 3, ACCENT, "butt"),
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
    # The project's widest figures shrink to three quarters; the others follow, so that letters keep one size.
    scale = min(0.75, WIDTH / width, (HEIGHT - 60 * mm) / height)
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
    """Widths in points, with the largest font size (else the smallest) at which all columns get what they need."""
    for size in CELL_SIZES:
        needed, wanted = [], []
        for number, (name, *cells) in zip(block.numeric, zip(block.header, *block.cells, strict=True), strict=True):
            # Numbers stay on one line; a long identifier may break, or it alone would shrink the whole table.
            words = min(_widest(" ".join(cells).split(), "DejaVu", size), WIDTH / 4)
            body = _widest(cells, "DejaVu", size)
            padding = 2 * CELL_PADDING + 1
            needed.append(max(_widest(name.split(), "DejaVu-Bold", size), body if number else words) + padding)
            wanted.append(max(_widest([name], "DejaVu-Bold", size), body) + padding)
        if sum(needed) <= WIDTH:
            break
    spare, lacking = WIDTH - sum(needed), sum(wanted) - sum(needed)
    if spare < 0:
        return [WIDTH * width / sum(needed) for width in needed], size
    share = min(1, spare / lacking) if lacking else 0
    return [least + share * (most - least) for least, most in zip(needed, wanted, strict=True)], size


def _widest(texts: Sequence[str], font: str, size: float) -> float:
    return max((pdfmetrics.stringWidth(text, font, size) for text in texts), default=0)
