"""What a report says of a transformer: the numbers in figures, tables and sentences are those it was given."""

import numpy as np
import pytest

from tl_keras.data.splits import Split
from tl_keras.evaluation.compare import Interval
from tl_keras.evaluation.deformation import IDENTITY, PARTS, Deformation, Response, compose
from tl_keras.reporting import deformation_figures as drawn
from tl_keras.reporting import deformations
from tl_keras.reporting.content import Figure, Table
from tl_keras.run_folder import RunFolder

ROTATION = Deformation("rotation", ("rotation",), (-30.0, 0.0, 30.0))
SCALE = Deformation("scale", ("scale_x", "scale_y"), (0.5, 1.0, 2.0))


def response(kind, slopes):
    """Images that undo these shares of a deformation."""
    applied = np.array([kind.size(kind.theta(amount)[None]).item() for amount in kind.amounts])
    displaced = np.abs(applied[:, None]) * np.array([np.ones(len(slopes)), 1 - np.array(slopes)])[:, None]
    return Response(kind, applied, applied[:, None] * np.array(slopes), displaced)


def some(mean):
    """A transformer of one seed: some of rotations, twice as much of scales."""
    return [[response(ROTATION, [mean - 0.1, mean + 0.1]), response(SCALE, [2 * mean, 2 * mean])]]


def texts(figure):
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")) if text.get_text()]


# ----------------------------------------------------------------------------------------------- figures


def test_distributions_show_the_median_of_every_part_and_group():
    parts = np.random.default_rng(0).normal(size=(30, 6)) + np.arange(6)
    figure = drawn.distributions("theta", {"all": parts, "7": parts[:9]})
    assert len(figure.axes) == 6
    for number, axis in enumerate(figure.axes):
        medians = [line.get_segments()[0][0][1] for line in axis.collections if hasattr(line, "get_segments")]
        assert medians == pytest.approx([np.median(parts[:, number]), np.median(parts[:9, number])])
        assert [label.get_text() for label in axis.get_xticklabels()] == ["all", "7"]
        assert axis.lines[0].get_ydata()[0] == IDENTITY[number], "the identity, to compare with"


def test_distributions_of_one_value_have_no_density():
    figure = drawn.distributions("identity", {"all": np.tile(IDENTITY, (5, 1))})
    figure.draw_without_rendering()
    assert all(len(axis.collections) == 1 for axis in figure.axes)


def test_extremes_are_the_lowest_and_the_highest():
    parts = np.random.default_rng(0).permutation(60).reshape(10, 6).astype(float)
    images = np.arange(10, dtype="uint8")[:, None, None, None] * np.ones((1, 2, 2, 3), "uint8")
    rows = drawn.extremes(images, images + 100, parts, each=2)
    assert list(rows) == [part.replace("_", " ") for part in PARTS]
    for number, pairs in enumerate(rows.values()):
        ranked = np.argsort(parts[:, number])
        chosen = [*ranked[:2], *ranked[-2:]]
        assert [before[0, 0, 0] for before, _, _ in pairs] == chosen
        assert [after[0, 0, 0] for _, after, _ in pairs] == [row + 100 for row in chosen]
        assert [float(text.rstrip("°")) for _, _, text in pairs] == parts[chosen, number].tolist()


def test_few_images_are_each_shown_once():
    rows = drawn.extremes(np.zeros((3, 2, 2, 1)), np.zeros((3, 2, 2, 1)), np.zeros((3, 6)))
    assert {len(pairs) for pairs in rows.values()} == {3}


@pytest.mark.parametrize("channels", [1, 3])
def test_before_stands_above_after(channels):
    before, after = np.full((4, 4, channels), 51, "uint8"), np.full((4, 4, channels), 300.0)
    figure = drawn.before_after("digits", {"rotation": [(before, after, "12°")], "zoom": [(before, after, "4")] * 2})
    shown = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert len(shown) == 3 and {"rotation", "zoom", "12°", "4"} <= set(texts(figure))
    assert np.allclose(shown[0][:4], 0.2) and np.allclose(shown[0][5:], 1), "cut at white"


def test_responses_are_drawn_beside_all_and_nothing():
    figure = drawn.responses("undone", {"mine": some(0.3), "yours": some(0.1)})
    rotation, scale = (axis for axis in figure.axes if axis.lines)
    mine, yours, everything, nothing = rotation.lines
    assert mine.get_ydata() == pytest.approx([-9, 0, 9]) and yours.get_ydata() == pytest.approx([-3, 0, 3])
    assert everything.get_ydata() == pytest.approx([-30, 0, 30]) and set(nothing.get_ydata()) == {0}
    assert scale.lines[0].get_xdata() == pytest.approx([-1, 0, 1]), "octaves"
    assert {"mine: slope 0.30", "yours: slope 0.10", "mine: slope 0.60"} <= set(texts(figure))


