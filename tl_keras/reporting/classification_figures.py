"""How sure answers are and how well classes are told apart: ROC curves and reliability diagrams."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tl_keras.evaluation.classification import Calibration, Curve, Roc
from tl_keras.reporting.figures import DASHES, FAINT, FULL, PALETTE, STYLE, canvas

NAMED = 3  # classes that the ROC figure picks out, those with the smallest areas
LISTED = 20  # classes: up to here each has its name beside its area
LONGEST = 22  # letters of a class name
MARKERS = "osD^vPX"
ZOOM = (0.42, 0.1, 0.55, 0.5)  # left, bottom, width and height, in shares of the panel
# The zoom with its labels begins at (0.34, 0.61); a curve that passes below that point has at most this area.
LEAST_FOR_ZOOM = 1 - 0.34 * (1 - 0.61)
CORNER = 0.2  # of both rates: what the zoom shows


@rc_context(STYLE)
def roc(curves: Roc) -> Figure:
    """ROC curves of all classes, faint, with their averages and the worst classes, beside the areas of all.

    >>> [axis.get_xlabel() for axis in roc(classification.roc(test, names)).axes]  # doctest: +SKIP
    ['False positive rate', 'Area under the curve']
    """
    figure = canvas("", FULL, 4.8)
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
    colours = dict(zip([curve.name for curve in curves.by_auc[:NAMED]], PALETTE[2:], strict=False))
    _curves(left, curves, colours)
    left.set(xlabel="False positive rate", ylabel="True positive rate", title="One class against the rest")
    left.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    if min(curves.micro.auc, curves.by_auc[0].auc) > LEAST_FOR_ZOOM:
        _zoom(left, curves, colours)
    _areas(right, curves, colours)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    return figure


@rc_context(STYLE)
def calibration(found: Mapping[str, Calibration]) -> Figure:
    """How often answers are right against how sure they are; below, how many are how sure.

    One network has the 95% intervals of its bins. Several are drawn on common axes.

    Args:
        found: under the title of each network.

    >>> calibration({arm.title: classification.calibration(arm.first.test)})  # doctest: +SKIP
    """
    figure = canvas("", FULL, max(4.4, 1 + 0.8 * len(found)))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.6, 1])
    above.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1.2, label="as often right\nas it is sure")
    for number, (title, each) in enumerate(found.items()):
        colour = PALETTE[number % len(PALETTE)]
        _reliability(above, title, each, number)
        if len(found) == 1:
            above.vlines(each.confidence, each.low, each.high, color=colour, linewidth=1.2, alpha=0.6)
        shares = each.counts / each.counts.sum()
        bars: dict[str, Any] = {"fill": True} if len(found) == 1 else {"baseline": None, "linestyle": _dash(number)}
        below.stairs(shares, each.edges, color=colour, alpha=0.8, linewidth=1.6, **bars)
    lowest = min(each.edges[np.flatnonzero(each.counts)[0]] for each in found.values())
    above.set(ylabel="Recognised", ylim=(-0.02, 1.02), xlim=(lowest - 0.01, 1.01))
    below.set(ylabel="Images", xlabel="Probability of the answer")
    below.set_ylim(bottom=0)
    figure.align_ylabels()
    for axis in (above, below):
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    figure.legend(*above.get_legend_handles_labels(), loc="outside right upper", fontsize=9, labelspacing=0.9)
    return figure


def _curves(axis: Axes, curves: Roc, colours: Mapping[str, str]) -> None:
    axis.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1.2)  # by chance
    others = [curve for curve in curves.classes if curve.name not in colours]
    faint: dict[str, Any] = {
        "color": FAINT,
        "linewidth": 0.8,
        "alpha": float(np.clip(8 / (len(others) or 1), 0.3, 0.7)),
    }
    label = f"{len(others)} other class{'es' if others[1:] else ''}"
    for curve in others:
        _line(axis, curve, label=label if curve is others[0] else "", **faint)
    for curve in curves.by_auc[: len(colours)]:
        _line(axis, curve, label=_with_area(curve), color=colours[curve.name], linewidth=1.3)
    for curve, colour, dash in ((curves.micro, PALETTE[0], "-"), (curves.macro, PALETTE[1], "--")):
        _line(axis, curve, label=_with_area(curve), color=colour, linestyle=dash, linewidth=2.8)
    axis.grid(axis="x", visible=True)


def _zoom(axis: Axes, curves: Roc, colours: Mapping[str, str]) -> None:
    """The corner in which the curves of good networks crowd."""
    corner = axis.inset_axes(ZOOM)
    _curves(corner, curves, colours)
    corner.set(xlim=(-0.002, CORNER), ylim=(1 - CORNER, 1.002))
    corner.set_xticks([0, CORNER / 2, CORNER])
    corner.set_yticks([1 - CORNER, 1 - CORNER / 2, 1])
    corner.tick_params(labelsize=8.5)
    corner.spines[:].set_visible(True)
    for label in (*corner.get_xticklabels(), *corner.get_yticklabels()):
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
    frame = axis.indicate_inset_zoom(corner, edgecolor=FAINT, alpha=1)
    for connector in frame.connectors or ():
        connector.set_visible(False)


def _line(axis: Axes, curve: Curve, **look: Any) -> None:
    axis.plot(curve.false_positives, curve.true_positives, **look)


def _areas(axis: Axes, curves: Roc, colours: Mapping[str, str]) -> None:
    """A dot for each class, the largest area on top."""
    ordered = curves.by_auc
    rows = range(len(ordered))
    paint = [colours.get(curve.name, FAINT) for curve in ordered]
    axis.scatter([curve.auc for curve in ordered], rows, s=np.clip(500 / len(ordered), 16, 45), color=paint, zorder=3)
    axis.axvline(curves.macro.auc, color=PALETTE[1], linestyle="--", linewidth=1.4)
    axis.set(xlabel="Area under the curve", title="Area of each class")
    few = len(ordered) <= LISTED
    axis.set_yticks(rows if few else [], [_fitting(curve.name) for curve in ordered] if few else [], fontsize=8.5)
    axis.set_ylabel("" if few else f"{len(ordered)} classes, in order of their areas")
    axis.set_ylim(-0.8, len(ordered) - 0.2)
    axis.tick_params(axis="y", length=0)
    axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    span = max(1 - ordered[0].auc, 0.02)
    axis.set_xlim(1 - 1.08 * span, 1 + 0.06 * span)
    axis.grid(axis="both", visible=True)


def _reliability(axis: Axes, title: str, each: Calibration, number: int) -> None:
    filled = each.counts > 0
    look: dict[str, Any] = {
        "color": PALETTE[number % len(PALETTE)],
        "marker": MARKERS[(number + number // len(PALETTE)) % len(MARKERS)],
        "linestyle": _dash(number),
    }
    label = f"{textwrap.fill(title, 30)}\nECE {each.ece:.3f}, surplus {each.surplus:+.3f}"
    axis.plot(each.confidence[filled], each.accuracy[filled], label=label, markersize=5, **look)


def _dash(number: int) -> str:
    return DASHES[number // len(PALETTE) % len(DASHES)]


def _with_area(curve: Curve) -> str:
    return f"{_fitting(curve.name, 34)}: {curve.auc:.3f}"


def _fitting(text: str, letters: int = LONGEST) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
