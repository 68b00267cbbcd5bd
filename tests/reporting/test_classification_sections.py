"""A network class by class: tables with the numbers of the evaluation, figures that show every class."""

import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from tests.made_up_records import made_up_arms, made_up_record
from tl_keras.errors import InputError
from tl_keras.evaluation import classification
from tl_keras.evaluation.arms import Arm, arms_of
from tl_keras.records import Predictions
from tl_keras.reporting import classification_figures, figures
from tl_keras.reporting.classification_sections import classification_section
from tl_keras.reporting.content import Figure, Table, Text

LONG = "a_name_without_spaces_that_is_unreasonably_long"


def one_arm(classes, **options):
    return made_up_arms(1, classes=classes, **options)[0]


def holding(arm, **changes):
    """The arm with other test predictions."""
    test = replace(arm.first.test, **changes)
    return Arm(arm.name, arm.title, (replace(arm.first, predictions={"test": test}),))


def blocks(section, kind):
    return [block for block in section.blocks if isinstance(block, kind)]


def written(figure):
    figure.draw_without_rendering()
    found = figure.findobj(lambda artist: hasattr(artist, "get_text") and artist.get_visible())
    return [text.get_text().replace("\n", " ") for text in found if text.get_text()]


def curves_of(arm):
    return classification.roc(arm.first.test, arm.first.class_names)


@pytest.mark.parametrize("classes", [2, 10, 20])
def test_few_classes_all_stand_in_the_table(classes):
    arm = one_arm(classes, images=400)
    section = classification_section(arm)
    assert section.title == "Class by class"
    table, _ = blocks(section, Table)
    report = classification.class_report(arm.first.test, arm.first.class_names)
    assert [row[0] for row in table.cells] == [*arm.first.class_names, "macro average", "weighted average"]
    for row, scores in zip(table.cells, (*report.classes, report.macro, report.weighted), strict=True):
        numbers = [f"{number:.3f}" for number in (scores.precision, scores.recall, scores.f1)]
        assert row[1:] == [*numbers, str(scores.support)]
    assert "Shown" not in table.note


def test_of_many_classes_the_worst_and_the_best_are_shown():
    arm = one_arm(59, images=900)
    table = blocks(classification_section(arm), Table)[0]
    ordered = classification.class_report(arm.first.test, arm.first.class_names).by_f1
    shown = [row[0] for row in table.cells]
    assert shown[:10] == [each.name for each in ordered[:10]]
    assert shown[10] == "39 classes between"
    assert shown[11:21] == [each.name for each in ordered[-10:]]
    assert shown[21:] == ["macro average", "weighted average"]
    assert sum(int(row[4]) for row in table.cells[:21]) == 900
    assert "the 10 classes with the lowest and the 10 with the highest F1 of 59" in table.note
    assert table.numeric == [False, True, True, True, True]


def test_of_many_classes_those_without_images_are_left_out():
    arm = one_arm(59, images=9)
    section = classification_section(arm)
    present = {arm.first.class_names[label] for label in arm.first.test.labels}
    assert {row[0] for row in blocks(section, Table)[0].cells[:-2]} == present
    said = blocks(section, Text)[0].text
    assert f"{59 - len(present)} of 59 classes have no image here" in said


def test_texts_say_on_which_images_with_which_numbers():
    arm = one_arm(3, images=200, splits=("test", "validation"), seeds=2)
    section = classification_section(arm, "validation")
    predicted = arm.first.predictions["validation"]
    sureness = classification.calibration(predicted)
    said = blocks(section, Text)[0].text
    assert f"On the 200 validation images, arm arm_0 (first seed): accuracy {predicted.accuracy:.4f}" in said
    assert f"Expected calibration error {sureness.ece:.4f}" in said and f"Brier score {sureness.brier:.4f}" in said
    assert "points below its accuracy" in said and sureness.surplus < 0
    captions = [block.caption for block in blocks(section, Table) + blocks(section, Figure)]
    assert len(captions) == 4 and all("the 200 validation images" in caption for caption in captions)
    assert [block.name for block in blocks(section, Figure)] == ["roc", "calibration"]
    with pytest.raises(InputError, match="expected predictions of unlabelled images"):
        classification_section(arm, "unlabelled")


def test_the_table_of_confusions():
    labels, answers = np.array([0, 0, 0, 1, 2]), np.array([0, 1, 1, 0, 2])
    arm = one_arm(["ant", "bee", "cat"], images=5)
    sure = np.where(np.arange(3) == answers[:, None], 0.8, 0.1).astype("float32")
    table = blocks(classification_section(holding(arm, labels=labels, probabilities=sure)), Table)[1]
    assert table.cells == [["ant", "bee", "2", "66.7%", "3"], ["bee", "ant", "1", "100.0%", "3"]]


def test_without_a_wrong_answer_there_is_no_table_of_confusions():
    section = classification_section(one_arm(3, accuracy=1.0))
    assert len(blocks(section, Table)) == 1
    assert "No image was taken for one of another class." in blocks(section, Text)[0].text


def test_images_of_one_class_have_no_roc_figure():
    arm = one_arm(3, images=40)
    section = classification_section(holding(arm, labels=np.zeros(40, int)))
    assert [block.name for block in blocks(section, Figure)] == ["calibration"]
    assert "ROC curves need images of two classes" in blocks(section, Text)[0].text


