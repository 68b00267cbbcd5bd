"""The HTML page and the PDF say the same, all of it, to everyone, and nothing in a name can break them."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pypdf
import pytest
from matplotlib.figure import Figure as Drawing
from PIL import Image

from tl_keras.reporting.content import Figure, Report, Section, Table, Text
from tl_keras.reporting.report import write
from tl_keras.run_folder import RunFolder

HOSTILE = "<script>alert('x')</script> & <b>co</b>"
NAMES = ["Łódź naïve café", "Größe β=0.9", "Ελληνικά", "Кириллица"]


def drawn(width=2.0, height=1.5):
    figure = Drawing(figsize=(width, height))
    figure.subplots().plot([1, 3, 2])
    return figure


@pytest.fixture
def report():
    header = ["network", "accuracy", "interval", "gap", "loss", "seconds", "weights", "remark"]
    rows = [[name, 0.912345, "0.9050 to 0.9200", "+0.0677", 0.31, 1234.5, 14714688, None] for name in [*NAMES, HOSTILE]]
    return Report(
        f"Six ways, compared {HOSTILE}",
        "CIFAR-10 · 50 epochs",
        ["Fine-tuning wins with 0.941 ± 0.006.", f"{HOSTILE} loses."],
        [
            Section("Question & method", [Text("First paragraph: 5 < 6.\n\nSecond → paragraph.")]),
            Section("Results", [Table("After training", header, rows, "Measured."), Figure("one", "By epoch", drawn)]),
            Section(
                "Again",
                [
                    Figure("two", "By <epoch>", lambda: drawn(3, 2)),
                    Table("Layers", ["layer", "weights"], [["conv", 7]]),
                ],
            ),
        ],
    )


SAID = [
    "Six ways, compared", HOSTILE, "CIFAR-10 · 50 epochs", "Key findings", "Fine-tuning wins with 0.941 ± 0.006.",
    "Question & method", "First paragraph: 5 < 6.", "Second → paragraph.", "Table 1. After training", "network",
    "remark", "0.9123", "0.9050 to 0.9200", "+0.0677", "0.31", "1,234", "14,714,688", "–", "Measured.",
    "Figure 1. By epoch", "Figure 2. By <epoch>", "Table 2. Layers", "conv", *NAMES,
]  # fmt: skip


class Page(HTMLParser):
    """What a browser would find: the elements with their attributes, and the text."""

    def __init__(self, source):
        super().__init__()
        self.elements, self.said = [], []
        self.feed(source)
        self.text = squeezed(" ".join(self.said))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.said.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def squeezed(text):
    """Without spaces: line breaks of a layout are not part of the text."""
    return re.sub(r"\s+", "", text)


@pytest.fixture
def out(tmp_path):
    return RunFolder(tmp_path)


def html(report, out):
    write(report, out)
    return Page((out.path / "report.html").read_text(encoding="utf-8"))


def pdf(report, out):
    write(report, out)
    return pypdf.PdfReader(out.path / "report.pdf")


def text_of(document):
    return squeezed(" ".join(page.extract_text() for page in document.pages))


@pytest.mark.parametrize("said", SAID)
def test_html_says(said, report, out):
    assert squeezed(said) in html(report, out).text


def test_pdf_says_the_same(report, out):
    text = text_of(pdf(report, out))
    assert [said for said in SAID if squeezed(said) not in text] == []


def test_names_cannot_become_markup(report, out):
    page = html(report, out)
    assert page.all("script") == []
    assert page.all("b") == []


def test_html_needs_no_other_file(report, out):
    page = html(report, out)
    sources = [image["src"] for image in page.all("img")]
    saved = [out.plot(name).read_bytes() for name in ("one", "two")]
    assert [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in sources] == saved
    assert page.all("link") == []
    assert all(link["href"].startswith("#section-") for link in page.all("a"))


def test_html_can_be_read_without_seeing_it(report, out):
    page = html(report, out)
    assert page.all("html") == [{"lang": "en"}]
    assert [image["alt"] for image in page.all("img")] == ["By epoch", "By <epoch>"]
    scopes = [cell["scope"] for cell in page.all("th")]
    assert (scopes.count("col"), scopes.count("row")) == (10, 6)
    identities = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identities) == len(set(identities))
    assert {link["href"][1:] for link in page.all("a")} <= set(identities)


def test_images_are_shown_at_the_size_their_resolution_asks_for(report, out):
    image = html(report, out).all("img")[0]
    assert (image["width"], image["height"]) == ("192", "144")


def test_pdf_has_a_title_bookmarks_page_numbers_and_whole_images(report, out):
    document = pdf(report, out)
    assert document.metadata.title == report.title
    assert [entry.title for entry in document.outline] == ["Question & method", "Results", "Again"]
    for number, page in enumerate(document.pages, 1):
        assert squeezed(f"Page {number}") in squeezed(page.extract_text())
    images = [image.image.size for page in document.pages for image in page.images]
    assert sorted(images) == [(400, 300), (600, 400)]


def test_a_long_table_repeats_its_header_and_keeps_every_row(out):
    rows = [[f"layer-{number}", number, "x"] for number in range(250)]
    document = pdf(Report("t", "", [], [Section("s", [Table("c", ["layer", "weights", "x"], rows)])]), out)
    texts = [page.extract_text() for page in document.pages]
    assert len(texts) > 2
    assert all("weights" in text for text in texts)
    assert set(re.findall(r"layer-\d+", " ".join(texts))) == {row[0] for row in rows}


def test_narrow_tables_stand_side_by_side_however_long(out):
    tables = [Table(f"Part {part}", ["name", "value"], [[f"n{part}-{row}", row] for row in range(90)]) for part in "ab"]
    document = pdf(Report("t", "", [], [Section("s", tables)]), out)
    assert len(document.pages) <= 3
    text = " ".join(page.extract_text() for page in document.pages)
    assert set(re.findall(r"n[ab]-\d+", text)) == {row[0] for table in tables for row in table.rows}


def test_words_and_rows_too_large_for_a_page_still_fit(out):
    header = [f"column{number}" for number in range(8)]
    rows = [["unbreakable" * 30] * 8, ["lengthy " * 3000, *["x"] * 7]]
    document = pdf(Report("t", "", ["remark " * 2000], [Section("s", [Table("c", header, rows)])]), out)
    text = " ".join(page.extract_text() for page in document.pages)
    assert text.count("remark") == 2000
    assert text.count("lengthy") == 3000


def test_a_figure_larger_than_a_page_is_scaled_to_it(out):
    section = Section("s", [Figure("tall", "A tall one", lambda: drawn(2, 30))])
    assert len(pdf(Report("t", "", [], [section]), out).pages) == 1


def test_a_figure_without_room_lets_the_text_go_first_and_keeps_its_caption(out):
    section = Section("s", [Text("long " * 900), Figure("f", "The caption.", lambda: drawn(9, 9)), Text("after " * 30)])
    first, second = pdf(Report("t", "", [], [section]), out).pages
    assert "after" in first.extract_text()
    assert "Figure 1. The caption." in second.extract_text()
    assert [len(page.images) for page in (first, second)] == [0, 1]


def test_a_failed_report_leaves_the_old_one_alone(report, out):
    write(report, out)
    before = {path: path.read_bytes() for path in out.path.rglob("*") if path.is_file()}

    def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write(Report("t", "", [], [Section("s", [Figure("three", "gone", broken)])]), out)
    assert {path: path.read_bytes() for path in out.path.rglob("*") if path.is_file()} == before


def test_a_figure_is_drawn_once_and_only_when_asked(out):
    asked = []

    def draw():
        asked.append(1)
        return drawn()

    figure = Figure("f", "c", draw)
    report = Report("t", "", [], [Section("s", [figure])])
    assert asked == []
    write(report, out)
    write(report, out)
    assert len(asked) == 1
    with Image.open(out.plot("f")) as image:
        assert (image.format, image.size) == ("PNG", (400, 300))


def test_blocks_are_found_by_their_label_and_show_themselves(report):
    assert report["Table 2"].caption == "Layers"
    assert report["Figure 2"]._repr_png_() == report["Figure 2"].png
    shown = Page(report["Table 1"]._repr_html_())
    assert squeezed(HOSTILE) in shown.text and shown.all("script") == []
    assert all(squeezed(name) in shown.text for name in NAMES)
    assert repr(report["Table 2"]) == "layer  weights\nconv         7"
    with pytest.raises(KeyError, match=r"expected one of Table 1, Figure 1, Figure 2, Table 2, received Table 9"):
        report["Table 9"]


def test_cells_are_written_for_readers():
    values = [0.91234567, 1234.5, 1234567, np.float32(0.5), np.int64(1000), None, True, float("nan"), float("inf"), "a"]
    shown = ["0.9123", "1,234", "1,234,567", "0.5", "1,000", "–", "yes", "nan", "inf", "a"]
    assert Table("c", ["v"], [[value] for value in values]).cells == [[text] for text in shown]


def test_columns_of_numbers_are_told_from_columns_of_words():
    rows = [["vgg16", 0.9, "91.2 ± 0.4", "–", ""], ["resnet", None, "−1.0", "nan", "nano"]]
    assert Table("c", list("abcde"), rows).numeric == [False, True, True, True, False]


def test_a_row_of_the_wrong_length_is_named():
    with pytest.raises(ValueError, match=r"'Results': expected 2 cells in row 2, received 3"):
        Table("Results", ["a", "b"], [[1, 2], [1, 2, 3]])
