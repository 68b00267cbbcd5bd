"""Sheets of images with what a network says of them and where it looked, the right answers apart from the wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tl_keras.evaluation import interpret
from tl_keras.reporting.error_figures import PALE_RIGHT, PALE_WRONG, RIGHT, WRONG
from tl_keras.reporting.figures import FAINT, FULL, INK, STYLE, canvas

COLUMNS = 3  # images in a row, each with its overlay beside
SIDE, SEAM = 1.36, 0.04  # inches: of a picture, and between the two of an image
ROW, HEAD, TOP, EDGE = 2.08, 0.42, 0.72, 0.1  # inches: a row of images, a bank's title, the figure's, the margin
PALE, LETTERS = "#eef0f3", 26


@dataclass(frozen=True)
class Explained:
    """An image, what a network says of it, and where it looked.

    Args:
        name: of the image, as it is shown.
        image: what the network saw: uint8 (H, W, 3 or 1).
        heat: (h, w), at least 0: which places spoke for the predicted class.
        predicted, probability: the class of the highest probability, and that.
        truth: the image's class; None where it is not known.
    """

    name: str
    image: np.ndarray
    heat: np.ndarray
    predicted: str
    probability: float
    truth: str | None = None

    @property
    def right(self) -> bool | None:
        """Whether the predicted class is the true one; None where that is not known.

        >>> Explained("1.png", np.zeros((4, 4, 3), "uint8"), np.zeros((1, 1)), "bee", 0.9, truth="bee").right
        True
        """
        return None if self.truth is None else self.truth == self.predicted


@rc_context(STYLE)
def sheet(explained: Sequence[Explained], title: str) -> Figure:
    """Each image beside itself with the heat on it: wrong answers first, then the right ones, then those not judged.

    Heat is scaled to the maximum of its image: colours compare places of one image, not images.

    >>> sheet([Explained("1.png", image, heat, "bee", 0.9, "ant")], "mobilenet_0.25")  # doctest: +SKIP
    """
    banks = list(_banks(explained))
    height = TOP + sum(HEAD + ROW * -(-len(bank) // COLUMNS) for _, bank, _ in banks) + EDGE
    figure = canvas("", FULL, height, layout=None)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.axis("off")
    axis.text(EDGE, 0.3, _fitting(title, 60), fontsize=12.5, weight="bold", va="center")
    _key(axis)
    top = TOP
    for says, bank, look in banks:
        axis.text(EDGE, top + 0.14, says, fontsize=10.5, weight="bold", va="center", color=look[0])
        for number, each in enumerate(bank):
            row, column = divmod(number, COLUMNS)
            _pair(axis, each, (EDGE + column * (FULL - EDGE) / COLUMNS, top + HEAD + ROW * row), look)
        top += HEAD + ROW * -(-len(bank) // COLUMNS)
    axis.set(xlim=(0, FULL), ylim=(height, 0))
    return figure


def _banks(explained: Sequence[Explained]) -> Iterator[tuple[str, list[Explained], tuple[str, str]]]:
    """The heading, the images and the colours of text and ground, where there are any."""
    judged = sum(each.right is not None for each in explained)
    for right, word, look in (
        (False, "Wrong", (WRONG, PALE_WRONG)),
        (True, "Right", (RIGHT, PALE_RIGHT)),
        (None, "True class not known", (INK, PALE)),
    ):
        bank = [each for each in explained if each.right is right]
        if bank:
            yield f"{word}: {len(bank)}" + (f" of {judged}" if right is not None else ""), bank, look


def _pair(axis: Axes, each: Explained, place: tuple[float, float], look: tuple[str, str]) -> None:
    left, top = place
    wide = 2 * SIDE + SEAM
    truth = "" if each.truth is None else f"true: {_fitting(each.truth)}"
    axis.text(left, top, truth or _fitting(each.name, 44), fontsize=8.5, va="center", weight="bold" if truth else None)
    if truth:
        axis.text(left + wide, top, _fitting(each.name, 20), fontsize=7, va="center", ha="right", color=FAINT)
    image = np.repeat(each.image, 3, axis=2) if each.image.shape[2] == 1 else each.image
    for number, picture in enumerate((image, interpret.overlay(image, each.heat))):
        _picture(axis, picture, (left + (0.5 + number) * SIDE + number * SEAM, top + 0.13 + SIDE / 2))
    below = top + 0.13 + SIDE
    axis.fill_between((left, left + wide), below + 0.04, below + 0.28, color=look[1], linewidth=0)
    said = f"predicted: {_fitting(each.predicted)}, {each.probability:.0%}"
    axis.text(left + wide / 2, below + 0.165, said, fontsize=8.5, ha="center", va="center", color=look[0])


def _picture(axis: Axes, picture: np.ndarray, middle: tuple[float, float]) -> None:
    down, across = (SIDE / 2 * side / max(picture.shape[:2]) for side in picture.shape[:2])
    box = (middle[0] - across, middle[0] + across, middle[1] + down, middle[1] - down)
    axis.imshow(picture, extent=box, aspect="auto", interpolation="nearest")


def _key(axis: Axes) -> None:
    """What the colours mean, at the top right."""
    # Ends where the last column of images does.
    right = EDGE + (COLUMNS - 1) * (FULL - EDGE) / COLUMNS + 2 * SIDE + SEAM
    strip = interpret.overlay(np.full((1, 256, 3), 190, "uint8"), np.linspace(0, 1, 256)[None])  # as on an image
    axis.imshow(strip, extent=(right - 1.54, right - 0.34, 0.38, 0.22), aspect="auto")
    small: dict[str, Any] = {"fontsize": 8, "va": "center", "ha": "right", "color": FAINT}
    axis.text(right, 0.3, "most", **small)
    axis.text(right - 1.6, 0.3, "evidence for the predicted class: none", **small)


def _fitting(text: str, letters: int = LETTERS) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
