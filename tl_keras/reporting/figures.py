"""The one plot style: training curves, comparisons, confusion matrices, sample predictions.

Every function answers a `matplotlib.figure.Figure` that belongs to nobody else (no pyplot, no global state),
so figures can be drawn on machines without a display and by several runs in one process.

>>> figure = bars({"frozen": (0.91, 0.89, 0.93), "fine-tuned": (0.94, 0.92, 0.95)}, "test accuracy")
>>> save(figure, "runs/plots/accuracy.png")
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tl_keras.files import atomic

DPI = 200
INK, FAINT = "#22272e", "#6b7480"
RIGHT, WRONG = "#00794f", "#c4320a"
# Okabe and Ito's palette, told apart with any kind of colour vision; its yellow is too pale for lines.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = ("-", "--", ":", "-.")
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a class named "$5 note" is a name, not a formula
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e4e7eb",
    "figure.titlesize": 12.5,
    "figure.titleweight": "bold",
    "figure.constrained_layout.w_pad": 0.07,
    "figure.constrained_layout.h_pad": 0.07,
    "legend.frameon": False,
    "lines.linewidth": 1.9,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}
NUMBERED_CLASSES = 12
SAMPLE_ROWS, SAMPLE_COLUMNS = 4, 6

History = Mapping[str, Sequence[float]]


@rc_context(STYLE)
def history(title: str, history: History, val_label: str = "test") -> Figure:
    """Loss and accuracy of one training by epoch, the final values written at the curves' ends.

    Args:
        title: what was trained, on what.
        history: lists of one value per epoch: `epoch`, `loss`, `accuracy`, `val_loss`, `val_accuracy`.
        val_label: what the `val_` values were measured on.

    >>> history("VGG16", {"epoch": [1], "loss": [1.2], "accuracy": [0.5], "val_loss": [1.1], "val_accuracy": [0.6]})
    """
    figure = canvas(title, 9, 3.8)
    for axis, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        curves = [
            _curve(axis, history["epoch"], history[metric], "train", PALETTE[1], "--"),
            _curve(axis, history["epoch"], history[f"val_{metric}"], val_label, PALETTE[0], "-"),
        ]
        _by_epoch(axis, metric.capitalize())
        _label_ends(axis, curves)
        axis.legend(loc="upper right" if metric == "loss" else "lower right")
    return figure


@rc_context(STYLE)
def compare(histories: Mapping[str, History]) -> Figure:
    """Test accuracy and test loss by epoch of several networks, one colour (then one dash) each.

    Args:
        histories: the history of each network (as for `history`) under its name, in the order of the legend.

    >>> compare({"frozen": first_history, "fine-tuned": second_history})
    """
    figure = canvas("Networks compared", 9, 4.0 + 0.2 * ((len(histories) + 2) // 3))
    for axis, metric in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        curves = []
        for number, (name, values) in enumerate(histories.items()):
            colour = PALETTE[number % len(PALETTE)]
            dash = DASHES[number // len(PALETTE) % len(DASHES)]
            curves.append(_curve(axis, values["epoch"], values[f"val_{metric}"], name, colour, dash))
        _by_epoch(axis, f"Test {metric}")
        _label_ends(axis, curves)
    figure.legend(curves, list(histories), loc="outside lower center", ncols=3)
    return figure


@rc_context(STYLE)
def bars(values: Mapping[str, tuple[float, float, float]], ylabel: str) -> Figure:
    """One value with its interval per network: dots with error bars, since a cut bar would mislead.

    Args:
        values: (mean, low, high) under each name; low and high may be NaN where there is no interval.
        ylabel: the quantity and its unit.

    >>> bars({"frozen": (0.91, 0.89, 0.93)}, "test accuracy")
    """
    figure = canvas("", np.clip(1.6 + 1.15 * len(values), 4.5, 12), 4.2)
    axis = figure.subplots()
    positions = np.arange(len(values))
    mean, low, high = np.array(list(values.values()), float).reshape(-1, 3).T
    axis.vlines(positions, low, high, color=PALETTE[0], linewidth=2)
    axis.plot(positions, low, "_", positions, high, "_", color=PALETTE[0], markersize=11, markeredgewidth=2)
    axis.plot(positions, mean, "o", color=PALETTE[0], markersize=8)
    for position, value, top in zip(positions, mean, np.fmax(mean, high), strict=True):
        offset = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center", "va": "bottom"}
        axis.annotate(f"{value:.3f}", (position, top), weight="bold", **offset)
    axis.set(ylabel=ylabel[:1].upper() + ylabel[1:], xlim=(-0.6, len(values) - 0.4))
    axis.margins(y=0.15)
    names = [textwrap.fill(name, 15, break_long_words=False) for name in values]
    if len(names) > 8 or any(len(line) > 16 for name in names for line in name.split("\n")):
        axis.set_xticks(positions, list(values), rotation=30, ha="right", rotation_mode="anchor")
    else:
        axis.set_xticks(positions, names)
    return figure


@rc_context(STYLE)
def trends(title: str, x: Sequence[float], curves: Mapping[str, np.ndarray], xlabel: str, ylabel: str) -> Figure:
    """A quantity against another: one line for each name, its interval shaded.

    Args:
        x: N values.
        curves: (N, 3) under each name: mean, low and high at each x.

    >>> trends("Error", [10, 30], {"vgg19": np.array([[0.2, 0.1, 0.3], [0.1, 0.05, 0.15]])}, "Images", "Test error")
    """
    figure = canvas(title, 6.4, 4.4)
    axis = figure.subplots()
    for number, (name, values) in enumerate(curves.items()):
        mean, low, high = np.asarray(values, float).T
        style = {"color": PALETTE[number % len(PALETTE)], "linestyle": DASHES[number % len(DASHES)]}
        axis.plot(x, mean, label=name, marker="o", markersize=5, **style)
        axis.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.set_xticks(x, [f"{value:g}" for value in x])
    axis.set_ylim(bottom=0)
    axis.legend()
    return figure


@rc_context(STYLE)
def confusion(matrix: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """Which class was taken for which: counts and the share of each row, coloured by that share.

    Args:
        matrix: counts (K, K), true classes in rows, predicted ones in columns, for 2 to about 60 classes;
            numbers are written up to 12 classes, colours alone speak above.
        class_names: K names.
        title: what was predicted by what.

    >>> confusion(np.array([[9, 1], [2, 8]]), ["ant", "bee"], "hymenoptera")
    """
    matrix = np.asarray(matrix)
    count = len(matrix)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = np.clip(2.6 + 0.62 * count, 4.4, 10)
    figure = canvas(title, side + 0.6, side, layout="compressed")
    axis = figure.subplots()
    # The square root lets rare confusions show beside a diagonal near 100%.
    image = axis.imshow(share, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
    axis.grid(False)
    axis.spines[:].set_visible(False)
    size = np.clip(300 / count, 4.5, 10)
    upright = count <= 4 and max(map(len, class_names)) <= 10
    turned = {} if upright else {"rotation": 90 if count > 20 else 45, "rotation_mode": "anchor", "ha": "right"}
    axis.set_xticks(range(count), class_names, fontsize=size, va="center" if count > 20 else "top", **turned)
    axis.set_yticks(range(count), class_names, fontsize=size)
    axis.tick_params(length=0)
    axis.set(xlabel="Predicted class", ylabel="True class")
    if count <= NUMBERED_CLASSES:
        for row, column in np.ndindex(count, count):
            colour = "white" if share[row, column] > 0.3 else INK if matrix[row, column] else FAINT
            text = f"{matrix[row, column]:,}\n{share[row, column]:.1%}"
            axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=8.5)
    scale = figure.colorbar(image, ax=axis, format=lambda value, _: f"{value:.0%}")
    scale.set_label("Share of the true class")
    scale.outline.set_visible(False)
    return figure


@rc_context(STYLE)
def samples(
    images: np.ndarray,
    labels: Sequence[int],
    predictions: Sequence[int],
    probabilities: Sequence[float],
    class_names: Sequence[str],
    title: str,
) -> Figure:
    """Images with "true → predicted 97%": green frame where right; red dashed frame and bold text where wrong.

    Args:
        images: uint8 (N, H, W, 3); the first 24 are shown, four rows of six.
        labels: N true classes.
        predictions: N predicted classes.
        probabilities: of each prediction, 0 to 1.
        class_names: names of the classes.
        title: what was predicted by what.

    >>> samples(split.images[:24], split.labels[:24], predictions, probabilities, split.class_names, "digits")
    """
    shown = min(len(images), SAMPLE_ROWS * SAMPLE_COLUMNS)
    columns = min(max(shown, 1), SAMPLE_COLUMNS)
    rows = max(1, -(-shown // columns))
    figure = canvas(title, max(1.7 * columns, 4), 2.1 * rows + 0.5, layout="compressed")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis in axes:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for number, axis in zip(range(shown), axes[:shown], strict=True):
        right = labels[number] == predictions[number]
        text = f"{class_names[labels[number]]} → {class_names[predictions[number]]} {probabilities[number]:.0%}"
        axis.imshow(images[number], interpolation="nearest")
        weight, colour = ("normal", RIGHT) if right else ("bold", WRONG)
        axis.set_title(textwrap.fill(text, 20), fontsize=8, loc="center", color=colour, weight=weight)
        axis.spines[:].set(visible=True, color=colour, linewidth=2.2, linestyle="-" if right else (0, (3, 1.5)))
    return figure


def canvas(title: str, width: float, height: float, layout: str = "constrained") -> Figure:
    """An empty figure of this style, `width` by `height` inches; its title is wrapped, and may be empty.

    >>> canvas("Test accuracy", 9, 4).subplots(1, 2)
    """
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")
    if title:
        figure.suptitle(textwrap.fill(title, int(width * 9)))
    return figure


@rc_context(STYLE)
def save(figure: Figure, path: str | Path) -> None:
    """Write `figure` as PNG, 200 dots per inch; `path` is never half written.

    >>> save(history("VGG16", values), "runs/plots/vgg16.png")
    """
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


def _curve(axis: Axes, epochs: Sequence[float], values: Sequence[float], label: str, colour: str, dash: str):
    # The dot on the last epoch also shows a training of one epoch, which has no line.
    style = {"color": colour, "linestyle": dash, "marker": "o", "markersize": 4.5, "markevery": [-1]}
    return axis.plot(np.asarray(epochs, float), np.asarray(values, float), label=label, **style)[0]


def _by_epoch(axis: Axes, title: str) -> None:
    axis.set(xlabel="Epoch", title=title)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axis.margins(x=0.03)


def _label_ends(axis: Axes, curves: list) -> None:
    """Write each curve's last value at the right edge, at its height, pushed apart where they would overlap."""
    low, high = axis.get_ylim()
    last = [curve.get_ydata()[-1] for curve in curves]
    drawn = [curve.get_ydata()[np.isfinite(curve.get_ydata())] for curve in curves]
    heights = np.array([(values[-1] - low) / (high - low) if len(values) else 0.5 for values in drawn])
    order = np.argsort(heights, kind="stable")
    places = heights[order]
    for number in range(1, len(places)):
        places[number] = max(places[number], places[number - 1] + 0.055)
    places -= np.mean(places - heights[order])
    places += max(0, -places[0]) - max(0, places[-1] - 1)
    for number, place in zip(order, places, strict=True):
        text, colour = f"{last[number]:.3f}", curves[number].get_color()
        axis.annotate(text, (1.01, place), xycoords="axes fraction", va="center", fontsize=9, color=colour)
