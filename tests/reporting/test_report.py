"""The HTML page and the PDF say the same, all of it, to everyone, and nothing in a name can break them."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pypdf
import pytest
from PIL import Image

from tl_keras.reporting.content import Figure, Report, Section, Table, Text
from tl_keras.reporting.report import write_html, write_pdf

HOSTILE = "<script>alert('x')</script> & <b>co</b>"
NAMES = ["Łódź naïve café", "Größe β=0.9", "Ελληνικά", "Кириллица"]


@pytest.fixture
def report(tmp_path):
    picture = tmp_path / "curve.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 400, 3), "uint8")).save(picture, dpi=(200, 200))
    header = ["network", "accuracy", "interval", "gap", "loss", "seconds", "weights", "remark"]
    rows = [[name, 0.912345, "0.9050 to 0.9200", "+0.0677", 0.31, 1234.5, 14714688, None] for name in [*NAMES, HOSTILE]]
    return Report(
        f"Six ways, compared {HOSTILE}",
        "CIFAR-10 · 50 epochs",
        ["Fine-tuning wins with 0.941 ± 0.006.", f"{HOSTILE} loses."],
        [
            Section("Question & method", [Text("First paragraph: 5 < 6.\n\nSecond → paragraph.")]),
            Section("Results", [Table("After training", header, rows, "Measured once."), Figure(picture, "By epoch")]),
            Section("Again", [Figure(picture, "By <epoch>"), Table("Layers", ["layer", "weights"], [["conv", 7]])]),
        ],
    )


SAID = [
    "Six ways, compared", HOSTILE, "CIFAR-10 · 50 epochs", "Key findings", "Fine-tuning wins with 0.941 ± 0.006.",
    "Question & method", "First paragraph: 5 < 6.", "Second → paragraph.", "Table 1. After training", "network",
    "remark", "0.9123", "0.9050 to 0.9200", "+0.0677", "0.31", "1,234", "14,714,688", "–", "Measured once.",
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


def html(report, tmp_path):
    write_html(report, tmp_path / "report.html")
    return Page((tmp_path / "report.html").read_text(encoding="utf-8"))


def pdf(report, tmp_path):
    write_pdf(report, tmp_path / "report.pdf")
    return pypdf.PdfReader(tmp_path / "report.pdf")


@pytest.mark.parametrize("said", SAID)
def test_html_says(said, report, tmp_path):
    assert squeezed(said) in html(report, tmp_path).text


def test_pdf_says_the_same(report, tmp_path):
    text = squeezed(" ".join(page.extract_text() for page in pdf(report, tmp_path).pages))
    assert [said for said in SAID if squeezed(said) not in text] == []


def test_names_cannot_become_markup(report, tmp_path):
    page = html(report, tmp_path)
    assert page.all("script") == []
    assert page.all("b") == []


def test_html_needs_no_other_file(report, tmp_path):
    page = html(report, tmp_path)
    sources = [image["src"] for image in page.all("img")]
    original = (tmp_path / "curve.png").read_bytes()
    assert [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in sources] == [original] * 2
    assert page.all("link") == []
    assert all(link["href"].startswith("#section-") for link in page.all("a"))


def test_html_can_be_read_without_seeing_it(report, tmp_path):
    page = html(report, tmp_path)
    assert page.all("html") == [{"lang": "en"}]
    assert [image["alt"] for image in page.all("img")] == ["By epoch", "By <epoch>"]
    scopes = [cell["scope"] for cell in page.all("th")]
    assert (scopes.count("col"), scopes.count("row")) == (10, 6)
    identities = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identities) == len(set(identities))
    assert {link["href"][1:] for link in page.all("a")} <= set(identities)


def test_images_are_shown_at_the_size_their_resolution_asks_for(report, tmp_path):
    image = html(report, tmp_path).all("img")[0]
    assert (image["width"], image["height"]) == ("192", "144")


def test_pdf_has_a_title_bookmarks_page_numbers_and_whole_images(report, tmp_path):
    document = pdf(report, tmp_path)
    assert document.metadata.title == report.title
    assert [entry.title for entry in document.outline] == ["Question & method", "Results", "Again"]
    pages = len(document.pages)
    for number, page in enumerate(document.pages, 1):
        assert squeezed(f"Page {number} of {pages}") in squeezed(page.extract_text())
    images = [image.image.size for page in document.pages for image in page.images]
    assert (400, 300) in images


def test_a_long_table_repeats_its_header_and_keeps_every_row(tmp_path):
    rows = [[f"layer-{number}", number] for number in range(150)]
    document = pdf(Report("t", "", [], [Section("s", [Table("c", ["layer", "weights"], rows)])]), tmp_path)
    texts = [page.extract_text() for page in document.pages]
    assert len(texts) > 2
    assert all("weights" in text for text in texts)
    assert set(re.findall(r"layer-\d+", " ".join(texts))) == {row[0] for row in rows}


def test_words_and_rows_too_large_for_a_page_still_fit(tmp_path):
    header = [f"column{number}" for number in range(8)]
    rows = [["unbreakable" * 30] * 8, ["lengthy " * 3000, *["x"] * 7]]
    document = pdf(Report("t", "", ["remark " * 2000], [Section("s", [Table("c", header, rows)])]), tmp_path)
    text = " ".join(page.extract_text() for page in document.pages)
    assert text.count("remark") == 2000
    assert text.count("lengthy") == 3000


def test_a_figure_larger_than_a_page_is_scaled_to_it(tmp_path):
    Image.new("L", (300, 3000)).save(tmp_path / "tall.png", dpi=(72, 72))
    section = Section("s", [Figure(tmp_path / "tall.png", "A tall one")])
    assert len(pdf(Report("t", "", [], [section]), tmp_path).pages) == 1


def test_the_same_report_gives_the_same_bytes(report, tmp_path):
    for write, first, second in [(write_html, "a.html", "b.html"), (write_pdf, "a.pdf", "b.pdf")]:
        write(report, tmp_path / first)
        write(report, tmp_path / second)
        assert (tmp_path / first).read_bytes() == (tmp_path / second).read_bytes()
    assert pdf(report, tmp_path).metadata.creation_date.year == 2000, "a date of today would change tomorrow's bytes"


def test_a_failed_report_leaves_the_old_one_alone(report, tmp_path):
    broken = Report("t", "", [], [Section("s", [Figure(tmp_path / "missing.png", "gone")])])
    for write, name in [(write_html, "report.html"), (write_pdf, "report.pdf")]:
        write(report, tmp_path / name)
        before = (tmp_path / name).read_bytes()
        with pytest.raises(FileNotFoundError, match=r"missing\.png"):
            write(broken, tmp_path / name)
        assert (tmp_path / name).read_bytes() == before
    assert list(tmp_path.glob("*.tmp")) == []


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
