"""What a model is made of and what it costs: a drawing of its parts, and accuracy against resources."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from tl_keras.reporting.error_figures import MARKERS
from tl_keras.reporting.figures import FAINT, FULL, INK, PALETTE, STYLE, canvas

EDGE, ROW, LANE = 0.14, 0.34, 0.62  # inches: the margin, a block, a member that votes
LINE, LETTER = 0.16, 0.0765  # inches: a line of text and a letter in it
PLAIN, BLOCK, HEAD, MEMBER = "#eef0f3", "#e5f0f8", "#fdf0e4", "#e5f3ec"
# Inches across the page: the middle of each box and its width.
ALONE = {"image": (0.55, 0.8), "block": (2.6, 2.2), "stacked": (4.7, 0.9), "head": (6.3, 1.2), "out": (8.15, 1.3)}
VOTED = {"image": (0.5, 0.7), "block": (2.2, 2.1), "stacked": (3.98, 0.78), "head": (5.05, 0.86),
         "member": (6.42, 1.36), "out": (8.3, 1.1)}  # fmt: skip


class Member(NamedTuple):
    """A model, its accuracy with the ends of the 95% interval, and what it costs.

    Args:
        parameters: how many.
        seconds, megabytes: the time to train it, and the most memory that it took; NaN where not measured.
    """

    title: str
    accuracy: float
    low: float
    high: float
    parameters: float
    seconds: float
    megabytes: float


@rc_context(STYLE)
def resources(members: Sequence[Member]) -> Figure:
    """Accuracy with its interval against parameters, seconds and peak memory, each on a logarithmic scale.

    The names stand once, below, beside their marks.

    >>> resources([Member("vote", 0.91, 0.89, 0.93, 5e6, 300.0, 900.0)])  # doctest: +SKIP
    """
    across = 3 if max((len(member.title) for member in members), default=0) < 34 else 2
    figure = canvas("", FULL, 2.9 + 0.22 * -(-len(members) // across))
    axes = figure.subplots(1, 3, sharey=True)
    handles: list = []
    for axis, (name, says) in zip(axes, _COSTS.items(), strict=True):
        handles = [_mark(axis, number, each, float(getattr(each, name))) for number, each in enumerate(members)]
        _logarithmic(axis, [float(getattr(each, name)) for each in members])
        axis.set_xlabel(says)
        axis.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axis.grid(axis="x", visible=True)
    axes[0].set_ylabel("Accuracy with its 95% interval")
    titles = [textwrap.shorten(member.title, 52, placeholder=" …") for member in members]
    figure.legend(handles, titles, loc="outside lower center", ncols=min(across, len(members)), fontsize=9)
    return figure


_COSTS = {"parameters": "Parameters", "seconds": "Seconds", "megabytes": "Peak memory in MB"}


def _mark(axis: Axes, number: int, member: Member, cost: float):
    colour, shape = PALETTE[number % len(PALETTE)], MARKERS[number // len(PALETTE) % len(MARKERS)]
    ends = [[member.accuracy - member.low], [member.high - member.accuracy]]
    look: dict[str, Any] = {"color": colour, "fmt": shape, "markersize": 6.5, "elinewidth": 1.6, "capsize": 3.5}
    return axis.errorbar([cost], [member.accuracy], ends, markeredgecolor="white", markeredgewidth=0.6, **look)


def _logarithmic(axis: Axes, costs: Sequence[float]) -> None:
    """Ends that leave room around the marks, and 1, 2 and 5 times the powers of 10 written as people write them."""
    known = [cost for cost in costs if np.isfinite(cost) and cost > 0]
    axis.set_xscale("log")
    low, high = (min(known), max(known)) if known else (1.0, 10.0)
    room = max(1.25, (high / low) ** 0.08, (4 * low / high) ** 0.5)
    axis.set_xlim(low / room, high * room)
    axis.xaxis.set_major_locator(LogLocator(10, (1.0, 2.0, 5.0) if high / low < 60 else (1.0,), numticks=12))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.xaxis.set_minor_formatter(NullFormatter())


def short(value: float) -> str:
    """A number in at most four signs.

    >>> short(1_500_000), short(20_000), short(7.0)
    ('1.5M', '20k', '7')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


