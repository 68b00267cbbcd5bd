"""Drawings of a model's parts, and accuracy against what it costs: everything is named, inside, and apart."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.patches import FancyBboxPatch

from tests.reporting.test_figures import written
from tl_keras.reporting import figures, plan_figures
from tl_keras.reporting.plan_figures import Member

NAMES = [
    f"{name} at {size}" for name in ("mobilenet_v2_0.35", "efficientnetv2b0", "vgg16") for size in (224, 160, 128, 96)
]
VOTERS = [("stacked", 0.45), ("fine-tuned densenet121", 0.25), ("last layer of mobilenet_v2_1.0 at 224", 0.15),
          ("logistic head", 0.1), ("cnn", 0.05)]  # fmt: skip


def extents(figure, artists):
    figure.draw_without_rendering()
    return [artist.get_window_extent() for artist in artists]


def apart(boxes):
    return all(
        one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 or other.y1 <= one.y0
        for one, other in combinations(boxes, 2)
    )


@pytest.mark.parametrize("blocks", [1, 2, 5, 12])
@pytest.mark.parametrize("members", [0, 1, 2, 5])
def test_the_diagram_has_a_box_for_each_part_and_its_text_inside(blocks, members):
    figure = plan_figures.diagram(NAMES[:blocks], "kernel head", VOTERS[:members])
    axis = figure.axes[0]
    said = written(figure)
    assert {"image", "stacked features", "kernel head", *NAMES[:blocks]} <= set(said)
    votes = members if members > 1 else 0
    assert ("probabilities" in said) == (not votes) and ("vote: mean of probabilities" in said) == bool(votes)
    assert {text for title, weight in VOTERS[:votes] for text in (title, f"{weight:.2f}")} <= set(said)
    boxes = [patch for patch in axis.patches if isinstance(patch, FancyBboxPatch)]
    assert len(boxes) == blocks + 4 + votes
    placed = extents(figure, boxes)
    assert apart(placed)
    page = figure.bbox
    assert all(page.x0 < box.x0 < box.x1 < page.x1 and page.y0 < box.y0 < box.y1 < page.y1 for box in placed)
    texts = [text for text in axis.texts if text.get_text()]
    for extent in extents(figure, [text for text in texts if text.get_text() not in {f"{w:.2f}" for _, w in VOTERS}]):
        assert any(box.x0 < extent.x0 and extent.x1 < box.x1 and box.y0 < extent.y0 and extent.y1 < box.y1
                   for box in placed)  # fmt: skip
    assert apart(extents(figure, [text for text in texts if text.get_text() in {f"{w:.2f}" for _, w in VOTERS}]))


def test_what_does_not_fit_into_its_box_is_cut():
    said = written(plan_figures.diagram(["a network of a very long name indeed at 224"], "a head " * 9))
    assert any(text.startswith("a network") and text.endswith("…") for text in said)


def made_up(count):
    rng = np.random.default_rng(0)
    return [
        Member(f"network {number}", 0.9 - 0.02 * number, 0.88 - 0.02 * number, 0.91 - 0.02 * number,
               *(10 ** rng.uniform((5, 0.5, 2.4), (8, 4, 4))))
        for number in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("count", [1, 3, 9, 14])
def test_costs_stand_on_logarithmic_scales_with_the_intervals(count):
    members = made_up(count)
    figure = plan_figures.resources(members)
    assert {member.title for member in members} <= set(written(figure))
    for axis, name in zip(figure.axes, ("parameters", "seconds", "megabytes"), strict=True):
        costs = [getattr(member, name) for member in members]
        assert axis.get_xscale() == "log" and axis.get_xlim()[0] < min(costs) <= max(costs) < axis.get_xlim()[1]
        assert [bar.lines[0].get_xdata()[0] for bar in axis.containers] == costs
        spans = [bar.lines[2][0].get_segments()[0][:, 1] for bar in axis.containers]
        np.testing.assert_allclose(spans, [(member.low, member.high) for member in members])
        shown = [label for label in axis.get_xticklabels() if label.get_text()]
        low, high = axis.get_xlim()
        inside = [label for label in shown if low <= label.get_position()[0] <= high]
        assert inside and apart(extents(figure, inside))
    looks = {(bar.lines[0].get_color(), bar.lines[0].get_marker()) for bar in figure.axes[0].containers}
    assert len(looks) == count
    assert figures.png(figure)[1:4] == b"PNG"


def test_alike_and_unknown_costs_can_be_drawn():
    members = [member._replace(parameters=1e6, seconds=float("nan")) for member in made_up(2)]
    low, high = plan_figures.resources(members).axes[0].get_xlim()
    assert low < 1e6 < high and high / low > 3


def test_numbers_are_short():
    said = [plan_figures.short(value) for value in (7, 250, 20_000, 1.5e6, 2e9, 0.5)]
    assert said == ["7", "250", "20k", "1.5M", "2G", "0.5"]
