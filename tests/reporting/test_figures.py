"""Figures carry the numbers, not just a shape: values, names, colours, crisp pixels, the images that they speak of."""

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from tests.made_up_records import made_up_arms, made_up_record, with_correct
from tl_keras.evaluation.arms import arms_of
from tl_keras.records import Thumbnails
from tl_keras.reporting import error_figures, figures


def written(figure):
    """Every text that a reader of the figure sees."""
    figure.draw_without_rendering()
    found = figure.findobj(lambda artist: hasattr(artist, "get_text") and artist.get_visible())
    return [text.get_text().replace("\n", " ") for text in found if text.get_text()]


def panel(figure, title):
    return next(axis for axis in figure.axes if title in axis.get_title(loc="left").replace("\n", " "))


def lines(axis, label):
    return [line.get_ydata().tolist() for line in axis.lines if line.get_label() == label]


@pytest.mark.parametrize("count", [1, 2, 4, 5, 7, 12])
def test_every_arm_has_its_curves_with_the_last_values_above(count):
    arms = made_up_arms(count)
    figure = figures.learning_curves(arms)
    assert len(figure.axes) == 2 * count
    said = written(figure)
    for arm in arms:
        axis, history = panel(figure, arm.title), arm.first.history
        assert lines(axis, "train") == [history["accuracy"]]
        assert lines(axis, "test") == [history["val_accuracy"]]
        assert {f"train {history['accuracy'][-1]:.3f}", f"test {history['val_accuracy'][-1]:.3f}"} <= set(said)
    drawn = [lines(axis, "test") for axis in figure.axes]
    assert all([arm.first.history["val_loss"]] in drawn for arm in arms)


def test_arms_are_drawn_on_common_axes():
    figure = figures.learning_curves(made_up_arms(4))
    heights = {axis.get_ylim() for axis in figure.axes}
    assert len(heights) == 2, "one for accuracies, one for losses"


def test_several_seeds_are_drawn_faintly_beside_their_mean():
    arm = made_up_arms(1, seeds=3)[0]
    axis = figures.learning_curves([arm]).axes[0]
    shown = [line.get_ydata() for line in axis.lines if line.get_color() == figures.PALETTE[0]]
    assert len(shown) == 4
    assert np.allclose(shown[-1], np.mean(shown[:-1], axis=0))
    assert len(figures.learning_curves(made_up_arms(1)).axes[0].lines) == 2, "one seed is its own mean"


def test_a_training_of_one_epoch_shows_a_dot():
    axis = figures.learning_curves(made_up_arms(1, epochs=1)).axes[0]
    assert all(line.get_marker() == "o" for line in axis.lines)


def test_what_was_watched_is_named():
    arms = made_up_arms(2, watched="validation")
    assert any(text.startswith("validation 0.") for text in written(figures.learning_curves(arms)))
    said = written(figures.comparison(arms))
    assert "Validation accuracy by epoch" in said
    assert "Test accuracy with its 95% interval" in said


def test_the_comparison_gives_each_arm_one_look_and_its_interval():
    arms = made_up_arms(9)
    figure = figures.comparison(arms)
    curves, dots = figure.axes
    looks = {(line.get_color(), line.get_linestyle()) for line in curves.lines}
    assert len(looks) == len(arms)
    named = {label.get_text(): to_hex(label.get_color()) for label in dots.get_yticklabels()}
    assert named == {arm.title: line.get_color() for arm, line in zip(arms, curves.lines, strict=True)}
    spans = [segment[:, 0].tolist() for segment in dots.collections[0].get_segments()]
    assert spans == [[arm.interval().low, arm.interval().high] for arm in arms]
    assert {f"{arm.accuracy:.3f}" for arm in arms} <= set(written(figure))


def test_bars_write_the_means_and_span_the_intervals():
    figure = figures.bars({"frozen": (0.912, 0.905, 0.919), "scratch": (0.78, np.nan, np.nan)}, "test accuracy")
    axis = figure.axes[0]
    assert {"0.912", "0.780", "frozen", "scratch", "Test accuracy"} <= set(written(figure))
    assert axis.collections[0].get_segments()[0][:, 0].tolist() == [0.905, 0.919]
    assert not axis.patches, "a bar from a cut axis exaggerates differences"
    assert axis.get_xlim()[0] < 0.78


