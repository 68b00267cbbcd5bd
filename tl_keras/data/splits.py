"""Labelled images and the ways to cut them: by class, by limit, stratified.

A `Split` is what every later room receives: an array of uint8 images with labels, class names and the
identity of each image. Cutting a split never copies more than the rows it keeps.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from tl_keras.errors import InputError


@dataclass(frozen=True)
class Split:
    """Images of one split, ready to be fed.

    Args:
        images: uint8 array (N, H, W, 3), RGB from 0 to 255; anything that `images[indices]` answers with an array.
        labels: integer array (N,), each below `len(class_names)`.
        class_names: one name per label.
        ids: array (N,) of strings: the file, relative to the data set, or the index in its array.

    >>> split = Split(np.zeros((4, 8, 8, 3), "uint8"), np.array([0, 1, 0, 1]), ("cat", "dog"))
    >>> len(split), split.ids.tolist()
    (4, ['0', '1', '2', '3'])
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    ids: np.ndarray | None = None

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
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            raise InputError(
                f"split: expected labels from 0 to {len(self.class_names) - 1}, received "
                f"{self.labels.min()} to {self.labels.max()}; check the data set"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> Split:
        """The rows at `indices`, in that order."""
        return replace(self, images=self.images[indices], labels=self.labels[indices], ids=self.ids[indices])

    def fingerprint(self) -> str:
        """SHA-256 of images, labels and class names: two splits with the same one are the same data."""
        digest = hashlib.sha256(repr((np.shape(self.images), self.class_names)).encode())
        digest.update(np.ascontiguousarray(self.labels))
        for start in range(0, len(self), 4096):
            digest.update(np.ascontiguousarray(self.images[start : start + 4096]))
        return digest.hexdigest()


def by_class(split: Split, classes: list[int]) -> Split:
    """Keep the images of `classes` (numbers in `split`), labels re-numbered 0, 1, ... in that order.

    >>> split = Split(np.zeros((3, 2, 2, 3), "uint8"), np.array([4, 9, 1]), tuple("abcdefghij"))
    >>> part = by_class(split, [4, 9])
    >>> part.labels.tolist(), part.class_names
    ([0, 1], ('e', 'j'))
    """
    renumbered = np.full(len(split.class_names), -1)
    renumbered[classes] = np.arange(len(classes))
    kept = np.flatnonzero(renumbered[split.labels] >= 0)
    part = split.take(kept)
    return replace(
        part, labels=renumbered[part.labels], class_names=tuple(split.class_names[number] for number in classes)
    )


def stratified(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Cut `split` in two, the second holding `fraction` of every class; the same seed gives the same cut.

    Images with the same pixels go to the same side, so that nothing is measured on an image that was learned.

    Raises:
        InputError: a class has too few images to stand on both sides.
    """
    from sklearn.model_selection import train_test_split

    _, distinct, copy_of = np.unique(_digests(split), return_index=True, return_inverse=True)
    try:
        _, second = train_test_split(
            np.arange(len(distinct)), test_size=fraction, stratify=split.labels[distinct], random_state=seed
        )
    except ValueError as error:
        raise InputError(
            f"stratified split: expected images of every class on both sides, received {len(split)} images of "
            f"{len(split.class_names)} classes for a fraction of {fraction:.3g}; give more images ({error})"
        ) from error
    in_second = np.isin(copy_of, second)
    return split.take(np.flatnonzero(~in_second)), split.take(np.flatnonzero(in_second))


def _digests(split: Split) -> np.ndarray:
    return np.array([hashlib.blake2b(split.images[row].tobytes()).hexdigest() for row in range(len(split))])


def limit(split: Split, count: int | None, seed: int) -> Split:
    """At most `count` images, every class in proportion (None keeps all), for a quick try."""
    if count is None or count >= len(split):
        return split
    return stratified(split, count / len(split), seed)[1]
