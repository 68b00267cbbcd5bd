"""What networks get wrong: confusion matrices, recall by class, and what each arm says of the same images."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure, SubFigure

from tl_keras.evaluation.arms import Arm
from tl_keras.records import Predictions
from tl_keras.reporting.figures import FAINT, FULL, INK, PALETTE, STYLE, canvas, in_columns, watched

RIGHT, WRONG = "#00794f", "#c4320a"
PALE_RIGHT, PALE_WRONG = "#e5f3ec", "#fbe6de"
SMALL = 6  # classes: up to here every arm has a matrix of its own
NUMBERED = 12  # classes: up to here counts are written
LONGEST = 20  # letters of a class name beside a matrix
MARKERS = "osD^vPX"
COLUMNS = 8  # images in a row
TALL = 4  # arms: of more, one row of images is enough


def on_same_images(arms: Sequence[Arm]) -> list[list[Arm]]:
    """The arms in groups that were tested on the same images, the best arm of each group first."""
    groups: dict[tuple, list[Arm]] = {}
    for arm in sorted(arms, key=lambda arm: arm.interval(watched(arms)).mean, reverse=True):
        groups.setdefault((arm.first.class_names, arm.first.test.ids.tobytes()), []).append(arm)
    return list(groups.values())


@rc_context(STYLE)
def confusions(arms: Sequence[Arm]) -> Figure:
    """Which class was taken for which, by the first seeds: counts, coloured by their share of the true class.

    Up to six classes every arm has its matrix; of more the best arm has one, with the recall of every arm beside it.
    """
    groups = on_same_images(arms)
    heights = [_height(group) for group in groups]
    figure = canvas("", FULL, sum(heights))
    rows = figure.subfigures(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for row, group in zip(rows, groups, strict=True):
        (_side_by_side if len(_names(group)) <= SMALL else _with_recall)(row, group)
    return figure


@rc_context(STYLE)
def answers(arms: Sequence[Arm]) -> Figure:
    """Kept test images under their true class, and what each arm says of them: those first that most arms got wrong."""
    groups = on_same_images(arms)
    banks = [(group, rows) for group in groups for rows in _chosen(group, 1 if groups[1:] or group[TALL:] else 2)]
    heights = [1.25 + 0.36 * len(group) for group, _ in banks]
    figure = canvas("", FULL, sum(heights), layout=None)
    places = 1 - np.cumsum(heights) / sum(heights)
    for (group, rows), height, bottom in zip(banks, heights, places, strict=True):
        axis = figure.add_axes((0, bottom, 1, height / sum(heights)))
        axis.axis("off")
        _bank(axis, group, rows)
        axis.set(xlim=(0, FULL), ylim=(height, 0))
    return figure


def _names(group: Sequence[Arm]) -> tuple[str, ...]:
    return group[0].first.class_names


def _height(group: Sequence[Arm]) -> float:
    names = _names(group)
    if len(names) > SMALL:
        return float(np.clip(1.2 + 0.34 * len(names), 3.6, 8.6))
    columns = in_columns(len(group))
    side = min((FULL - 1.2) / columns, 2 + 0.1 * len(names))
    below = 0 if _upright(names) else 0.05 * min(max(map(len, names)), LONGEST)
    return -(-len(group) // columns) * (side + 0.7 + below)


def _upright(names: Sequence[str]) -> bool:
    """Whether class names have room below the columns of a matrix without being turned."""
    return len(names) <= NUMBERED and sum(map(len, names)) <= 24


def _side_by_side(figure: SubFigure, group: Sequence[Arm]) -> None:
    columns = in_columns(len(group))
    axes = figure.subplots(-(-len(group) // columns), columns, squeeze=False).flat
    for axis in axes[len(group) :]:
        axis.remove()
    for number, (axis, arm) in enumerate(zip(axes, group, strict=False)):
        _matrix(axis, _counts(arm), _names(group), "equal")
        axis.set_title(textwrap.fill(arm.title, int(80 / columns)))
        axis.tick_params(labelleft=not number % columns)
        axis.set_ylabel("" if number % columns else "True class")


def _with_recall(figure: SubFigure, group: Sequence[Arm]) -> None:
    left, right = figure.subplots(1, 2, width_ratios=[2.2, 1])
    _matrix(left, _counts(group[0]), _names(group), "auto")
    left.set(title=textwrap.fill(group[0].title, 50), ylabel="True class")
    rows = range(len(_names(group)))
    for number, arm in enumerate(group):
        look: dict[str, Any] = {
            "color": PALETTE[number % len(PALETTE)],
            "marker": MARKERS[(number + number // len(PALETTE)) % len(MARKERS)],
            "linestyle": "",
        }
        right.plot(np.diag(_shares(_counts(arm))), rows, label=_fitting(arm.title, 34), alpha=0.8, markersize=5, **look)
    right.set(ylim=left.get_ylim(), xlabel="Share recognised", title="Recall by class")
    right.set_yticks(rows, [])
    right.tick_params(length=0, axis="y")
    right.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    right.grid(axis="both", visible=True)
    if len(group) > 1:
        figure.legend(loc="outside lower center", ncols=3, fontsize=9)


def _matrix(axis: Axes, matrix: np.ndarray, names: Sequence[str], aspect: Literal["equal", "auto"]) -> None:
    count, share = len(names), _shares(matrix)
    # The square root lets rare confusions show beside a diagonal near 100%.
    axis.imshow(share, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1), aspect=aspect)
    axis.grid(False)
    axis.spines[:].set_visible(False)
    size = np.clip(330 / count, 5.5, 9.5)
    shown = [_fitting(name, LONGEST) for name in names]
    turned: dict[str, Any] = {"rotation": 90 if count > 20 else 45, "rotation_mode": "anchor", "ha": "right"}
    turned = {} if _upright(names) else turned
    axis.set_xticks(range(count), shown, fontsize=size, va="center" if count > 20 else "top", **turned)
    axis.set_yticks(range(count), shown, fontsize=size)
    axis.tick_params(length=0)
    axis.set_xlabel("Predicted class")
    for row, column in np.ndindex(count, count) if count <= NUMBERED else ():
        colour = "white" if share[row, column] > 0.3 else INK if matrix[row, column] else FAINT
        axis.text(column, row, f"{matrix[row, column]:,}", ha="center", va="center", color=colour, fontsize=8.5)


def _counts(arm: Arm) -> np.ndarray:
    """Test images (K, K) by true class, in rows, and predicted class."""
    test, classes = arm.first.test, len(arm.first.class_names)
    return np.bincount(test.labels * classes + test.classes, minlength=classes**2).reshape(classes, classes)


def _shares(counts: np.ndarray) -> np.ndarray:
    """Of each row; 0 where a class has no image."""
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _kept(group: Sequence[Arm]) -> Mapping[int, np.ndarray]:
    """The thumbnails of all arms by their row in the test predictions."""
    kept = [arm.first.thumbnails for arm in group]
    return {row: image for each in kept for row, image in zip(each.rows.tolist(), each.images, strict=True)}


def _chosen(group: Sequence[Arm], banks: int) -> list[list[int]]:
    """Rows of eight kept images: half of all those that most arms got wrong, half those that fewest did."""
    wrong = len(group) - np.sum([arm.first.test.correct for arm in group], axis=0)
    rows = sorted(_kept(group), key=lambda row: (-wrong[row], row))
    half = banks * COLUMNS // 2
    rows = rows if len(rows) <= 2 * half else rows[:half] + rows[-half:]
    return [rows[start : start + COLUMNS] for start in range(0, len(rows), COLUMNS)]


def _bank(axis: Axes, group: Sequence[Arm], rows: Sequence[int]) -> None:
    """Columns are images, lines are arms; lengths are inches."""
    left, names, kept = 1.75, _names(group), _kept(group)
    middles = left + (np.arange(len(rows)) + 0.5) * (FULL - left) / COLUMNS
    aside: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 8.5}
    centred: dict[str, Any] = {"ha": "center", "va": "center"}
    axis.text(left - 0.1, 0.13, "true class", color=FAINT, **aside)
    for row, middle in zip(rows, middles, strict=True):
        truth = _fitting(names[group[0].first.test.labels[row]])
        axis.text(middle, 0.13, truth, fontsize=8.5, weight="bold", **centred)
        _thumbnail(axis, kept[row], middle)
    for number, arm in enumerate(group):
        place = 1.275 + 0.36 * number
        axis.text(left - 0.1, place, textwrap.fill(_fitting(arm.title, 44), 24), **aside)
        for row, middle in zip(rows, middles, strict=True):
            _answer(axis, arm.first.test, row, names, (middle, place))


def _answer(axis: Axes, test: Predictions, row: int, names: Sequence[str], place: tuple[float, float]) -> None:
    paint, colour, weight = (PALE_RIGHT, RIGHT, "normal") if test.correct[row] else (PALE_WRONG, WRONG, "bold")
    text = f"{_fitting(names[test.classes[row]])}\n{test.probabilities[row].max():.0%}"
    axis.fill_between((place[0] - 0.43, place[0] + 0.43), place[1] - 0.165, place[1] + 0.165, color=paint)
    look: dict[str, Any] = {"color": colour, "weight": weight, "fontsize": 7.5, "linespacing": 1.05}
    axis.text(*place, text, ha="center", va="center", **look)


def _thumbnail(axis: Axes, image: np.ndarray, middle: float) -> None:
    down, across = (0.41 * side / max(image.shape[:2]) for side in image.shape[:2])
    place: dict[str, Any] = {"extent": (middle - across, middle + across, 0.65 + down, 0.65 - down), "aspect": "auto"}
    axis.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest", **place)


def _fitting(text: str, letters: int = 13) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