@rc_context(STYLE)
def diagram(blocks: Sequence[str], head: str, members: Sequence[tuple[str, float]] = ()) -> Figure:
    """The parts of a model from left to right: image, blocks, stacked features, head, vote, probabilities.

    Args:
        blocks: "mobilenet_v2_0.35 at 224".
        head: what reads the stacked features.
        members: who votes and with which weight, the model of these blocks first; of one alone there is no vote.

    >>> diagram(["mobilenet_0.25 at 160"], "kernel head", [("stacked", 0.7), ("fine-tuned", 0.3)])  # doctest: +SKIP
    """
    voters = list(members) if members[1:] else []
    high = ROW * max(len(blocks), 2)  # of the part with the blocks
    height = EDGE + high + LANE * max(len(voters) - 1, 0) + EDGE
    figure = canvas("", FULL, height, layout=None)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.axis("off")
    axis.set(xlim=(0, FULL), ylim=(height, 0))
    middle, place = EDGE + high / 2, VOTED if voters else ALONE
    image = _box(axis, place["image"], middle, "image", tall=0.6)
    stack = _box(axis, place["stacked"], middle, "stacked features", tall=high - 0.08, colour=BLOCK)
    reader = _box(axis, place["head"], middle, head, tall=0.62, colour=HEAD)
    for number, block in enumerate(blocks):
        down = middle + ROW * (number - (len(blocks) - 1) / 2)
        body = _box(axis, place["block"], down, block, tall=ROW - 0.1, colour=BLOCK, lines=1)
        _arrow(axis, (image.right, middle), (body.left, down))
        _arrow(axis, (body.right, down), (stack.left, down))
    _arrow(axis, (stack.right, middle), (reader.left, middle))
    if voters:
        _vote(axis, voters, [middle, *(EDGE + high + LANE * (row + 0.5) for row in range(len(voters) - 1))])
        _arrow(axis, (reader.right, middle), (_edges(place["member"]).left, middle))
    else:
        out = _box(axis, place["out"], middle, "probabilities", tall=0.6)
        _arrow(axis, (reader.right, middle), (out.left, middle))
    return figure


def _vote(axis: Axes, voters: Sequence[tuple[str, float]], downs: Sequence[float]) -> None:
    """The members below each other, each but the first fed with the image by itself, and what they come to."""
    centre = (downs[0] + downs[-1]) / 2
    out = _box(axis, VOTED["out"], centre, "vote: mean of probabilities", tall=0.8)
    trunk = VOTED["image"][0]
    for number, ((title, weight), down) in enumerate(zip(voters, downs, strict=True)):
        member = _box(axis, VOTED["member"], down, title, tall=LANE - 0.12, colour=MEMBER)
        if number:
            axis.plot([trunk, trunk], [downs[0] + 0.3, down], color=FAINT, linewidth=1, zorder=0)
            _arrow(axis, (trunk, down), (member.left, down))
        # All arrows end apart from each other, in the order of the members.
        end = centre + 0.6 * ((number + 0.5) / len(voters) - 0.5)
        _arrow(axis, (member.right, down), (out.left, end))
        label: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "weight": "bold"}
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        share = 0.3  # of the way: nearer the member, where the arrows are farther apart
        along = member.right + share * (out.left - member.right), down + share * (end - down)
        axis.text(*along, f"{weight:.2f}", bbox=ground, **label)


class _Edges(NamedTuple):
    left: float
    right: float


def _edges(place: tuple[float, float]) -> _Edges:
    return _Edges(place[0] - place[1] / 2, place[0] + place[1] / 2)


def _box(
    axis: Axes, place: tuple[float, float], down: float, text: str, *, tall: float, colour: str = PLAIN, lines: int = 3
) -> _Edges:
    """A rounded box around text in as many lines as it may have, cut where it does not fit."""
    edges = _edges(place)
    shape = FancyBboxPatch(
        (edges.left, down - tall / 2), place[1], tall, "round,pad=0,rounding_size=0.06",
        facecolor=colour, edgecolor=FAINT, linewidth=0.8,
    )  # fmt: skip
    axis.add_patch(shape)
    most = min(lines, max(1, int(tall / LINE)))
    said = textwrap.wrap(text, int(place[1] / LETTER), max_lines=most, placeholder=" …")
    axis.text(place[0], down, "\n".join(said), ha="center", va="center", fontsize=8.5, color=INK)
    return edges


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    look = {"arrowstyle": "-|>", "color": FAINT, "linewidth": 1, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
    axis.annotate("", end, start, arrowprops=look, zorder=1)
