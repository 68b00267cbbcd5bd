"""Labelled images and the ways to cut them: by class, by limit, stratified, so many per class.

A `Split` is what every later room receives: an array of uint8 images with labels, class names and the
identity of each image. Cutting a split never copies more than the rows it keeps.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tl_keras.data.lazy import LazyImages, Part, contents, fingerprint, taken
from tl_keras.errors import InputError

HIDDEN = -1  # the label of an image whose class is not told


@dataclass(frozen=True)
class Split:
    """Images of one split, ready to be fed.

    Args:
        images: uint8 array (N, H, W, C), RGB from 0 to 255; anything that `images[indices]` answers with an array.
        labels: integer array (N,), each below `len(class_names)`; -1 for all where they are hidden.
        class_names: one name per label.
        ids: array (N,) of strings: the file, relative to the data set, or the index in its array.

    >>> split = Split(np.zeros((4, 8, 8, 3), "uint8"), np.array([0, 1, 0, 1]), ("cat", "dog"))
    >>> len(split), split.ids.tolist()
    (4, ['0', '1', '2', '3'])
    """

    images: np.ndarray | LazyImages
    labels: np.ndarray
    class_names: tuple[str, ...]
    ids: np.ndarray = None  # type: ignore[assignment]  # numbered where none are given

    def __post_init__(self):
        object.__setattr__(self, "labels", np.asarray(self.labels, "int64").reshape(-1))
        ids = np.arange(len(self.labels)).astype(str) if self.ids is None else np.asarray(self.ids)
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "class_names", tuple(self.class_names))
        if not len(self.images) == len(self.labels) == len(self.ids):
            raise InputError(
                f"split: expected as many labels and ids as images, received {len(self.images)} images, "
                f"{len(self.labels)} labels, {len(self.ids)} ids; check the data set"
            )
        if self.labelled and len(self) and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            raise InputError(
                f"split: expected labels from 0 to {len(self.class_names) - 1}, received "
                f"{self.labels.min()} to {self.labels.max()}; check the data set"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def labelled(self) -> bool:
        """Whether the classes of the images are known."""
        return not len(self) or bool((self.labels != HIDDEN).any())

    @functools.cached_property
    def contents(self) -> np.ndarray:
        """What tells the content of each image (N,), as `lazy.contents`."""
        return contents(self.images)

    def take(self, indices) -> Split:
        """The rows at `indices`, in that order; lazy images stay lazy."""
        part = replace(self, images=taken(self.images, indices), labels=self.labels[indices], ids=self.ids[indices])
        if "contents" in vars(self):  # known already: not to be computed again
            vars(part)["contents"] = self.contents[indices]
        return part

    def part(self, indices) -> Split:
        """As `take`, but still known as a part of this split: what is computed for it once serves all its parts."""
        return replace(self.take(indices), images=Part(self.images, indices))

    def fingerprint(self) -> str:
        """SHA-256 of images, labels and class names: two splits with the same one are the same data."""
        digest = hashlib.sha256(repr((fingerprint(self.images), self.class_names)).encode())
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()


def joined(parts: Sequence[Split]) -> Split:
    """The images of several splits of one set as one, in the order of their ids.

    >>> one = Split(np.zeros((1, 2, 2, 3), "uint8"), np.array([0]), ("ant", "bee"), np.array(["b"]))
    >>> joined([one, replace(one, ids=np.array(["a"]))]).ids.tolist()
    ['a', 'b']
    """
    ids = np.concatenate([part.ids for part in parts])
    order = np.argsort(ids, kind="stable")
    labels = np.concatenate([part.labels for part in parts])
    first, *others = (part.images for part in parts)
    together = first.joined(others) if isinstance(first, LazyImages) else None
    if together is not None:
        return Split(together.take(order), labels[order], parts[0].class_names, ids[order])
    images = np.empty((len(ids), *parts[0].images.shape[1:]), "uint8")
    start = 0
    for part in parts:  # row by row to its place: large sets are not held three times
        images[np.argsort(order)[start : start + len(part)]] = part.images[:]
        start += len(part)
    return Split(images, labels[order], parts[0].class_names, ids[order])


def by_class(split: Split, classes: Sequence[int]) -> Split:
    """Keep the images of `classes` (numbers in `split`), labels re-numbered 0, 1, ... in that order.

    Images whose classes are hidden are kept, all of them.

    >>> split = Split(np.zeros((3, 2, 2, 3), "uint8"), np.array([4, 9, 1]), tuple("abcdefghij"))
    >>> part = by_class(split, [4, 9])
    >>> part.labels.tolist(), part.class_names
    ([0, 1], ('e', 'j'))
    """
    class_names = tuple(split.class_names[number] for number in classes)
    if not split.labelled:
        return replace(split, class_names=class_names)
    renumbered = np.full(len(split.class_names), -1)
    renumbered[list(classes)] = np.arange(len(classes))
    kept = np.flatnonzero(renumbered[split.labels] >= 0)
    return replace(split.take(kept), labels=renumbered[split.labels[kept]], class_names=class_names)


def stratified(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Cut `split` in two, the second holding `fraction` of every class; the same seed gives the same cut.

    Images with the same pixels go to the same side, so that nothing is measured on an image that was learned. Of a
    class for which the fraction would be less than an image, there is one.

    Raises:
        InputError: a class has too few images to stand on both sides.
    """
    from sklearn.model_selection import train_test_split

    distinct, copy_of = _distinct(split.contents)
    labels = split.labels[distinct]
    try:
        _, second = train_test_split(np.arange(len(distinct)), test_size=fraction, stratify=labels, random_state=seed)
    except ValueError as error:
        raise InputError(
            f"stratified split: expected images of every class on both sides, received {len(split)} images of "
            f"{len(split.class_names)} classes for a fraction of {fraction:.3g}; give more images ({error})"
        ) from error
    chosen = np.isin(np.arange(len(distinct)), second)
    for number in np.unique(labels):
        members = np.flatnonzero(labels == number)
        if len(np.unique(chosen[members])) == 1:  # all on one side
            chosen[members[0]] ^= True
    in_second = chosen[copy_of]
    return split.take(np.flatnonzero(~in_second)), split.take(np.flatnonzero(in_second))