def test_few_classes_give_every_arm_its_matrix_the_best_first():
    arms = [with_correct("worse", [[True] * 6 + [False] * 4]), with_correct("better", [[True] * 9 + [False]])]
    figure = error_figures.confusions(arms)
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["arm better", "arm worse"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["5", "0", "1", "4"]
    assert {"class 0", "class 1", "True class", "Predicted class"} <= set(written(figure))


def test_many_classes_show_the_best_arm_and_the_recall_of_all():
    arms = made_up_arms(3, classes=59, images=600)
    matrix, recall = error_figures.confusions(arms).axes
    assert matrix.get_title(loc="left") == arms[0].title
    assert not matrix.texts, "counts would not be readable"
    assert [label.get_text() for label in matrix.get_yticklabels()] == list(arms[0].first.class_names)
    assert [line.get_label() for line in recall.lines] == [arm.title for arm in arms]
    test = arms[1].first.test
    of_class = [test.correct[test.labels == number].mean() for number in range(59)]
    assert np.allclose(recall.lines[1].get_xdata(), of_class)


def test_a_class_without_test_images_is_no_error():
    arms = made_up_arms(1, classes=9, images=3)
    assert np.isfinite(error_figures.confusions(arms).axes[1].lines[0].get_xdata()).all()


def test_arms_of_other_classes_are_kept_apart():
    arms = [*made_up_arms(2, classes=["ant", "bee"]), *arms_of([made_up_record("A", classes=8, test_set=1)])]
    assert [[arm.name for arm in group] for group in error_figures.on_same_images(arms)] == [["arm_0", "arm_1"], ["A"]]
    figure = error_figures.confusions(arms)
    assert len(figure.axes) == 4, "two matrices, and one with its recalls"
    said = written(error_figures.answers(arms))
    assert said.count("true class") == 2
    assert {"ant", "bee", "class 7"} <= {text.split(" ")[0] if "%" in text else text for text in said}


def test_answers_begin_with_the_images_that_most_arms_got_wrong():
    masks = np.ones((3, 40), bool)
    masks[:, 17] = False
    masks[1, 4] = False
    arms = [with_correct(f"a{number}", [mask]) for number, mask in enumerate(masks)]
    shown = Thumbnails(np.arange(40), np.arange(40, dtype="uint8")[:, None, None, None].repeat(8, 1).repeat(8, 2))
    arms = [replace(arm, records=(replace(arm.first, thumbnails=shown),)) for arm in arms]
    first, second = error_figures.answers(arms).axes
    images = [int(image.get_array().max()) for axis in (first, second) for image in axis.images]
    assert images[:2] == [17, 4]
    assert len(images) == 16
    said = [text for text in first.texts if text.get_text().endswith("\n90%")]
    assert [text.get_weight() for text in said[:3]] == ["bold", "normal", "normal"], "of the first arm"
    assert said[0].get_text() == "class 0\n90%", "image 17 is of class 1"
    assert to_hex(said[0].get_color()) != to_hex(said[1].get_color())
    assert first.images[0].get_interpolation() == "nearest"


def test_the_pictures_of_all_arms_are_gathered():
    arms = made_up_arms(2, images=30)
    pictures = arms[0].first.thumbnails
    parts = [slice(0, 3), slice(3, 6)]
    arms = [
        replace(arm, records=(replace(arm.first, thumbnails=Thumbnails(pictures.rows[part], pictures.images[part])),))
        for arm, part in zip(arms, parts, strict=True)
    ]
    assert sum(len(axis.images) for axis in error_figures.answers(arms).axes) == 6


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_may_be_grey_and_need_not_be_square(channels):
    arm = made_up_arms(1)[0]
    pictures = Thumbnails(np.arange(2), np.zeros((2, 10, 20, channels), "uint8"))
    (axis,) = error_figures.answers([replace(arm, records=(replace(arm.first, thumbnails=pictures),))]).axes
    left, right, bottom, top = axis.images[0].get_extent()
    assert (right - left) == pytest.approx(2 * (bottom - top))


def test_the_png_has_its_size_and_nothing_is_cut_off():
    for figure in (
        figures.learning_curves(made_up_arms(7)),
        error_figures.answers(made_up_arms(4)),
        error_figures.confusions(made_up_arms(7, classes=["a name that is quite long", *"bcdefghij"])),
    ):
        with Image.open(io.BytesIO(figures.png(figure))) as image:
            assert image.format == "PNG"
            assert image.width == 9 * 200
            assert image.info["dpi"][0] == pytest.approx(200, abs=0.1)
            pixels = np.asarray(image.convert("RGB"))
            assert len(image.getcolors(pixels.size)) > 50
        edges = [pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:]]
        assert all((edge == 255).all() for edge in edges)


def test_a_name_is_never_read_as_a_formula():
    name = "$5 and $6 note"
    arms = arms_of([made_up_record("a", title=name, classes=["$5", "$6"]), made_up_record("b")])
    drawn = (figures.learning_curves, figures.comparison, error_figures.confusions, error_figures.answers)
    for figure in [draw(arms) for draw in drawn]:
        assert any(name in text for text in written(figure))
        texts = figure.findobj(lambda artist: hasattr(artist, "get_parse_math") and "$" in artist.get_text())
        assert not any(text.get_parse_math() for text in texts)


def test_pages_start_neither_tensorflow_nor_keras_nor_pyplot():
    check = """
import sys
from tests.made_up_records import made_up_arms
from tl_keras.reporting import conclusion, notebook, pdf, sections
from tl_keras.reporting.content import Report
arms = made_up_arms(2)
parts = [sections.comparison_section(arms, arms[0]), sections.training_section(arms), sections.errors_section(arms)]
pdf.render(Report("t", "", conclusion.verdict(arms), parts))
notebook.of_report(Report("t", "", [], parts))
unwanted = {'tensorflow', 'keras', 'matplotlib.pyplot', 'sklearn', 'tl_keras.data'}
print(unwanted & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