def test_probabilities_that_are_not_finite_leave_the_tables():
    arm = one_arm(3, images=40)
    section = classification_section(holding(arm, probabilities=np.full((40, 3), np.nan, "float32")))
    assert not blocks(section, Figure) and len(blocks(section, Table)) == 2
    assert "not finite numbers" in blocks(section, Text)[0].text


@pytest.mark.parametrize("classes", [2, 10, 59])
def test_every_class_has_its_curve_and_its_area(classes):
    arm = one_arm(classes, images=800)
    curves = curves_of(arm)
    left, right = classification_figures.roc(curves).axes
    drawn = [line.get_ydata().tolist() for line in left.lines]
    assert all(curve.true_positives.tolist() in drawn for curve in (*curves.classes, curves.micro, curves.macro))
    assert len(drawn) == len(curves.classes) + 3, "both averages and chance"
    areas = right.collections[0].get_offsets()[:, 0]
    assert np.allclose(areas, [curve.auc for curve in curves.by_auc])
    named = [label.get_text() for label in right.get_yticklabels()]
    assert named == ([curve.name for curve in curves.by_auc] if classes <= 20 else [])
    assert right.get_xlim()[0] < areas.min() and right.get_xlim()[1] > 1


def test_the_worst_three_classes_and_the_averages_are_named():
    arm = one_arm(59, images=800)
    curves = curves_of(arm)
    figure = classification_figures.roc(curves)
    said = written(figure)
    for curve in (*curves.by_auc[:3], curves.micro, curves.macro):
        assert f"{curve.name}: {curve.auc:.3f}" in said
    assert "56 other classes" in said
    bold = {line.get_label().split(":")[0] for line in figure.axes[0].lines if line.get_linewidth() > 2}
    assert bold == {"micro average", "macro average"}
    paint = [to_hex(colour) for colour in figure.axes[1].collections[0].get_facecolors()]
    assert paint[:4] == [*figures.PALETTE[2:5], to_hex(figures.FAINT)]


def test_the_corner_is_enlarged_where_no_curve_is_hidden():
    good, poor = (curves_of(one_arm(10, images=500, accuracy=accuracy)) for accuracy in (0.98, 0.5))
    assert good.by_auc[0].auc > 0.9 > 0.8 > poor.by_auc[0].auc
    assert len(classification_figures.roc(good).axes[0].child_axes) == 1
    assert len(classification_figures.roc(poor).axes[0].child_axes) == 0


def test_one_network_has_intervals_and_a_histogram():
    arm = one_arm(10, images=300)
    found = classification.calibration(arm.first.test)
    figure = classification_figures.calibration({arm.title: found})
    above, below = figure.axes
    line = next(line for line in above.lines if arm.title in line.get_label())
    filled = found.counts > 0
    assert line.get_xdata().tolist() == found.confidence[filled].tolist()
    assert line.get_ydata().tolist() == found.accuracy[filled].tolist()
    spans = np.array([span[:, 1] for span in above.collections[0].get_segments() if len(span) == 2])
    assert np.allclose(spans[np.isfinite(spans).all(axis=1)], np.stack([found.low, found.high], axis=1)[filled])
    assert np.allclose(below.patches[0].get_data().values, found.counts / 300)
    assert f"{arm.title} ECE {found.ece:.3f}, surplus {found.surplus:+.3f}" in written(figure)
    assert above.get_xlim()[0] < found.confidence[filled].min() and above.get_xlim()[1] > 1


def test_several_networks_share_the_axes_each_with_its_own_look():
    arms = made_up_arms(9, classes=10)
    found = {arm.title: classification.calibration(arm.first.test) for arm in arms}
    figure = classification_figures.calibration(found)
    above, below = figure.axes
    looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in above.lines[1:]}
    assert len(looks) == len(below.patches) == 9
    assert not above.collections, "intervals of nine networks would cover each other"
    said = written(figure)
    assert all(any(text.startswith(f"{title} ECE {each.ece:.3f}") for text in said) for title, each in found.items())


def test_images_of_one_bin_are_drawn():
    even = Predictions(np.arange(4), np.arange(4) % 2, np.full((4, 2), 0.5, "float32"))
    found = classification.calibration(even)
    above, _ = classification_figures.calibration({"A": found}).axes
    assert above.lines[1].get_xydata().tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("classes", [2, 10, 59])
def test_nothing_is_cut_off(classes):
    arm = arms_of([made_up_record(classes=[f"{LONG} {number}" for number in range(classes)], title=LONG, images=400)])
    for block in blocks(classification_section(arm[0]), Figure):
        with Image.open(io.BytesIO(block.png)) as image:
            assert image.width == 9 * 200
            pixels = np.asarray(image.convert("RGB"))
        edges = [pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:]]
        assert all((edge == 255).all() for edge in edges), block.name
        assert (pixels < 200).any()


def test_a_name_is_never_read_as_a_formula():
    arm = arms_of([made_up_record(classes=["$5", "$6 note"], title="$a and $b")])[0]
    figure = classification_figures.roc(curves_of(arm))
    assert any(text.startswith("$6 note:") for text in written(figure))
    below = classification_figures.calibration({arm.title: classification.calibration(arm.first.test)})
    assert any(text.startswith("$a and $b") for text in written(below))
