"""Figures carry the numbers, not just a shape: values on the axes, names, colours, crisp pixels."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from tl_keras.reporting import figures

HISTORY = {
    "epoch": [1, 2, 3],
    "loss": [1.0, 0.5, 0.25],
    "accuracy": [0.5, 0.75, 0.875],
    "val_loss": [1.1, 0.7, 0.625],
    "val_accuracy": [0.4, 0.6, 0.8125],
    "learning_rate": [0.1, 0.1, 0.01],
}


def written(figure):
    """Every text that a reader of the figure sees."""
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")) if text.get_text()]


def end_labels(axis):
    return {text.get_text(): text for text in axis.texts}


def test_history_draws_both_curves_and_writes_their_last_values():
    figure = figures.history("VGG16 on ants", HISTORY, val_label="validation")
    loss, accuracy = figure.axes
    assert [line.get_ydata().tolist() for line in loss.lines] == [HISTORY["loss"], HISTORY["val_loss"]]
    assert [line.get_ydata().tolist() for line in accuracy.lines] == [HISTORY["accuracy"], HISTORY["val_accuracy"]]
    assert set(end_labels(loss)) == {"0.250", "0.625"}
    assert set(end_labels(accuracy)) == {"0.875", "0.812"}
    assert {"VGG16 on ants", "Loss", "Accuracy", "Epoch", "train", "validation"} <= set(written(figure))


def test_history_of_a_single_epoch_shows_a_dot():
    figure = figures.history("one", {name: values[:1] for name, values in HISTORY.items()})
    assert all(line.get_marker() == "o" for line in figure.axes[0].lines)
    assert "1.000" in end_labels(figure.axes[0])


def test_a_diverged_loss_is_written_as_nan():
    figure = figures.history("diverged", HISTORY | {"loss": [1.0, 2.0, float("nan")]})
    assert "nan" in end_labels(figure.axes[0])


def test_compare_gives_each_network_its_own_look_and_name():
    names = [f"network {number}" for number in range(9)]
    figure = figures.compare(dict.fromkeys(names, HISTORY))
    accuracy, loss = figure.axes
    looks = {(line.get_color(), line.get_linestyle()) for line in accuracy.lines}
    assert len(looks) == len(names)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names
    assert loss.lines[0].get_ydata().tolist() == HISTORY["val_loss"]


def test_equal_final_values_do_not_overprint_each_other():
    figure = figures.compare({"a": HISTORY, "b": HISTORY, "c": HISTORY})
    heights = sorted(text.xy[1] for text in figure.axes[0].texts)
    assert np.diff(heights).min() > 0.05
    assert 0 <= heights[0] <= heights[-1] <= 1


def test_bars_write_the_means_and_span_the_intervals():
    figure = figures.bars({"frozen": (0.912, 0.905, 0.919), "scratch": (0.78, np.nan, np.nan)}, "test accuracy")
    axis = figure.axes[0]
    assert {"0.912", "0.780", "frozen", "scratch", "Test accuracy"} <= set(written(figure))
    assert axis.collections[0].get_segments()[0][:, 1].tolist() == [0.905, 0.919]
    assert not axis.patches, "a bar from a cut axis exaggerates differences"
    assert axis.get_ylim()[0] < 0.78


def test_confusion_writes_counts_and_row_shares():
    figure = figures.confusion(np.array([[9, 1], [0, 0]]), ["ant", "bee"], "hymenoptera")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["9\n90.0%", "1\n10.0%", "0\n0.0%", "0\n0.0%"]
    assert {"ant", "bee", "hymenoptera", "True class", "Predicted class"} <= set(written(figure))


def test_confusion_of_59_classes_names_all_and_hides_numbers():
    names = [f"class {number}" for number in range(59)]
    axis = figures.confusion(np.eye(59, dtype=int) * 7, names, "many").axes[0]
    assert not axis.texts
    assert [label.get_text() for label in axis.get_xticklabels()] == names
    assert np.array_equal(axis.images[0].get_array(), np.eye(59))


def test_samples_name_truth_guess_and_probability_in_green_and_red():
    images = np.arange(2 * 4 * 4 * 3, dtype="uint8").reshape(2, 4, 4, 3)
    figure = figures.samples(images, [0, 1], [0, 0], [0.97, 0.5], ["ant", "$5 note"], "two")
    right, wrong = figure.axes
    assert right.get_title() == "ant → ant 97%"
    assert wrong.get_title().replace("\n", " ") == "$5 note → ant 50%"
    red, green, _ = (int(to_hex(right.title.get_color())[at : at + 2], 16) for at in (1, 3, 5))
    assert green > red
    assert to_hex(right.title.get_color()) != to_hex(wrong.title.get_color())
    assert wrong.title.get_weight() == "bold", "colour alone does not reach everyone"
    assert right.images[0].get_interpolation() == "nearest"
    assert np.array_equal(right.images[0].get_array(), images[0])


@pytest.mark.parametrize(("count", "axes"), [(1, 1), (8, 12), (30, 24)])
def test_samples_show_at_most_24(count, axes):
    images = np.zeros((count, 4, 4, 3), "uint8")
    figure = figures.samples(images, [0] * count, [0] * count, [1.0] * count, ["ant"], "many")
    assert len(figure.axes) == axes
    assert sum(bool(axis.images) for axis in figure.axes) == min(count, 24)


def test_saved_png_has_its_size_is_not_blank_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "plots" / "history.png"
    figures.save(figures.bars({"a": (0.5, 0.4, 0.6)}, "accuracy"), path)
    figures.save(figures.history("VGG16", HISTORY), path)
    assert [file.name for file in path.parent.iterdir()] == ["history.png"]
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == (1800, 760)
        assert image.info["dpi"][0] == pytest.approx(200, abs=0.1)
        pixels = np.asarray(image.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    assert (pixels[:5] == 255).all(), "nothing is cut off at the upper edge"


def test_importing_the_reporting_room_starts_neither_tensorflow_nor_pyplot():
    rooms = "import sys; from tl_keras.reporting import figures, notebook, report; report.write_html, figures.save"
    check = f"{rooms}; print({{'tensorflow', 'keras', 'matplotlib.pyplot'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_name_is_never_read_as_a_formula():
    name = "$5 and $6 note"
    drawn = [
        figures.compare({name: HISTORY}),
        figures.bars({name: (0.5, 0.4, 0.6)}, name),
        figures.confusion(np.eye(2, dtype=int), [name, "b"], name),
        figures.samples(np.zeros((1, 4, 4, 3), "uint8"), [0], [0], [1.0], [name], name),
    ]
    for figure in drawn:
        assert any(name in text.replace("\n", " ") for text in written(figure))
        texts = figure.findobj(lambda artist: hasattr(artist, "get_parse_math") and "note" in artist.get_text())
        assert not any(text.get_parse_math() for text in texts)
