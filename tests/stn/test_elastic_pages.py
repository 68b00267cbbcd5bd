"""What a report says of elastic and zoomed-out images: tables, sentences and figures hold the recorded numbers."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.stn import elastic_figures
from experiments.stn import elastic_pages as pages
from experiments.stn.affine import PARTS
from experiments.stn.copies import THIRDS
from tests.made_up_records import with_correct
from tl_keras.evaluation.arms import Arm
from tl_keras.evaluation.compare import Interval


def interval(mean, half=0.01):
    return {"mean": mean, "low": mean - half, "high": mean + half}


def undone(scale=0.5, share=0.5, centring=0.0):
    """A transformer that undoes these shares of the scale, and of what an affine map could (0.8), as centring does."""
    field = {"pixels": 2.0, "pixels_after_best_affine": 0.5, "pixels_after_transformer": 1.25}
    return {
        "images": 20,
        "scale_undone": interval(scale),
        "zoom": field | {"affine_share": interval(1.0), "undone": interval(0.75)},
        "elastic": field
        | {"affine_share": interval(0.8), "undone": interval(0.8 * share)}
        | {"centring": interval(0.8 * centring), "beyond_centring": interval(0.8 * (share - centring))}
        | {"slopes": {part: interval(number / 10) for number, part in enumerate(PARTS)}},
        "theta_spread_pixels": {"original": 0.5, "elastic": 0.75, "zoomed_out": 0.25},
    }


def network(name, *masks, **measured):
    """An arm that is right on these images."""
    arm = with_correct(name, masks, title=name)
    return Arm(name, name, tuple(replace(record, **measured) for record in arm.records))


def right_on(*counts):
    """The first so many of 30 original, 30 elastic and 30 zoomed-out images are recognised."""
    return np.concatenate([np.arange(30) < count for count in counts])


def test_each_kind_of_image_is_compared_by_itself():
    first, second = network("stn", right_on(27, 6, 30)), network("plain", right_on(24, 26, 30))
    table = pages.accuracy_table(first, second)
    assert [row[0] for row in table.rows] == ["all", "original", "elastic", "zoomed out"]
    assert [row[1] for row in table.rows] == [90, 30, 30, 30]
    assert [row[4] for row in table.rows] == ["-18.89", "+10.00", "-66.67", "+0.00"]
    assert table.rows[1][2].startswith("90.00% [74.4, 96.5]") and table.rows[1][3].startswith("80.00%")
    # Of all images 3 are right in the first alone and 20 in the second: 2 (1 + 23 + 253 + 1771) / 2^23, three times.
    assert [row[5] for row in table.rows] == ["p = 0.001", "p = 0.500", "p < 0.001", "p = 1.000"]
    told = pages.accuracy_sentences(first, second)
    assert told[1] == "Elastic test images: stn 20.00%, plain 86.67%, -66.67 percentage points (p < 0.001)."
    assert len(told) == 3 and all(len(sentence.split()) <= 30 for sentence in told)


def test_several_seeds_have_the_interval_of_their_mean():
    masks = [np.arange(90) < right for right in (80, 84, 88)]
    table = pages.accuracy_table(network("stn", *masks), network("plain", *masks))
    assert table.rows[0][1] == 90 and table.rows[0][2] == "93.33% [74.0, 98.6]"


def gain(mean, half=0.01):
    return Interval(mean, mean - half, mean + half, 20)


def test_sentences_say_what_was_undone():
    zoom, shares, elastic = pages.undone_sentences([undone(scale=0.5, share=1.0, centring=0.25)], gain(0.78))
    assert zoom == "Zoom-out by 4: mostly learned; the transformer undoes 50.00% [49.0, 51.0] of the scale, in octaves."
    assert shares == (
        "Of the elastic fields' mean square an affine map could undo 80.0%, the transformer undoes 80.00% "
        "[79.0, 81.0], "
        "centring, which learns nothing, 20.0%."
    )
    assert elastic == (
        "Elastic deformation: mostly learned; beyond centring +60.0 [59.0, 61.0] points of that square, beyond a "
        "transformer that learned no elastic images +78.0 [77.0, 79.0]."
    )
    assert max(len(sentence.split()) for sentence in (zoom, shares, elastic)) <= 30


@pytest.mark.parametrize(
    "share, word",
    [(1.0, "learned"), (0.9, "learned"), (0.6, "mostly learned"), (0.3, "learned in part"), (-1, "not learned")],
)
def test_the_words_follow_the_share(share, word):
    zoom, _, elastic = pages.undone_sentences([undone(share, share)], gain(0.8))
    assert zoom.startswith(f"Zoom-out by 4: {word};") and elastic.startswith(f"Elastic deformation: {word};")


@pytest.mark.parametrize("centring, more", [(0.35, 0.3), (0.36, -0.1), (0.0, -0.03), (0.0, 0.005)])
def test_what_a_control_does_too_was_not_learned(centring, more):
    *_, elastic = pages.undone_sentences([undone(share=0.36, centring=centring)], gain(more))
    assert elastic.startswith("Elastic deformation: not learned;")


def with_shares(*shares, pixels=None):
    measured = [{"undone": undone(share=share / 0.8)} for share in shares]
    arm = with_correct("stn", [right_on(1, 1, 1)] * len(shares), title="stn")
    records = [replace(record, measured=each) for record, each in zip(arm.records, measured, strict=True)]
    return Arm("stn", "stn", tuple(replace(record, arrays={"undone.pixels": pixels}) for record in records))


def test_several_trainings_are_held_against_those_of_the_control():
    found = pages.beyond(with_shares(0.30, 0.34), with_shares(0.02, 0.06))
    # Each mean has the variance .0004, their difference .0008: t(.975, 2) is 4.302653.
    assert found.mean == pytest.approx(0.28)
    assert (found.high - found.mean) == pytest.approx(4.302653 * 0.0008**0.5, rel=1e-5)


def test_one_training_is_held_against_one_of_the_control_image_by_image():
    before = np.full(40, 2.0)
    left, other = before * 0.75**0.5, before
    pixels = [np.stack([before, before / 2, each]) for each in (left, other)]
    found = pages.beyond(with_shares(0.25, pixels=pixels[0]), with_shares(0.0, pixels=pixels[1]))
    assert (found.mean, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))


def test_several_trainings_stand_side_by_side():
    seeds = [undone(0.4), undone(0.6)]
    table = pages.undone_table(seeds, "transformer")
    assert list(table.header) == ["", "training 1", "training 2"]
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["zoom-out: share of the scale undone"] == ["0.400 [0.390, 0.410]", "0.600 [0.590, 0.610]"]
    assert rows["elastic: after the transformer"] == ["1.250"] * 2
    assert rows["elastic: share that the transformer undoes"] == ["0.400 [0.390, 0.410]"] * 2
    assert rows["elastic: slope of shear"] == ["0.300 [0.290, 0.310]"] * 2
    assert rows["zoomed out: spread of theta (pixels)"] == ["0.250"] * 2
    student = "50.00% [-77.1, 177.1] of the scale"  # t(.975, 1) times 0.1
    assert student in pages.undone_sentences(seeds, gain(0.1))[0]


def test_curves_of_all_kinds_of_images():
    history = {"epoch": [1, 2], "accuracy": [0.1, 0.2], "val_accuracy": [0.3, 0.4]}
    history |= {f"accuracy_{name}": [0.5 + number / 10, 0.9] for number, name in enumerate(THIRDS)}
    figure = elastic_figures.accuracy_by_epoch({"stn": history, "plain": history})
    assert len(figure.axes) == 2
    for axis in figure.axes:
        drawn = {line.get_label(): line.get_ydata().tolist() for line in axis.lines}
        assert drawn["training images"] == [0.1, 0.2] and drawn["test images"] == [0.3, 0.4]
        assert drawn["test, zoomed out"] == [0.7, 0.9] and len(drawn) == 5


def test_arrows_are_the_fields_and_what_is_left_of_them():
    made = np.random.default_rng(0).normal(size=(3, 2, 28, 28, 2))
    figure = elastic_figures.fields(np.zeros((2, 28, 28, 3), "uint8"), made, np.arange(6).reshape(3, 2))
    assert len(figure.axes) == 6
    arrows = figure.axes[3].collections[0]  # of the second image, what the best affine map leaves
    np.testing.assert_allclose(arrows.U, made[1, 1, 1::3, 1::3, 1].ravel())
    np.testing.assert_allclose(arrows.V, made[1, 1, 1::3, 1::3, 0].ravel())
    assert figure.axes[0].yaxis.get_inverted(), "down is down"
    assert figure.axes[3].get_title() == "3.00 px"


def test_dots_are_the_images_and_the_line_has_the_slope():
    wanted = np.random.default_rng(0).normal(size=(20, 6))
    figure = elastic_figures.followed(wanted, wanted / 2, dict.fromkeys(PARTS, 0.5))
    for axis in figure.axes:
        dots, _, line = axis.lines
        assert len(dots.get_xdata()) == 20 and line.get_label() == "slope 0.50"
        assert np.ptp(line.get_ydata()) == pytest.approx(np.ptp(line.get_xdata()) / 2)


def test_the_section_draws_what_was_recorded():
    rng = np.random.default_rng(0)
    parts = np.tile([0.0, 1.0, 1.0, 0.0, 0.0, 0.0], (3, 20, 1)) + rng.normal(0, 0.01, (3, 20, 6))
    parts[2, 0, 1:3] = 0.25, 0.25
    seen = {
        "parts": parts, "wanted": parts[0], "done": parts[1], "fields": rng.normal(size=(3, 2, 28, 28, 2)),
        "pixels": np.ones((3, 2)), "before": rng.integers(0, 255, (3, 4, 28, 28, 3), "uint8"),
    }  # fmt: skip
    seen["after"] = 255 - seen["before"]
    rows = pages.pictures(seen)
    assert list(rows) == ["original", "elastic", "zoomed out"] and rows["zoomed out"][0][2] == "× 4.00"
    arm = network("stn", right_on(1, 1, 1), measured={"undone": undone()},
                  arrays={f"undone.{name}": array for name, array in seen.items()})  # fmt: skip
    table, of_control, *drawn = pages.undone_section(arm, replace(arm, title="control")).blocks
    assert [each.caption for each in (table, of_control)] == ["What is undone: stn", "What is undone: control"]
    assert len(table.rows) == 22
    assert [figure.name for figure in drawn] == ["before_after", "theta", "fields", "followed"]
    assert all(len(figure.png) > 10_000 for figure in drawn)