def per_class(split: Split, count: int, seed: int) -> tuple[Split, Split]:
    """Draw `count` images of every class at random: (the drawn, the rest).

    With the same seed a smaller draw is part of every larger one, so that the points of a learning curve differ in
    how many images there are and not in which; and what a class draws does not depend on the other classes. Copies
    of an image count as one: none is drawn twice, and the rest holds none of a drawn image.

    Args:
        count: images of each class.
        seed: decides which.

    Raises:
        InputError: a class has fewer images that differ.

    >>> split = Split(np.arange(6, dtype="uint8").reshape(6, 1, 1, 1), [0, 1, 0, 1, 0, 1], ("ant", "bee"))
    >>> drawn, rest = per_class(split, 2, seed=0)
    >>> np.bincount(drawn.labels).tolist(), np.bincount(rest.labels).tolist()
    ([2, 2], [1, 1])
    """
    rows, rest = per_class_rows(split, count, seed)
    return split.take(rows), split.take(rest)


def per_class_rows(
    split: Split, count: int, seed: int, among: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The rows that `per_class` draws, and those of the rest: no image is copied.

    Args:
        among: the rows that are drawn from; all by default.

    >>> split = Split(np.arange(4, dtype="uint8").reshape(4, 1, 1, 1), [0, 0, 1, 1], ("ant", "bee"))
    >>> [len(rows) for rows in per_class_rows(split, 1, seed=0)]
    [2, 2]
    """
    rows = np.arange(len(split)) if among is None else among
    distinct, copy_of = _distinct(split.contents[rows])
    drawn = []
    for number, name in enumerate(split.class_names):
        members = np.flatnonzero(split.labels[rows[distinct]] == number)
        if not 1 <= count <= len(members):
            raise InputError(
                f"images per class: expected 1 to {len(members)}, which is how many different images class {name!r} "
                f"has, received {count}; ask for fewer or add images"
            )
        drawn.append(np.random.default_rng((seed, number)).permutation(members)[:count])
    chosen = np.concatenate(drawn)
    return rows[np.sort(distinct[chosen])], rows[~np.isin(copy_of, chosen)]


def _distinct(contents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The row of the first image of each content, and for every image the number of its content."""
    return np.unique(contents, return_index=True, return_inverse=True)[1:]


def folds(labels: np.ndarray, groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The fold that holds out each image, (N,), from 0; -1 for those that no fold can do without.

    Stratified; the only images of a class always stay in training.

    Args:
        labels: (N,) integers.
        groups: (N,), equal for rows that have to be held out together, as copies of an image have (`Split.contents`).
        count: of folds.
        seed: decides who comes into which.

    >>> folds(np.array([0, 0, 1, 1, 2]), np.arange(5), 2, seed=0).tolist()[4]
    -1
    """
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    # Numbered as they come: names such as digests, which change with the size of images, decide nothing.
    place = np.argsort(np.argsort(first))
    first, group = np.sort(first), place[group]
    order = np.random.default_rng(seed).permutation(len(first))
    order = order[np.argsort(labels[first][order], kind="stable")]
    dealt = np.empty(len(first), dtype=int)
    dealt[order] = np.arange(len(first)) % count  # class after class, like cards: each class goes round the folds
    found = dealt[group]
    for fold in range(count):
        lost = np.setdiff1d(labels[found == fold], labels[found != fold])
        needed = group[(found == fold) & np.isin(labels, lost)]
        found[np.isin(group, needed)] = -1
    return found


def limit(split: Split, count: int | None, seed: int) -> Split:
    """`count` images, or all if there are no more (or it is None): every class in proportion, and with one at least.

    Fewer images are a part of more.

    Raises:
        InputError: fewer images than classes.
    """
    if count is None or count >= len(split):
        return split
    classes = np.unique(split.labels)
    if count < len(classes):
        raise InputError(
            f"limit: expected at least {len(classes)}, to have images of every class, received {count}; raise it"
        )
    order = np.random.default_rng(seed).permutation(len(split))
    place = np.empty(len(split))  # of each image in its class, from 0 to 1: the first of every class comes first
    for number in classes:
        members = order[split.labels[order] == number]
        place[members] = np.arange(len(members)) / len(members)
    return split.take(np.sort(np.argsort(place, kind="stable")[:count]))


def drawn(count: int, most: int) -> np.ndarray:
    """Which of `count` images to look at where `most` are enough: ascending, the same in every run.

    >>> len(drawn(10_000, 2_000)), drawn(3, 2_000).tolist()
    (2000, [0, 1, 2])
    """
    return np.sort(np.random.default_rng(0).choice(count, min(most, count), replace=False))
