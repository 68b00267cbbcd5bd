"""Figures of what a spatial transformer does: theta's parts, images before and after, what is undone, accuracies.

They have the one plot style of `figures`; every function answers a `matplotlib.figure.Figure` for `figures.save`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tl_keras.evaluation.deformation import IDENTITY, PARTS, Deformation, Response
from tl_keras.reporting.figures import DASHES, FAINT, PALETTE, STYLE, canvas

Responses = Mapping[str, Sequence[Sequence[Response]]]
LABELS = {  # what theta does to the image that is seen through it
    "rotation": "Rotation (degrees)\n+ shows it turned anticlockwise",
    "scale": "Scale (octaves)\n+ shows it smaller",
    "scale_x": "Scale x\nabove 1 shows it narrower",
    "scale_y": "Scale y\nabove 1 shows it flatter",
    "shear": "Shear\n+ shows its lower half moved left",
    "shift_x": "Shift x (halves of the width)\n+ shows it moved left",
    "shift_y": "Shift y (halves of the height)\n+ shows it moved up",
}
COLUMNS = 3


@rc_context(STYLE)
def distributions(title: str, groups: Mapping[str, np.ndarray]) -> Figure:
    """How the six parts of theta are distributed in each group of images: densities and medians, one panel for each.

    Args:
        groups: parts (n, 6), as `decompose` gives them, under the name of each group; n of 2 at least.

    >>> distributions("theta", {"all": np.random.rand(9, 6), "0": np.random.rand(5, 6)})
    """
    figure, panels = _panels(title, len(PARTS), 2.9)
    for number, (axis, part) in enumerate(zip(panels, PARTS, strict=True)):
        axis.axhline(IDENTITY[number], color=FAINT, linewidth=0.9, linestyle=":")
        for place, values in enumerate(groups.values()):
            _density(axis, place, values[:, number])
        axis.set_xticks(range(len(groups)), list(groups))
        axis.set_title(LABELS[part], fontsize=9)
    return figure


def _density(axis: Axes, place: int, values: np.ndarray) -> None:
    colour = PALETTE[0] if place else FAINT
    if np.ptp(values) > 0:  # of one value there is no density
        drawn = axis.violinplot(values, [place], widths=0.85, showextrema=False, points=200)
        drawn["bodies"][0].set(facecolor=colour, alpha=0.45, linewidth=0)
    axis.hlines(np.median(values), place - 0.3, place + 0.3, color=colour, linewidth=1.6)


@rc_context(STYLE)
def before_after(title: str, rows: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray, str]]]) -> Figure:
    """Images before (above) and after (below) the transformer, a row of pairs under each name.

    Args:
        rows: pairs (before, after, text) of images (H, W, C) from 0 to 255.

    >>> before_after("digits", {"rotation": [(np.zeros((28, 28, 3)), np.zeros((28, 28, 3)), "12 degrees")]})
    """
    columns = max(map(len, rows.values()))
    figure = canvas(title, 0.9 + 0.92 * columns, 0.5 + 2.1 * len(rows))
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for line, (name, pairs) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name, fontsize=9)
        for axis, (before, after, text) in zip(line, pairs, strict=False):
            axis.imshow(_above(before, after), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set_title(text, fontsize=8, loc="center", pad=3)
    return figure


def _above(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """One picture of two, from 0 to 1, with a white line between."""
    line = np.full((1, *upper.shape[1:]), 255.0)
    return np.clip(np.concatenate([upper, line, lower]) / 255, 0, 1).squeeze()


def extremes(images: np.ndarray, after: np.ndarray, parts: np.ndarray, each: int = 4) -> dict[str, list[tuple]]:
    """For `before_after`: the images with the lowest and the highest value of each part, the lowest first.

    >>> list(extremes(np.zeros((9, 8, 8, 3)), np.zeros((9, 8, 8, 3)), np.random.rand(9, 6)))[:2]
    ['rotation', 'scale x']
    """
    rows = {}
    for number, part in enumerate(PARTS):
        order = np.argsort(parts[:, number], kind="stable")
        chosen = order if len(order) <= 2 * each else np.concatenate([order[:each], order[-each:]])
        unit = "°" if part == "rotation" else ""
        rows[part.replace("_", " ")] = [
            (images[row], after[row], f"{parts[row, number]:.{0 if unit else 2}f}{unit}") for row in chosen
        ]
    return rows


@rc_context(STYLE)
def responses(title: str, transformers: Responses) -> Figure:
    """What transformers undid against what was applied: means over images of the first seed, and all or nothing."""
    kinds = [response.deformation for response in next(iter(transformers.values()))[0]]
    figure, panels = _panels(title, len(kinds), 3.1)
    for number, (axis, kind) in enumerate(zip(panels, kinds, strict=True)):
        for place, (name, seeds) in enumerate(transformers.items()):
            response = seeds[0][number]
            slope = f"{name}: slope {response.slope.mean:.2f}"
            _band(axis, response.applied, response.curve(), slope, place)
        applied = response.applied
        axis.plot(applied, applied, color=FAINT, linewidth=0.9, linestyle=":")
        axis.axhline(0, color=FAINT, linewidth=0.9, linestyle=":")
        axis.set(xlabel=_label(kind), ylabel="Undone")
        axis.legend(fontsize=7.5, loc="upper left", handlelength=1.4)
        axis.margins(y=0.2)
    return figure


@rc_context(STYLE)
def accuracies(title: str, deformations: Sequence[Deformation], networks: Mapping[str, Sequence]) -> Figure:
    """Test accuracy against the size of each deformation, one line for each network, its interval shaded.

    Args:
        networks: for each network a list, by deformation, of lists of intervals, by amount.
    """
    figure, panels = _panels(title, len(deformations), 3.1)
    for number, (axis, kind) in enumerate(zip(panels, deformations, strict=True)):
        sizes = [kind.size(kind.theta(amount)[None]).item() for amount in kind.amounts]
        for place, (name, curves) in enumerate(networks.items()):
            values = [(each.mean, each.low, each.high) for each in curves[number]]
            _band(axis, sizes, np.array(values), name, place)
        axis.set(xlabel=_label(kind), ylabel="Test accuracy")
        axis.set_ylim(top=1.01)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2)
    return figure


def _label(kind: Deformation) -> str:
    return LABELS.get(kind.name.replace(" ", "_"), kind.name)


def _band(axis: Axes, x, values: np.ndarray, label: str, place: int) -> None:
    style = {"color": PALETTE[place % len(PALETTE)], "linestyle": DASHES[place % len(DASHES)]}
    axis.plot(x, values[:, 0], label=label, marker="o", markersize=3.5, **style)
    axis.fill_between(x, values[:, 1], values[:, 2], color=style["color"], alpha=0.2, linewidth=0)


def _panels(title: str, count: int, height: float) -> tuple[Figure, np.ndarray]:
    rows = -(-count // COLUMNS)
    figure = canvas(title, 9.5, 0.4 + height * rows)
    axes = figure.subplots(rows, min(count, COLUMNS), squeeze=False).flat
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes[:count]
