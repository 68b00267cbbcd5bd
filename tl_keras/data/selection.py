"""Which images a trial learns from and is measured on: values that give the same images in any process."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass, replace

import numpy as np

from tl_keras.data import sources, splits
from tl_keras.data.downloads import Unavailable
from tl_keras.data.lazy import CenterCrop, Grey, Resized
from tl_keras.data.sources import ImageData
from tl_keras.data.splits import Split
from tl_keras.data.view import View
from tl_keras.errors import InputError


@dataclass(frozen=True)
class Selection:
    """Images of a data set, as a network sees them.

    Args:
        data: a name or a path, as `sources.load` takes it.
        data_dir: where named sets lie.
        limit: images per split.
        seed: decides which, where some are drawn.
        validation: percentage of the training images that is held out to choose by, where the set has no such images.

    >>> images = Selection("digits", validation=20).load(View((8, 8)))
    >>> len(images.train), len(images.validation), len(images.test)
    (1149, 288, 360)
    """

    data: str
    data_dir: str | None = None
    limit: int | None = None
    seed: int = 0
    validation: int = 0

    def load(self, view: View) -> ImageData:
        """The images as `view` has them; what `view` cuts and makes grey is made when it is read.

        Raises:
            InputError: no such set, or too few images.
        """
        # What a view does comes first, so that parts of a whole are still parts of what the network sees.
        return self.cut(whole(self.data, self.data_dir, view.loaded).mapped(functools.partial(seen, view=view)))

    def cut(self, images: ImageData) -> ImageData:
        """What is kept of the whole set; kinds of selections differ in this."""
        images = images.mapped(lambda split: splits.limit(split, self.limit, self.seed) if split.labelled else split)
        if not self.validation or images.validation is not None:
            return images
        train, validation = splits.stratified(images.train, self.validation / 100, self.seed)
        return replace(images, train=train, validation=validation)


@dataclass(frozen=True)
class ByClass(Selection):
    """The images of some classes alone, numbered anew in this order.

    >>> ByClass("digits", classes=(4, 9)).load(View((8, 8))).class_names
    ('4', '9')
    """

    classes: tuple[int, ...] = ()

    def cut(self, images: ImageData) -> ImageData:
        return super().cut(images).mapped(lambda split: splits.by_class(split, self.classes))


@dataclass(frozen=True)
class FewImages(Selection):
    """So many training images of each class, drawn anew for every draw; in a draw a smaller set is part of a larger.

    All draws are parts of one whole, so that features of their images are computed once. Validation images are watched
    beside the test images; none of them is trained on.

    Raises:
        InputError: a draw or a size beyond those of the whole.

    Args:
        per_class: training images of each class.
        draw: which draw, from 0.
        draws: how many there are, and `largest`: the most images of each class that any of them takes.
        validation: images of each class (not a percentage, as elsewhere).
        test_limit: test images; None: `limit`.
    """

    per_class: int = 10
    draw: int = 0
    draws: int = 1
    largest: int = 10
    test_limit: int | None = None

    def __post_init__(self):
        if self.per_class > self.largest or not 0 <= self.draw < self.draws:
            raise InputError(
                f"few images: expected at most {self.largest} of each class in draw 0 to {self.draws - 1}, received "
                f"{self.per_class} in draw {self.draw}; count it in `largest` and `draws`"
            )

    def cut(self, images: ImageData) -> ImageData:
        train = splits.limit(images.train, self.limit, self.seed)
        test = splits.limit(images.test, self.test_limit or self.limit, self.seed)
        watched, rest = {}, np.arange(len(train))
        if self.validation:
            rows, rest = splits.per_class_rows(train, self.validation, self.seed)
            watched["validation"] = train.take(rows)
        drawn = [splits.per_class_rows(train, self.largest, self.seed + draw, rest)[0] for draw in range(self.draws)]
        union = np.unique(np.concatenate(drawn))
        chosen, _ = splits.per_class_rows(train, self.per_class, self.seed + self.draw, rest)
        part = train.take(union).part(np.searchsorted(union, chosen))
        return replace(images, train=part, test=test, validation=None, watched=watched)


@dataclass(frozen=True)
class Everything(Selection):
    """All labelled images to train on (`everything`).

    >>> len(Everything("digits").load(View((8, 8))).train)  # doctest: +SKIP
    1797
    """

    def load(self, view: View) -> ImageData:
        found = everything(self.data, self.data_dir, view.loaded)
        cut = found.mapped(functools.partial(self._cut, view=view))
        return cut if found.comes_with_test else replace(cut, test=cut.train)

    def _cut(self, split: Split, view: View) -> Split:
        limited = splits.limit(split, self.limit, self.seed) if split.labelled else split
        return seen(limited, view)


def seen(split: Split, view: View) -> Split:
    """The images of `split` as the network sees them: scaled, unless they are so already, cut, made grey."""
    images = split.images
    if images.shape[1:3] != view.loaded:
        images = Resized(images, view.loaded)
    if view.loaded != view.size:
        images = CenterCrop(images, view.size)
    if view.channels == 1 and images.shape[3] == 3:
        images = Grey(images)
    return replace(split, images=images)


def asked(given: str | None, default: str, data_dir: str | None, size: tuple[int, int] | None) -> ImageData:
    """The set that was asked for; where none was, the default, or `digits`, loudly, where that cannot be had.

    Raises:
        InputError: the set asked for cannot be had: it is never replaced.
    """
    if given is not None:
        return whole(given, data_dir, size)
    try:
        return whole(default, data_dir, size)
    except Unavailable as error:
        loud = f"GOING ON WITH 'digits', NOT {default!r}: every result is of digits."
        print(f"WARNING: {error}. {loud}", file=sys.stderr)
        return whole("digits", data_dir, size)


@functools.lru_cache(maxsize=1)
def whole(data: str, data_dir: str | None, size: tuple[int, int] | None) -> ImageData:
    """The whole set, kept until another one is asked for: trials of one study share it."""
    return sources.load(data, data_dir, size)


@functools.lru_cache(maxsize=1)
def everything(data: str, data_dir: str | None, size: tuple[int, int]) -> ImageData:
    """The set with all labelled images to train on, each judged out of fold; those set aside to test on too.

    Test images that came with the set, in folders of their own, stay aside.
    """
    images = whole(data, data_dir, size)
    parts = [images.train, *filter(None, [images.validation]), *([] if images.comes_with_test else [images.test])]
    if not parts[1:]:
        return images
    train = splits.joined(parts)
    return replace(images, train=train, test=images.test if images.comes_with_test else train, validation=None)


@functools.lru_cache(maxsize=4)
def loaded(selection: Selection, view: View) -> ImageData:
    """`selection.load(view)`, kept: trials that differ in other things share their images."""
    return selection.load(view)


def forget() -> None:
    """Free the memory of what is kept.

    >>> forget()
    """
    for cached in (whole, everything, loaded):
        cached.cache_clear()
