"""What augmentation makes of images: the same few by every policy, to see before training whether their class shows."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tl_keras.errors import InputError
from tl_keras.reporting.figures import FAINT, FULL, STYLE, canvas

# Inches: the names of the policies, the widest image, the gap between two, a line of text.
ASIDE, WIDEST, GAP, LINE = 1.15, 1.6, 0.07, 0.16
POINTS, LETTERS = 8, 15  # of text above and below images, and how many go on an inch
FRAME = "#c9ced6"


@rc_context(STYLE)
def preview(examples: Mapping[str, np.ndarray], answers: Mapping[str, Sequence[str]] | None = None) -> Figure:
    """A row for each policy, a column for each image, as networks see them in training.

    Args:
        examples: uint8 images (N, H, W, 3) or (N, H, W, 1) by the name of the policy, the same N images for each
            (`data.policies.examples`).
        answers: what the label of each of them says (`data.policies.answers`). That of the first policy is told above,
            another one, as of two images that were mixed, below its image.

    Raises:
        InputError: there is nothing to show, or the policies have different numbers of images or answers.

    >>> figure = preview({"none": np.zeros((4, 32, 32, 3), "uint8"), "flip": np.ones((4, 32, 32, 3), "uint8")})
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['none', 'flip']
    """
    _check(examples, answers or {})
    first = next(iter(examples.values()))
    across = min((FULL - ASIDE) / len(first), WIDEST)
    down = (across - GAP) * first.shape[1] / first.shape[2]
    said = _captions(list((answers or dict.fromkeys(examples, ())).values()), int(LETTERS * across))
    heights = [LINE * _lines(said[0]), *(down + GAP + LINE * _lines(texts) for texts in said[1:])]
    width, height = ASIDE + across * len(first), sum(heights)
    figure = canvas("", width, height, layout=None)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.axis("off")
    middles = ASIDE + across * np.arange(len(first)) + (across - GAP) / 2
    _write(axis, said[0], middles, heights[0] / 2, weight="bold")
    for (name, images), texts, top in zip(examples.items(), said[1:], np.cumsum(heights), strict=False):
        axis.text(ASIDE - 0.1, top + down / 2, textwrap.fill(name, 14), ha="right", va="center", fontsize=9.5)
        for image, middle in zip(images, middles, strict=True):
            _image(axis, image, (middle - (across - GAP) / 2, middle + (across - GAP) / 2, top + down, top))
        _write(axis, texts, middles, top + down + LINE * _lines(texts) / 2, color=FAINT)
    axis.set(xlim=(0, width), ylim=(height, 0))
    return figure


def _check(examples: Mapping[str, np.ndarray], answers: Mapping[str, Sequence[str]]) -> None:
    counts = {len(part) for part in (*examples.values(), *answers.values())}
    if len(counts) != 1 or counts == {0} or (answers and list(answers) != list(examples)):
        raise InputError(
            f"preview: expected the same images by each policy, received {_counted(examples)}, and answers for "
            f"{_counted(answers)}; give as many to each, in the same order"
        )


def _counted(parts: Mapping[str, Sequence | np.ndarray]) -> str:
    return ", ".join(f"{name} ({len(part)})" for name, part in parts.items()) or "none"


def _captions(answers: Sequence[Sequence[str]], letters: int) -> list[Sequence[str]]:
    """What stands above all images, and what below those of each policy: only what is not said above."""
    below = [() if texts == answers[0] else texts for texts in answers]
    return [_fitting(texts, letters) for texts in (answers[0], *below)]


def _fitting(texts: Sequence[str], letters: int) -> Sequence[str]:
    """The texts, on lines of so many letters: if one is too long, each class of a mixed image has a line of its own."""
    if all(len(text) <= letters for text in texts):
        return texts
    lines = [text.replace(" + ", "\n+ ").split("\n") for text in texts]
    return ["\n".join(line if len(line) <= letters else f"{line[: letters - 1]}…" for line in text) for text in lines]


def _lines(texts: Sequence[str]) -> int:
    return max((text.count("\n") + 1 for text in texts), default=0)


def _image(axis: Axes, image: np.ndarray, extent: tuple[float, float, float, float]) -> None:
    axis.imshow(
        image.squeeze(), cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto", interpolation="antialiased"
    )
    left, right, bottom, top = extent
    # A frame, without which the white of an image would go over into the page.
    axis.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=FRAME, linewidth=0.5)


def _write(axis: Axes, texts: Sequence[str], middles: np.ndarray, line: float, **look) -> None:
    for text, middle in zip(texts, middles, strict=False):
        axis.text(middle, line, text, ha="center", va="center", fontsize=POINTS, linespacing=1.05, **look)
