"""What a report says of transformers: the numbers in figures, tables and sentences are those of the records."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.stn import deformation_pages as pages
from experiments.stn import figures
from experiments.stn.affine import IDENTITY, PARTS
from experiments.stn.deformations import DEFORMATIONS, Response
from tests.made_up_records import made_up_record
from tl_keras.evaluation.arms import Arm

IMAGES, CLASSES = 20, ("ant", "bee")
MOST = {kind.name: 1 + number for number, kind in enumerate(DEFORMATIONS)}  # what is undone of each, relatively


def response(kind, slopes):
    """Images that undo these shares of a deformation."""
    displaced = np.abs(kind.applied[:, None]) * np.array([np.ones(len(slopes)), 1 - slopes])[:, None]
    return Response(kind, kind.applied[:, None] * slopes, displaced)


def seeded(title, seed, share, right):
    """One training: `share` of rotations is undone, twice that of scales and so on; `right` of ten are recognised."""
    shares = np.array([share - 0.05, share + 0.05])
    responses = [response(kind, shares * MOST[kind.name]) for kind in DEFORMATIONS]
    counts = {kind.name: [right] * len(kind.amounts) for kind in DEFORMATIONS}
    rng = np.random.default_rng(seed)
    rows = np.argsort(parts := np.array(IDENTITY) + rng.normal(0, 0.1, (IMAGES, 6)), axis=0).T[:, [0, -1]]
    pictures = rng.integers(0, 255, (2, 6, 2, 8, 8, 3), "uint8")
    described = dict(zip(("mean", "deviation", "low", "high", "between_classes"), (1.5, 0.25, -2, 3, 0.5), strict=True))
    return replace(
        made_up_record(title, seed, IMAGES, CLASSES, title=title),
        measured={
            "undone": {one.deformation.name: one.entry() for one in responses},
            "deformed": {"images": 10, "right": counts},
            "theta": dict.fromkeys(PARTS, described),
        },
        arrays={f"undone.{one.deformation.name}": one.curve() for one in responses}
        | {"theta.parts": parts, "theta.rows": rows, "theta.before": pictures[0], "theta.after": pictures[1]},
    )


def arm(title, *shares, right=7):
    return Arm(title, title, tuple(seeded(title, seed, share, right) for seed, share in enumerate(shares)))


def texts(figure):
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")) if text.get_text()]


# ----------------------------------------------------------------------------------------------- figures


def test_distributions_show_the_median_of_every_part_group_and_network():
    parts = np.random.default_rng(0).normal(size=(30, 6)) + np.arange(6)
    one, other = {"all": parts, "7": parts[:9]}, {"all": -parts, "7": -parts[:9]}
    figure = figures.distributions({"mine": one, "yours": other})
    panels = [axis for axis in figure.axes if axis.get_title(loc="left")]
    assert len(panels) == 6
    for number, axis in enumerate(panels):
        lines = [line for line in axis.collections if hasattr(line, "get_segments")]
        medians = [line.get_segments()[0][0][1] for line in lines]
        expected = [np.median(group[:, number]) for groups in (one, other) for group in groups.values()]
        assert medians == pytest.approx(expected)
        assert [label.get_text() for label in axis.get_xticklabels()] == ["all", "7"]
        assert axis.lines[0].get_ydata()[0] == IDENTITY[number], "the identity, to compare with"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mine", "yours"]
    mine, yours = (line.get_color()[0].tolist() for line in figure.legends[0].legend_handles)
    assert mine != yours


def test_distributions_of_one_value_have_no_density():
    figure = figures.distributions({"identity": {"all": np.tile(IDENTITY, (5, 1))}})
    figure.draw_without_rendering()
    assert all(len(axis.collections) == 1 for axis in figure.axes) and not figure.legends


@pytest.mark.parametrize("channels", [1, 3])
def test_before_stands_above_after(channels):
    before, after = np.full((4, 4, channels), 51, "uint8"), np.full((4, 4, channels), 255, "uint8")
    figure = figures.before_after({"rotation": [(before, after, "12°")], "zoom": [(before, after, "4")]})
    shown = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert len(shown) == 2 and {"rotation", "zoom", "12°", "4"} <= set(texts(figure))
    assert (shown[0][:4] == 51).all() and (shown[0][5:] == 255).all()


def test_what_is_undone_is_drawn_beside_all_and_nothing():
    pairs = [(arm("mine", 0.1), arm("plain", 0.1))]
    drawn = next(block for block in pages.undone_section(pairs).blocks if getattr(block, "name", "") == "undone").draw()
    for axis, kind in zip((axis for axis in drawn.axes if axis.lines), DEFORMATIONS, strict=True):
        mine, everything, nothing = axis.lines
        assert mine.get_ydata() == pytest.approx(kind.applied * 0.1 * MOST[kind.name])
        assert everything.get_ydata() == pytest.approx(kind.applied) and set(nothing.get_ydata()) == {0}


def test_accuracies_are_drawn_with_their_intervals():
    pairs = [(arm("mine", 0.1, right=9), arm("plain", 0.1, right=4))]
    block = pages.undone_section(pairs).blocks[-1]
    assert "10 deformed test images" in block.caption
    mine, plain = next(axis for axis in block.draw().axes if axis.lines).lines
    assert set(mine.get_ydata()) == {0.9} and set(plain.get_ydata()) == {0.4}
    low, high = mine.axes.collections[0].get_paths()[0].get_extents().intervaly
    assert (low, high) == pytest.approx((0.5958, 0.9821), abs=1e-4), "Wilson's"


# ---------------------------------------------------------------------------------------- tables, sentences


def test_extreme_images_of_both_transformers_share_rows():
    one, other = arm("mine", 0.1), arm("yours", 0.2)
    rows = pages.extremes([one, other])
    assert list(rows) == [part.replace("_", " ") for part in PARTS]
    seen = other.first.arrays
    for number, pairs in enumerate(rows.values()):
        assert len(pairs) == 4
        before, after, text = pairs[-1]
        assert (before == seen["theta.before"][number, 1]).all() and (after == seen["theta.after"][number, 1]).all()
        value = seen["theta.parts"][:, number].max()
        assert text == (f"{value:.0f}°" if number == 0 else f"{value:.2f}")


def test_groups_are_the_classes():
    found = arm("mine", 0.1)
    groups = pages.groups(found)
    assert list(groups) == ["all", *CLASSES] and len(groups["all"]) == IMAGES
    labels = found.first.test.labels
    np.testing.assert_array_equal(groups["bee"], found.first.arrays["theta.parts"][labels == 1])


def test_the_table_of_parts_has_every_transformer():
    table = pages.parts_table([arm("mine", 0.1), arm("yours", 0.1)])
    assert len(table.rows) == 12
    assert table.rows[7] == ["yours: scale x", "1.500", "0.250", "-2.000", "3.000", "50%"]


def test_one_seed_has_the_interval_of_its_images_and_several_that_of_the_seeds():
    one, two = (pages.slope(arm("mine", *shares), DEFORMATIONS[0]) for shares in ([0.3], [0.3, 0.5]))
    assert (one.mean, one.n) == (pytest.approx(0.3), 2)
    assert one.high == pytest.approx(0.3 + 12.7062 * 0.05, abs=1e-4)  # t(.975, 1) standard errors
    assert (two.mean, two.high) == (pytest.approx(0.4), pytest.approx(0.4 + 12.7062 * 0.1, abs=1e-4))


def test_the_table_of_slopes():
    table = pages.slopes_table([arm("mine", 0.1, 0.12), arm("yours", 0.05)])
    assert [row[:3] for row in table.rows[:2]] == [["mine: rotation", 2, "0.110"], ["mine: scale", 2, "0.220"]]
    assert table.rows[-1][:3] == ["yours: shift y", 1, "0.250"] and table.rows[-1][4] == "25%"
    assert "on 2 test images" in table.note


def test_gains_name_the_best_and_the_worst_place():
    mine, plain = arm("mine", 0.1), arm("plain", 0.1, right=6)
    counts = mine.first.measured["deformed"]["right"]
    counts["rotation"] = [10, *counts["rotation"][1:-1], 3]
    (row,) = pages.gains_table([(mine, plain)]).rows
    assert row[2:] == ["+40.0 (rotation -60: 100.0% against 60.0%)", "-30.0 (rotation 60: 30.0% against 60.0%)"]
    assert float(row[1]) == pytest.approx((41 * 10 + 40 - 30) / 43, abs=0.05)


def test_sentences_are_short_and_name_what_is_undone_most_and_least():
    told = pages.sentences([(arm("mine", 0.1, right=8), arm("plain", 0.1))])
    assert told[0].startswith("mine: of what is put in it undoes shift y (50% [-268, 368]) best, rotation (10% [")
    assert told[1] == "mine: 10.0 points ahead of plain on deformed test images, on average."
    behind = pages.sentences([(arm("mine", 0.1, right=5), arm("plain", 0.1))])[1]
    assert behind.startswith("mine: 20.0 points behind plain")
    assert all(len(sentence.split()) <= 30 for sentence in told)


def test_entries_are_those_of_every_training():
    found = pages.entries([arm("mine", 0.1, 0.2), arm("yours", 0.3)])
    assert [(one["transformer"], one["repeat"]) for one in found[::5]] == [("mine", 0), ("mine", 1), ("yours", 0)]
    assert found[5]["deformation"] == "rotation" and found[5]["slope"] == pytest.approx(0.2)
    assert found[0]["undone"] == pytest.approx([0.1 * amount for amount in found[0]["amounts"]])


def test_the_sections_show_both_transformers_in_the_same_figures():
    pairs = [(arm("mine", 0.1), arm("plain", 0.1)), (arm("yours", 0.2), arm("bare", 0.1))]
    sections = [pages.undone_section(pairs), pages.theta_section([pair[0] for pair in pairs])]
    drawn = [block for section in sections for block in section.blocks if hasattr(block, "draw")]
    assert [figure.name for figure in drawn] == ["undone", "accuracy_deformed", "theta", "extremes"]
    assert all(len(figure.png) > 5000 for figure in drawn)
