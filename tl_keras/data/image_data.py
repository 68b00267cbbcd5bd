"""A data set in memory: what to learn from, what to choose by, what to measure on, what had to stay out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tl_keras.data.splits import Split
from tl_keras.errors import InputError


@dataclass(frozen=True)
class Quarantined:
    """An image that was left out, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class ImageData:
    """A data set: what to learn from, what to measure on, what had to stay out.

    Args:
        name: the set really used.
        train: images to learn from.
        test: images to measure on.
        quarantine: images that could not be decoded, and training images that are among the test images too.
        mirror: whether a mirrored image is still of its class.
        validation: images to choose by, where the set has some, or a study cut some from the training images.
        unlabelled: images whose classes are hidden.
        watched: further splits whose accuracy is followed through the training, by name.
        source: what `load` gives this set for again: a name, or a path.

    >>> data = load("digits")
    >>> data.name, len(data.train), len(data.test), data.class_names[:3]
    ('digits', 1437, 360, ('0', '1', '2'))
    """

    name: str
    train: Split
    test: Split
    quarantine: tuple[Quarantined, ...] = ()
    mirror: bool = True
    validation: Split | None = None
    unlabelled: Split | None = None
    watched: Mapping[str, Split] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self):
        if not (self.train.labelled and self.test.labelled):
            raise InputError(f"{self.name}: expected a class for every training and test image, received none; add it")
        counts = np.bincount(self.train.labels, minlength=len(self.class_names))
        if len(counts) < 2:
            raise InputError(f"{self.name}: expected two classes or more, received {len(counts)}; add another class")
        if not counts.all():
            lacking = self.class_names[int(np.argmin(counts))]
            raise InputError(
                f"{self.name}: expected training images of every class, received none of {lacking!r}; "
                "add some or remove the class"
            )
        if not len(self.test):
            raise InputError(f"{self.name}: expected test images, received none; add some")
        if self.train.images.shape[1:] != self.test.images.shape[1:]:
            raise InputError(
                f"{self.name}: expected train and test images of one size, received {self.train.images.shape[1:]} "
                f"and {self.test.images.shape[1:]}; give a size to resize them to"
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.train.class_names

    @property
    def splits(self) -> dict[str, Split]:
        """Those that there are, by name: train, test, validation, unlabelled."""
        found = {name: getattr(self, name) for name in ("train", "test", "validation", "unlabelled")}
        return {name: split for name, split in found.items() if split is not None}

    def mapped(self, change: Callable[[Split], Split]) -> ImageData:
        """Every split changed in one way, the watched ones too."""
        changed: dict[str, Any] = {name: change(split) for name, split in self.splits.items()}
        return replace(self, watched={name: change(split) for name, split in self.watched.items()}, **changed)

    def described(self) -> dict[str, Any]:
        """The set really used, as config.json and the report name it."""
        return {
            "name": self.name,
            "source": self.source,
            **{f"{name}_images": len(split) for name, split in self.splits.items()},
            "classes": list(self.class_names),
            "image_shape": list(self.train.images.shape[1:]),
            "fingerprint_train": self.train.fingerprint(),
            "fingerprint_test": self.test.fingerprint(),
            "quarantined": len(self.quarantine),
        }
