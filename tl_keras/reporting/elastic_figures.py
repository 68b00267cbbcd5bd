"""Figures of what a transformer learned of zoomed-out and elastic images, in the one plot style of `figures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tl_keras.evaluation.deformation import PARTS, decompose
from tl_keras.evaluation.elastic_field import Residuals, remaining
from tl_keras.reporting.figures import FAINT, PALETTE, STYLE, canvas

FIELDS = ("as it was made", "after the best affine map", "after the transformer")


@rc_context(STYLE)
def accuracy_by_epoch(histories: Mapping[str, Mapping[str, Sequence[float]]], thirds: Sequence[str]) -> Figure:
    """Training and test accuracy by epoch, that of each third too: a panel for each network.

    Args:
        histories: `epoch`, `accuracy`, `val_accuracy` and `accuracy_<third>` under the title of each network.
        thirds: names of the kinds of test images.

    >>> history = {"epoch": [1], "accuracy": [0.8], "val_accuracy": [0.9], "accuracy_original": [0.95]}
    >>> accuracy_by_epoch({"transformer": history}, ["original"])
    """
    figure = canvas("", 9, 4.4)
    panels = figure.subplots(1, len(histories), sharey=True, squeeze=False)[0]
    for axis, (title, history) in zip(panels, histories.items(), strict=True):
        curves = {"training images": "accuracy", "test images": "val_accuracy"}
        curves |= {f"test, {shown(third)}": f"accuracy_{third}" for third in thirds}
        for number, (name, column) in enumerate(curves.items()):
            style = {"color": (FAINT, "#000000", *PALETTE)[number], "linestyle": "--" if number == 0 else "-"}
            axis.plot(history["epoch"], history[column], label=name, marker="o", markersize=3.5, **style)
        axis.set(title=title, xlabel="Epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panels[0].set_ylabel("Accuracy")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@rc_context(STYLE)
def fields(copies: np.ndarray, deformed: np.ndarray, residuals: Residuals, rows: Sequence[int]) -> Figure:
    """The displacement of every third pixel of some elastic copies: as made, and what remains of it.

    Args:
        copies: elastic images (N, H, W, C) from 0 to 255.
        deformed: their fields (N, H, W, 2), down and right, in pixels.
        residuals: of those.
        rows: which images to show.

    >>> fields(copies, deformed, measure(theta_original, theta_elastic, deformed), rows=[0, 1])  # doctest: +SKIP
    """
    figure = canvas("", 2.3 * len(rows), 7)
    axes = figure.subplots(3, len(rows), squeeze=False)
    stays = np.broadcast_to(np.eye(2, 3), residuals.done.shape)
    made = (stays, residuals.wanted, residuals.done)
    sizes = (residuals.before, residuals.best, residuals.left)
    for line, (label, maps, size) in enumerate(zip(FIELDS, made, sizes, strict=True)):
        for axis, row in zip(axes[line], rows, strict=True):
            axis.imshow(copies[row].mean(axis=-1), cmap="gray_r", vmin=0, vmax=500)
            down, right = np.moveaxis(remaining(deformed[row][None], maps[row][None])[0], -1, 0)[:, 1::3, 1::3]
            y, x = np.mgrid[1 : copies.shape[1] : 3, 1 : copies.shape[2] : 3]
            axis.quiver(x, y, right, down, angles="xy", scale_units="xy", scale=1, width=0.009, color=PALETTE[0])
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"{size[row]:.2f} px", fontsize=8.5, loc="center", pad=3)
        axes[line, 0].set_ylabel(label, fontsize=8.5)
    return figure


@rc_context(STYLE)
def followed(title: str, residuals: Residuals) -> Figure:
    """Each part of the transformer's map against that of the best affine map: one dot for each elastic image."""
    figure = canvas(title, 9, 6.2)
    wanted, done = decompose(residuals.wanted), decompose(residuals.done)
    for number, (axis, part) in enumerate(zip(figure.subplots(2, 3).flat, PARTS, strict=True)):
        x, y, line = wanted[:, number], done[:, number], residuals.slope(part).mean
        ends = np.quantile(x, (0.01, 0.99))
        axis.plot(x, y, ".", markersize=2.5, alpha=0.35, color=PALETTE[0], rasterized=True)
        axis.plot(ends, ends, linestyle=":", color=FAINT, label="all of it undone")
        axis.plot(ends, y.mean() + line * (ends - x.mean()), color=PALETTE[1], label=f"slope {line:.2f}")
        axis.set(title=part.replace("_", " "), xlim=np.quantile(x, (0.002, 0.998)), ylim=np.quantile(y, (0.005, 0.995)))
        axis.set(xlabel="best affine map", ylabel="transformer")
        axis.legend(fontsize=8, loc="upper left", handlelength=1.4)
    return figure


def shown(name: str) -> str:
    """A name of files and columns as a reader sees it: `zoomed_out` is `zoomed out`."""
    return name.replace("_", " ")
