"""The one plot style: learning curves, comparisons, intervals.

Every function answers a `matplotlib.figure.Figure` that belongs to nobody else (no pyplot, no global state),
so figures can be drawn on machines without a display and by several runs in one process.

>>> figure = bars({"frozen": (0.91, 0.89, 0.93), "fine-tuned": (0.94, 0.92, 0.95)}, "test accuracy")
>>> Path("accuracy.png").write_bytes(png(figure))
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tl_keras.evaluation.arms import Arm
from tl_keras.records import TEST

DPI = 200
FULL = 9  # inches: the width of a page, on which letters shrink to four fifths
INK, FAINT = "#22272e", "#6b7480"
# Okabe and Ito's palette, told apart with any kind of colour vision; its yellow is too pale for lines.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = ("-", "--", ":", "-.")
STYLE: dict[Any, Any] = {
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
MOST_COLUMNS = 4

Layout = Literal["constrained", "compressed"] | None
Bounds = tuple[float, float, float]  # mean, low, high; low and high may be NaN where there is no interval


@rc_context(STYLE)
def learning_curves(arms: Sequence[Arm]) -> Figure:
    """Accuracy and loss of every arm by epoch, side by side on common axes, the final accuracies written above.

    Lines are means over the seeds, faint lines single seeds.

    >>> [axis.get_title(loc="left") for axis in learning_curves(arms).axes][:2]  # doctest: +SKIP
    ['last layer', 'full fine-tuning']
    """
    columns = in_columns(len(arms))
    bands = -(-len(arms) // columns)
    figure = canvas("", FULL, 0.4 + 3.2 * bands)
    if len(arms) == 1:
        grid = figure.subplots(1, 2).reshape(2, 1)
    else:
        grid = figure.subplots(2 * bands, columns, squeeze=False, height_ratios=[3, 2] * bands)
    for axis in grid[-2:, (len(arms) - 1) % columns + 1 :].flat:
        axis.remove()
    handles: list = []
    for number, arm in enumerate(arms):
        band, column = divmod(number, columns)
        for axis, metric in zip(grid[2 * band : 2 * band + 2, column], ("accuracy", "loss"), strict=True):
            handles = _train_and_watched(axis, arm, metric)
            axis.tick_params(labelleft=not column, labelbottom=metric == "loss" or len(arms) == 1)
            axis.set_ylabel("" if column else metric.capitalize())
        grid[2 * band, column].set_title(textwrap.fill(arm.title, int(92 / columns)), pad=17)
        axis.set_xlabel("Epoch")
    for row in (0, 1):
        _common_heights([axis for axis in grid[row::2].flat if axis.figure])
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


@rc_context(STYLE)
def comparison(arms: Sequence[Arm]) -> Figure:
    """The arms' curves on common axes beside what they came to: the names have the colours of the curves."""
    figure = canvas("", FULL, max(2.9, 1.1 + 0.42 * len(arms)))
    left, right = figure.subplots(1, 2)
    colours = [PALETTE[number % len(PALETTE)] for number in range(len(arms))]
    for number, (arm, colour) in enumerate(zip(arms, colours, strict=True)):
        dash = DASHES[number // len(PALETTE) % len(DASHES)]
        _curve(left, arm.mean_curve("epoch"), arm.mean_curve("val_accuracy"), colour, dash)
    _by_epoch(left)
    left.set(title=f"{watched(arms).capitalize()} accuracy by epoch", xlabel="Epoch")
    intervals = {arm.title: arm.interval() for arm in arms}
    _dots(right, {title: (each.mean, each.low, each.high) for title, each in intervals.items()}, colours)
    right.set_title("Test accuracy with its 95% interval")
    return figure


@rc_context(STYLE)
def bars(values: Mapping[str, Bounds], xlabel: str) -> Figure:
    """One value with its interval per row: dots with error bars, since a cut bar would mislead.

    Args:
        values: mean, low and high under each name.
        xlabel: the quantity and its unit.

    >>> bars({"frozen": (0.91, 0.89, 0.93)}, "test accuracy")
    """
    figure = canvas("", FULL, 1 + 0.36 * len(values))
    axis = figure.subplots()
    _dots(axis, values, PALETTE[:1] * len(values))
    axis.set_xlabel(xlabel[:1].upper() + xlabel[1:])
    return figure


def canvas(title: str, width: float, height: float, layout: Layout = "constrained") -> Figure:
    """An empty figure of this style, `width` by `height` inches; its title is wrapped, and may be empty.

    >>> canvas("Test accuracy", 9, 4).subplots(1, 2)
    """
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")
    if title:
        figure.suptitle(textwrap.fill(title, int(width * 9)))
    return figure


@rc_context(STYLE)
def png(figure: Figure) -> bytes:
    """`figure` as a PNG file, 200 dots per inch.

    >>> png(bars({"frozen": (0.91, 0.89, 0.93)}, "test accuracy"))[1:4]
    b'PNG'
    """
    file = BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    return file.getvalue()


def in_columns(count: int) -> int:
    """In how many columns `count` panels stand, so that rows are full: 7 in rows of 4 and 3, 5 in 3 and 2."""
    return -(-count // -(-count // MOST_COLUMNS))


def watched(arms: Sequence[Arm]) -> str:
    """The split that the `val_` columns of the histories were measured on: test or validation."""
    return arms[0].first.data.get("watched", TEST)


def _train_and_watched(axis: Axes, arm: Arm, metric: str) -> list:
    """Both curves; above the panel, where no curve can run through them, their last values if they are accuracies."""
    handles = []
    for place, column, label, colour, dash in (
        (0, metric, "train", PALETTE[1], "--"),
        (1, f"val_{metric}", watched([arm]), PALETTE[0], "-"),
    ):
        for record in arm.records[1:] and arm.records:
            axis.plot(record.history["epoch"], record.history[column], color=colour, linewidth=0.7, alpha=0.4)
        mean = arm.mean_curve(column)
        handles.append(_curve(axis, arm.mean_curve("epoch"), mean, colour, dash, label=label))
        if metric == "accuracy":
            look: dict[str, Any] = {"ha": "right" if place else "left", "color": colour, "fontsize": 9}
            above: dict[str, Any] = {"xycoords": "axes fraction", "xytext": (0, 4), "textcoords": "offset points"}
            axis.annotate(f"{label} {mean[-1]:.3f}", (place, 1), **above, **look)
    _by_epoch(axis)
    return handles


def _curve(axis: Axes, epochs: np.ndarray, values: np.ndarray, colour: str, dash: str, **rest):
    # The dot on the last epoch also shows a training of one epoch, which has no line.
    style: dict[str, Any] = {"color": colour, "linestyle": dash, "marker": "o", "markersize": 4.5, "markevery": [-1]}
    return axis.plot(epochs, values, **style, **rest)[0]


def _by_epoch(axis: Axes) -> None:
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axis.margins(x=0.03)


def _common_heights(axes: Sequence[Axes]) -> None:
    lows, highs = zip(*(axis.get_ylim() for axis in axes), strict=True)
    for axis in axes:
        axis.set_ylim(min(lows), max(highs))


def _dots(axis: Axes, values: Mapping[str, Bounds], colours: Sequence[str]) -> None:
    """A row for each name: its mean as a dot, its interval as a line, the mean in figures at the right edge."""
    rows = np.arange(len(values))
    mean, low, high = np.array(list(values.values()), float).reshape(-1, 3).T
    axis.hlines(rows, low, high, color=colours, linewidth=2)
    for ends in (low, high):
        axis.scatter(ends, rows, marker="|", s=90, color=colours, linewidths=2)
    axis.scatter(mean, rows, s=55, color=colours, zorder=3)
    for row, value, colour in zip(rows, mean, colours, strict=True):
        axis.annotate(
            f"{value:.3f}", (1.02, row), xycoords=("axes fraction", "data"), va="center", color=colour, weight="bold"
        )
    axis.set_yticks(rows, [textwrap.fill(name, 26) for name in values])
    for label, colour in zip(axis.get_yticklabels(), colours, strict=True):
        label.set_color(colour)
    axis.set_ylim(len(values) - 0.4, -0.6)
    axis.margins(x=0.06)
    axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="y", visible=False)
    axis.grid(axis="x", visible=True)
