"""A data set in memory: what to learn from, what to choose by, what to measure on, what had to stay out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from tl_keras.data.splits import Split
from tl_keras.errors import InputError

# Class names are lines of labels.txt and cells of tables: no control characters, no separators of lines, nothing that
# UTF-8 cannot hold.
UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


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
        quarantine: images that were left out: broken, held out too (`leakage`), of two labels, or of none that is told.
        mirror: whether a mirrored image is still of its class.
        validation: images to choose by, where the set has some, or a study cut some from the training images.
        unlabelled: images whose classes are hidden.
        watched: further splits whose accuracy is followed through the training, by name.
        comes_with_test: whether the test images came as such; else they were cut from the others.
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
    comes_with_test: bool = True

    def __post_init__(self):
        self._check_class_names()
        for part, split in (("training", self.train), ("test", self.test), ("validation", self.validation)):
            if split is not None:
                self._check_classes(part, split)
        if self.train.images.shape[1:] != self.test.images.shape[1:]:
            raise InputError(
                f"{self.name}: expected train and test images of one size, received {self.train.images.shape[1:]} "
                f"and {self.test.images.shape[1:]}; give a size to resize them to"
            )

    def _check_class_names(self) -> None:
        names = self.class_names
        if len(names) < 2:
            raise InputError(f"{self.name}: expected two classes or more, received {len(names)}; add another class")
        twice = [name for name, other in pairwise(sorted(names)) if name == other]
        if twice:
            raise InputError(f"{self.name}: expected a name for each class, received {twice[0]!r} twice; rename one")
        unfit = [name for name in names if not name or UNFIT.search(name)]
        if unfit:
            raise InputError(
                f"{self.name}: expected class names of one line without control characters, received {unfit[0]!r}; "
                "rename the class"
            )

    def _check_classes(self, part: str, split: Split) -> None:
        if not split.labelled:
            raise InputError(f"{self.name}: expected a class for every {part} image, received none; add it")
        counts = np.bincount(split.labels, minlength=len(self.class_names))
        if not counts.all():
            first = next(iter(self.quarantine), None)
            left_out = f" ({len(self.quarantine)} are left out, the first: {first.id}: {first.reason})" if first else ""
            raise InputError(
                f"{self.name}: expected {part} images of every class, received none of "
                f"{self.class_names[int(np.argmin(counts))]!r}{left_out}; add some or remove the class"
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
