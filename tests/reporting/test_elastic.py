"""What a report says of elastic and zoomed-out images: tables, sentences and figures hold the numbers given."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.networks import network, right_on
from tl_keras.data.deform import Elastic, field
from tl_keras.evaluation.deformation import PARTS
from tl_keras.evaluation.elastic_field import Residuals, Undone, best_affine, measure, zoom_field
from tl_keras.reporting import elastic, elastic_figures
from tl_keras.run_folder import RunFolder

THIRDS = {"original": slice(0, 30), "elastic": slice(30, 60), "zoomed_out": slice(60, 90)}
STAYS = np.eye(2, 3)
FIELDS = np.stack([field(Elastic().displacement(index, (28, 28)), (28, 28)) for index in range(20)])


def undone(scale=0.5, part=0.5):
    """A transformer that undoes these shares of the scale, and of the way to the best affine map."""
    zoom = np.broadcast_to(zoom_field(4, (28, 28)), FIELDS.shape)
    back = np.linalg.inv((STAYS + part * (best_affine(FIELDS) - STAYS))[:, :, :2])
    answer = np.concatenate([back, -back @ (part * best_affine(FIELDS))[:, :, 2:]], axis=2)
    stays = np.broadcast_to(STAYS, answer.shape)
    return Undone(
        np.full(20, scale) + np.linspace(-0.01, 0.01, 20), measure(stays, stays * 4.0**-scale, zoom),
        measure(stays, answer, FIELDS), {"original": 0.5, "zoomed_out": 0.25},
    )  # fmt: skip


def test_each_kind_of_image_is_compared_by_itself():
    # 27 and 24 of the first 30 are right, 6 and 26 of the next, all of the last.
    first = np.concatenate([right_on(27, count=30), right_on(6, count=30), right_on(30, count=30)])
    second = np.concatenate([right_on(24, count=30), right_on(26, count=30), right_on(30, count=30)])
    table = elastic.accuracy_table([network("stn", [first]), network("plain", [second])], THIRDS)
    assert [row[0] for row in table.rows] == ["all", "original", "elastic", "zoomed out"]
    assert [row[1] for row in table.rows] == [90, 30, 30, 30]
    assert [row[4] for row in table.rows] == ["-18.89", "+10.00", "-66.67", "+0.00"]
    assert table.rows[1][2].startswith("90.00% [74.4, 96.5]") and table.rows[1][3].startswith("80.00%")
    # Of all images 3 are right in the first alone and 20 in the second: 2 (1 + 23 + 253 + 1771) / 2^23, three times.
    assert [row[5] for row in table.rows] == ["p = 0.001", "p = 0.500", "p < 0.001", "p = 1.000"]
    told = elastic.accuracy_sentences([network("stn", [first]), network("plain", [second])], THIRDS)
    assert len(told) == 3 and "On the elastic test images stn reads 20.00%" in told[1] and "-66.67" in told[1]


def test_several_seeds_have_the_interval_of_their_mean():
    masks = [right_on(right, count=90) for right in (80, 84, 88)]
    table = elastic.accuracy_table([network("stn", masks), network("plain", masks)], THIRDS)
    assert table.rows[0][1] == 90 and table.rows[0][2] == "93.33% [82.3, 100.0]"


def test_sentences_say_what_was_undone():
    zoom, field_, spread = elastic.undone_sentences([undone(scale=0.5, part=1.0)], 4)
    assert zoom.startswith("Zoom-out by 4: mostly learned. The transformer undoes 50.00%") and "has 0.50 of" in zoom
    assert "As a field, 55.56%" in zoom  # a third of 3 is gone: 1 - (2/3)^2
    assert field_.startswith("Elastic deformation: learned, as far") and field_.endswith(
        "100% of what an affine map could."
    )
    assert "0.50 pixels (original), 0.25 pixels (zoomed out)" in spread
    zoom, field_, _ = elastic.undone_sentences([undone(scale=0.0, part=0.0)], 4)
    assert "4: not learned" in zoom and "has 0.25 of the size" in zoom
    assert "deformation: not learned" in field_ and "0% of what an affine map could" in field_


@pytest.mark.parametrize(
    "share, word",
    [(1.0, "learned"), (0.9, "learned"), (0.6, "mostly learned"), (0.3, "learned in part"), (-1, "not learned")],
)
def test_the_words_follow_the_share(share, word):
    (zoom, *_) = elastic.undone_sentences([undone(scale=share)], 4)
    assert zoom.startswith(f"Zoom-out by 4: {word}. ")


def test_several_trainings_stand_side_by_side():
    seeds = [undone(0.4), undone(0.6)]
    table = elastic.undone_table(seeds)
    assert list(table.header) == ["", "training 1", "training 2"]
    rows = {row[0]: row[1:] for row in table.rows}
    assert [cell.split("%")[0] for cell in rows["zoom-out: share of the scale undone"]] == ["40.00", "60.00"]
    assert rows["elastic: slope of shear"][0].startswith("0.")
    assert rows["zoomed out: spread of theta (pixels)"] == ["0.250"] * 2
    assert elastic.undone_sentences(seeds, 4)[0].startswith(
        "Zoom-out by 4: mostly learned. The transformer undoes 50.00%"
    )


def test_results_json_holds_every_number():
    (entry,) = json.loads(json.dumps(elastic.entries([undone(0.5, 1.0)])))
    assert entry["images"] == 20 and entry["scale_undone"]["mean"] == pytest.approx(0.5)
    assert entry["elastic"]["undone"] == entry["elastic"]["affine_share"]
    assert list(entry["elastic"]["slopes"]) == list(PARTS)
    assert entry["zoom"]["pixels_after_transformer"] == pytest.approx(entry["zoom"]["pixels"] * 2 / 3)


def test_curves_of_all_kinds_of_images():
    history = {"epoch": [1, 2], "accuracy": [0.1, 0.2], "val_accuracy": [0.3, 0.4]}
    history |= {f"accuracy_{name}": [0.5 + number / 10, 0.9] for number, name in enumerate(THIRDS)}
    figure = elastic_figures.accuracy_by_epoch({"stn": history, "plain": history}, list(THIRDS))
    assert len(figure.axes) == 2
    for axis in figure.axes:
        drawn = {line.get_label(): line.get_ydata().tolist() for line in axis.lines}
        assert drawn["training images"] == [0.1, 0.2] and drawn["test images"] == [0.3, 0.4]
        assert drawn["test, zoomed out"] == [0.7, 0.9] and len(drawn) == 5
    figure.draw_without_rendering()


def test_arrows_are_the_fields_and_what_is_left_of_them():
    found = undone(part=1.0).elastic
    copies = np.zeros((20, 28, 28, 3), "uint8")
    figure = elastic_figures.fields(copies, FIELDS, found, [3, 5])
    assert len(figure.axes) == 6
    made, best, left = (axis.collections[0] for axis in figure.axes[::2])
    np.testing.assert_allclose(made.U, FIELDS[3, 1::3, 1::3, 1].ravel())
    np.testing.assert_allclose(made.V, FIELDS[3, 1::3, 1::3, 0].ravel())
    np.testing.assert_allclose(best.U, left.U, atol=1e-9)
    assert figure.axes[0].yaxis.get_inverted(), "down is down"
    assert figure.axes[0].get_title() == f"{found.before[3]:.2f} px"


def test_dots_are_the_images_and_the_line_has_the_slope():
    figure = elastic_figures.followed("parts", undone(part=0.5).elastic)
    labels = [axis.get_legend().get_texts()[-1].get_text() for axis in figure.axes]
    assert labels[-2:] == ["slope 0.50", "slope 0.50"] and all(
        len(axis.lines[0].get_xdata()) == 20 for axis in figure.axes
    )


def test_sections_write_their_figures(tmp_path):
    out, copies = RunFolder(tmp_path), np.full((20, 28, 28, 3), 90, "uint8")
    thetas = {name: STAYS + np.random.default_rng(0).normal(size=(20, 2, 3)) * 0.1 for name in THIRDS}
    elastic.images_section(dict.fromkeys(THIRDS, copies), thetas, out)
    elastic.undone_section([undone()], copies, FIELDS, out)
    for name in ("before_after", "theta", "fields", "followed"):
        with Image.open(out.plot(name)) as image:
            assert image.width > 900


def test_pairs_tell_how_much_larger_an_image_is_shown():
    theta = np.array([STAYS * [0.25, 0.25, 1], STAYS * 2])
    ((before, after, text), (*_, second)) = elastic.pairs(np.full((2, 8, 8, 1), 50, "uint8"), theta)
    assert (text, second) == ("× 4.00", "× 0.50") and before.max() == 50 and after.max() == pytest.approx(50)


def test_residuals_of_nothing_affine_are_no_division_by_zero():
    ones = np.ones(3)
    assert Residuals(ones, ones, ones, np.tile(STAYS, (3, 1, 1)), np.tile(STAYS, (3, 1, 1))).possible.mean == 0