def test_accuracies_are_drawn_with_their_intervals():
    curve = [Interval(value, value - 0.1, value + 0.1, 50) for value in (0.4, 0.9, 0.5)]
    figure = drawn.accuracies("deformed", [ROTATION], {"mine": [curve], "yours": [curve]})
    (axis,) = (axis for axis in figure.axes if axis.lines)
    assert axis.lines[0].get_ydata().tolist() == [0.4, 0.9, 0.5]
    assert axis.collections[0].get_paths()[0].get_extents().ymin == pytest.approx(0.3)
    assert {"mine", "yours", "Test accuracy"} <= set(texts(figure))


# ---------------------------------------------------------------------------------------- tables, sentences


@pytest.mark.parametrize(
    "values, share", [([1, 1, 3, 3], 1.0), ([1, 3, 1, 3], 0.0), ([0, 2, 2, 4], 0.5), ([5, 5, 5, 5], 0.0)]
)
def test_variance_between_classes_by_hand(values, share):
    assert deformations.between_classes(np.array(values, float), np.array([0, 0, 1, 1])) == pytest.approx(share)


def test_the_table_of_parts():
    parts = np.tile(np.array(IDENTITY), (4, 1))
    parts[:, 0] = [-10, -10, 20, 20]
    table = deformations.parts_table("theta", parts, np.array([0, 0, 1, 1]))
    assert table.rows[0] == ["rotation", "5.000", "15.000", "-10.000", "20.000", "100%"]
    assert table.rows[1] == ["scale x", "1.000", "0.000", "1.000", "1.000", "0%"]


def test_one_seed_has_the_interval_of_its_images_and_several_that_of_the_seeds():
    first, second = response(ROTATION, [0.2, 0.4]), response(ROTATION, [0.4, 0.6])
    one, two = deformations.slope([first]), deformations.slope([first, second])
    assert (one.mean, one.n) == (pytest.approx(0.3), 2)
    assert one.high == pytest.approx(0.3 + 12.7062 * 0.1, abs=1e-4)  # t(.975, 1) standard errors
    assert (two.mean, two.high) == (pytest.approx(0.4), pytest.approx(0.4 + 12.7062 * 0.1, abs=1e-4))


def test_the_table_of_slopes():
    table = deformations.slopes_table({"mine": some(0.3) + some(0.5), "yours": some(0.1)})
    assert [row[:4] for row in table.rows] == [
        ["mine", "rotation", 2, "0.300"],
        ["mine", "scale", 2, "0.600"],
        ["yours", "rotation", 1, "0.100"],
        ["yours", "scale", 1, "0.200"],
    ]
    assert [row[5] for row in table.rows] == ["0.400", "0.800", None, None]
    assert [row[7] for row in table.rows] == ["30%", "60%", "10%", "20%"]
    assert "on 2 test images" in table.note


def test_sentences_name_what_is_undone_most_first():
    (said,) = deformations.sentences({"mine": some(0.3)})
    assert said.startswith("mine: ") and "scale 60% [60, 60], rotation 30% [-97, 157] (95% over 2 test images)" in said
    (said,) = deformations.sentences({"mine": some(0.3) + some(0.5)})
    assert "scale 80% " in said and "(95% over 2 seeds)" in said


def test_gains_name_the_best_and_the_worst_place():
    def curves(*values):
        return [[Interval(value, value, value, 9) for value in values]]

    (said,) = deformations.gains([ROTATION], "mine", curves(0.7, 0.9, 0.5), curves(0.4, 0.9, 0.6))
    assert "by +6.7 points on average" in said
    assert "largest at rotation -30 (70.0% against 40.0%, +30.0 points)" in said
    assert "smallest at rotation 30 (50.0% against 60.0%, -10.0 points)" in said


def test_entries_for_the_results():
    first, *_ = deformations.entries({"mine": some(0.3)})
    assert (first["transformer"], first["deformation"], first["repeat"]) == ("mine", "rotation", 0)
    assert first["slope"] == pytest.approx(0.3) and first["images"] == 2 and first["amounts"] == [-30, 0, 30]
    assert first["undone"] == pytest.approx([-9, 0, 9])


def test_the_sections_show_their_figures(tmp_path):
    out, rng = RunFolder(tmp_path), np.random.default_rng(0)
    test = Split(rng.integers(0, 255, (12, 8, 8, 3), "uint8"), np.arange(12) % 2, ("ant", "bee", "wasp"))
    parts = np.array(IDENTITY) + rng.normal(0, 0.1, (12, 6))
    section = deformations.theta_section("mine", "net", compose(parts), test, out)
    assert [type(block) for block in section.blocks] == [Table, Figure, Figure]
    curve = [Interval(0.5, 0.4, 0.6, 50)] * 3
    undone = deformations.undone_section({"mine": some(0.3)}, [ROTATION, SCALE], {"mine": [curve, curve]}, out)
    assert "50 deformed test images" in undone.blocks[-1].caption
    for name in ("theta_net", "extremes_net", "undone", "accuracy_deformed"):
        assert out.plot(name).stat().st_size > 5000
