"""Figures of what a transformer learned of zoomed-out and elastic images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.stn.affine import PARTS
from experiments.stn.copies import THIRDS
from tl_keras.reporting.figures import FAINT, PALETTE, STYLE, canvas

FIELDS = ("as it was made", "after the best affine map", "after the transformer")


@rc_context(STYLE)
def accuracy_by_epoch(histories: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Training and test accuracy by epoch, that of each third too: a panel for each network.

    Args:
        histories: `epoch`, `accuracy`, `val_accuracy` and `accuracy_<third>` under the title of each network.
    """
    figure = canvas("", 9, 4.4)
    panels = figure.subplots(1, len(histories), sharey=True, squeeze=False)[0]
    curves = {"training images": "accuracy", "test images": "val_accuracy"}
    curves |= {f"test, {shown(third)}": f"accuracy_{third}" for third in THIRDS}
    for axis, (title, history) in zip(panels, histories.items(), strict=True):
        for number, (name, column) in enumerate(curves.items()):
            style = {"color": (FAINT, "#000000", *PALETTE)[number], "linestyle": "-" if number else "--"}
            axis.plot(history["epoch"], history[column], label=name, marker="o", markersize=3.5, **style)
        axis.set(title=title, xlabel="Epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panels[0].set_ylabel("Accuracy")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@rc_context(STYLE)
def fields(copies: np.ndarray, made: np.ndarray, pixels: np.ndarray) -> Figure:
    """The displacement of every third pixel of some elastic copies: as made, and what remains of it.

    Args:
        copies: elastic images (n, H, W, C) from 0 to 255.
        made: for each of `FIELDS` theirs (3, n, H, W, 2), down and right, in pixels.
        pixels: root mean squares of those (3, n).
    """
    figure = canvas("", 2.3 * len(copies), 7)
    axes = figure.subplots(3, len(copies), squeeze=False)
    y, x = np.mgrid[1 : copies.shape[1] : 3, 1 : copies.shape[2] : 3]
    for line, label, of_line, sizes in zip(axes, FIELDS, made, pixels, strict=True):
        for axis, copy, each, size in zip(line, copies, of_line, sizes, strict=True):
            axis.imshow(copy.mean(axis=-1), cmap="gray_r", vmin=0, vmax=500)
            down, right = np.moveaxis(each, -1, 0)[:, 1::3, 1::3]
            axis.quiver(x, y, right, down, angles="xy", scale_units="xy", scale=1, width=0.009, color=PALETTE[0])
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"{size:.2f} px", fontsize=8.5, loc="center", pad=3)
        line[0].set_ylabel(label, fontsize=8.5)
    return figure


@rc_context(STYLE)
def followed(wanted: np.ndarray, done: np.ndarray, slopes: Mapping[str, float]) -> Figure:
    """Each part of the transformer's map against that of the best affine map: one dot for each elastic image.

    Args:
        wanted, done: parts (N, 6) of the best affine maps, and of the transformer's.
        slopes: of the regression, by part.
    """
    figure = canvas("", 9, 6.2)
    for axis, part, x, y in zip(figure.subplots(2, 3).flat, PARTS, wanted.T, done.T, strict=True):
        ends = np.quantile(x, (0.01, 0.99))
        axis.plot(x, y, ".", markersize=2.5, alpha=0.35, color=PALETTE[0], rasterized=True)
        axis.plot(ends, ends, linestyle=":", color=FAINT, label="all of it undone")
        line = y.mean() + slopes[part] * (ends - x.mean())
        axis.plot(ends, line, color=PALETTE[1], label=f"slope {slopes[part]:.2f}")
        axis.set(title=shown(part), xlim=np.quantile(x, (0.002, 0.998)), ylim=np.quantile(y, (0.005, 0.995)))
        axis.set(xlabel="best affine map", ylabel="transformer")
        axis.legend(fontsize=8, loc="upper left", handlelength=1.4)
    return figure


def shown(name: str) -> str:
    """A name of files and columns as a reader sees it: `zoomed_out` is `zoomed out`."""
    return name.replace("_", " ")
