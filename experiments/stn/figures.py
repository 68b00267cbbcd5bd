"""Figures of what a spatial transformer does: theta's parts, images before and after, curves over deformations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.stn.affine import IDENTITY, PARTS
from experiments.stn.deformations import DEFORMATIONS
from tl_keras.reporting.figures import DASHES, FAINT, PALETTE, STYLE, canvas

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
def distributions(networks: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """How the six parts of theta are distributed: a panel for each part, densities and medians in each group of images.

    Args:
        networks: parts (n, 6) under the name of each group, under the title of each network; the same groups in all.

    >>> distributions({"transformer": {"all": np.random.rand(9, 6), "0": np.random.rand(5, 6)}})
    """
    figure, panels = _panels(len(PARTS), 2.9)
    width, names = 0.85 / len(networks), list(next(iter(networks.values())))
    for number, (axis, part) in enumerate(zip(panels, PARTS, strict=True)):
        axis.axhline(IDENTITY[number], color=FAINT, linewidth=0.9, linestyle=":")
        for which, (title, groups) in enumerate(networks.items()):
            start = width * (which - (len(networks) - 1) / 2)
            for place, values in enumerate(groups.values()):
                _density(axis, place + start, values[:, number], width, PALETTE[which], title)
        axis.set_xticks(range(len(names)), names)
        axis.set_title(LABELS[part], fontsize=9)
    if len(networks) > 1:
        lines = [line for line in panels[0].collections if line.get_label() in networks]
        figure.legend(lines[:: len(names)], list(networks), loc="outside lower center", ncols=2)
    return figure


def _density(axis: Axes, place: float, values: np.ndarray, width: float, colour: str, title: str) -> None:
    if np.ptp(values) > 0:  # of one value there is no density
        drawn: dict[str, Any] = axis.violinplot(values, [place], widths=width, showextrema=False, points=200)
        drawn["bodies"][0].set(facecolor=colour, alpha=0.45, linewidth=0)
    axis.hlines(np.median(values), place - 0.35 * width, place + 0.35 * width, color=colour, linewidth=1.6, label=title)


@rc_context(STYLE)
def before_after(rows: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray, str]]]) -> Figure:
    """Images before (above) and after (below) the transformer, a row of pairs under each name.

    Args:
        rows: pairs (before, after, text) of uint8 images (H, W, C), as many in each row.

    >>> before_after({"rotation": [(np.zeros((28, 28, 3), "uint8"), np.zeros((28, 28, 3), "uint8"), "12 degrees")]})
    """
    columns = max(map(len, rows.values()))
    figure = canvas("", 0.9 + 0.92 * columns, 2.0 * len(rows))
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for line, (name, pairs) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name, fontsize=9)
        for axis, (before, after, text) in zip(line, pairs, strict=True):
            white = np.full((1, *before.shape[1:]), 255, "uint8")
            axis.imshow(np.concatenate([before, white, after]).squeeze(), cmap="gray", interpolation="nearest")
            axis.set_title(text, fontsize=8, loc="center", pad=3)
    return figure


@rc_context(STYLE)
def by_deformation(ylabel: str, networks: Mapping[str, Mapping[str, np.ndarray]], reference: bool = False) -> Figure:
    """A quantity against the size of each deformation: a panel for each, a line with its interval for each network.

    Args:
        networks: curves (A, 3), mean, low and high, under the name of each deformation, under each network's title.
        reference: whether to draw the lines of all that was applied, and of nothing; else it is a share, from 0 to 1.
    """
    figure, panels = _panels(len(DEFORMATIONS), 3.1)
    for axis, kind in zip(panels, DEFORMATIONS, strict=True):
        for place, (title, curves) in enumerate(networks.items()):
            mean, low, high = np.asarray(curves[kind.name], float).T
            style = {"color": PALETTE[place % len(PALETTE)], "linestyle": DASHES[place % len(DASHES)]}
            axis.plot(kind.applied, mean, label=title, marker="o", markersize=3.5, **style)
            axis.fill_between(kind.applied, low, high, color=style["color"], alpha=0.2, linewidth=0)
        if reference:
            axis.plot(kind.applied, kind.applied, color=FAINT, linewidth=0.9, linestyle=":")
            axis.axhline(0, color=FAINT, linewidth=0.9, linestyle=":")
        else:
            axis.set_ylim(0, 1.01)
        axis.set(xlabel=LABELS[kind.name.replace(" ", "_")], ylabel=ylabel)
    handles, titles = panels[0].get_legend_handles_labels()
    figure.legend(handles, titles, loc="outside lower center", ncols=2)
    return figure


def _panels(count: int, height: float) -> tuple[Figure, np.ndarray]:
    rows = -(-count // COLUMNS)
    figure = canvas("", 9.5, 0.4 + height * rows)
    axes = figure.subplots(rows, min(count, COLUMNS), squeeze=False).flat
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes[:count]
