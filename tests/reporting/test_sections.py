"""What most studies put on their pages: few pages that say everything, from records alone."""

import html
import re
from dataclasses import replace

import pypdf
import pytest

from tests.made_up_records import made_up_arms, made_up_record
from tl_keras.evaluation.arms import arms_of
from tl_keras.reporting import conclusion, figures, sections
from tl_keras.reporting.content import Figure, Report, Table
from tl_keras.reporting.report import write
from tl_keras.run_folder import RunFolder

CONFIG = {
    "settings": {"data": None, "epochs": 25, "weights": "weights/of_a_network.h5", "no_mirror": False}
    | {f"option_{number}": number for number in range(16)},
    "data": {"name": "made up", "classes": list("abcdefghij"), "image_shape": [32, 32, 3], "fingerprint": "0a" * 32},
    "versions": {"python": "3.11.7", "keras": "3.15.1"},
    "hardware": {"cores": 2},
}


def of_study(arms):
    found = conclusion.verdict(arms) + conclusion.transfer_effects(arms, arms[-1])
    parts = [
        sections.text_section("Question and method", "It is asked which way works best. " * 40),
        sections.text_section("Results", "", sections.results_table(arms)),
        sections.comparison_section(arms, arms[-1]),
        sections.training_section(arms),
        sections.errors_section(arms),
        sections.settings_section(CONFIG),
    ]
    return Report("Which way works best?", "made up", found, parts)


def squeezed(text):
    return re.sub(r"\s+", "", text)


def pages(report, path):
    """How many pages the PDF has, and the texts of both forms without spaces."""
    write(report, RunFolder(path))
    document = pypdf.PdfReader(path / "report.pdf")
    page = re.sub("<[^>]*>", "", (path / "report.html").read_text(encoding="utf-8"))
    return (
        len(document.pages),
        squeezed(html.unescape(page)),
        squeezed(" ".join(p.extract_text() for p in document.pages)),
    )


@pytest.mark.parametrize(("count", "classes", "most"), [(1, 10, 3), (2, 2, 3), (4, 5, 4), (7, 10, 5), (7, 59, 6)])
def test_a_study_fits_on_a_few_pages_which_say_all(count, classes, most, tmp_path):
    report = of_study(made_up_arms(count, classes=classes, epochs=25, images=300))
    length, page, document = pages(report, tmp_path)
    assert length <= most
    blocks = [block for section in report.sections for block in section.blocks]
    drawn = {block.name for block in blocks if isinstance(block, Figure)}
    assert drawn == {path.stem for path in (tmp_path / "plots").iterdir()}
    for block in blocks:
        said = [[block.caption]] if isinstance(block, Figure) else []
        said += [[block.caption, block.note], block.header, *block.cells] if isinstance(block, Table) else []
        texts = [squeezed(cell) for row in said for cell in row]
        assert [text for text in texts if text not in page or text not in document] == []
    assert all(squeezed(finding) in page and squeezed(finding) in document for finding in report.summary)


def test_twelve_arms_still_fit(tmp_path):
    assert pages(of_study(made_up_arms(12, epochs=2)), tmp_path)[0] <= 6


def test_the_same_records_give_the_same_bytes(tmp_path):
    written = []
    for name in "ab":
        write(of_study(made_up_arms(2)), RunFolder(tmp_path / name))
        files = [path for path in sorted((tmp_path / name).rglob("*")) if path.is_file()]
        written.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})
    assert len(written[0]) == 6
    assert written[0] == written[1]
    date = pypdf.PdfReader(tmp_path / "a" / "report.pdf").metadata.creation_date
    assert date.year == 2000, "a date of today would change tomorrow's bytes"


def test_the_kinds_of_interval_are_named():
    arms = arms_of([made_up_record("a"), made_up_record("b"), made_up_record("b", seed=1)])
    assert "Intervals: Wilson's, over images; Wilson's, over images and seeds." in sections.results_table(arms).note


def test_the_lead_is_measured_where_the_winner_was_chosen():
    first, second = made_up_arms(2, watched="validation", splits=("test", "validation"))
    lucky = replace(second.first, predictions={**second.first.predictions, "test": first.first.test})
    arms = [first, replace(second, records=(lucky,))]
    _, leads, effects = sections.comparison_section(arms, first).blocks
    assert leads.caption == f"The lead of {first.title} on the validation images"
    assert leads.cells[0][:2] == [second.title, "+5.83"]
    assert effects.note.startswith("Start and final: validation accuracy")


def test_one_arm_alone_has_no_lead():
    (arm,) = made_up_arms(1)
    (figure,) = sections.comparison_section([arm]).blocks
    assert figure.name == "comparison"


def test_settings_are_shown_as_they_are():
    settings, data, environment = sections.settings_section(CONFIG).blocks
    assert ["data", "–"] in settings.cells and ["no mirror", "no"] in settings.cells
    assert ["classes", "10: a, b, c, d, e, f, g, h, i, j"] in data.cells
    assert ["cores", "2"] in environment.cells
    (only,) = sections.settings_section({"settings": {"seed": 2020387499}}).blocks
    assert only.cells == [["seed", "2020387499"]], "a number that names something has no separators"


def test_a_diverged_training_is_still_drawn():
    (arm,) = made_up_arms(1)
    arm.first.history["loss"][-1] = float("nan")
    assert figures.png(figures.learning_curves([arm]))
