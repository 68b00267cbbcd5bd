"""An arm of a comparison: one way to train, over all its seeds, read from the records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tl_keras.errors import InputError
from tl_keras.evaluation.compare import Interval, accuracy_interval
from tl_keras.records import TEST, Predictions, Record


@dataclass(frozen=True)
class Arm:
    """One way to train, over all its seeds; the first seed is the one whose model and curves are shown.

    Args:
        name: as in file names and results.json.
        title: as in figures and tables.
        records: one for each seed.
    """

    name: str
    title: str
    records: tuple[Record, ...]

    @property
    def first(self) -> Record:
        """The record of the first seed."""
        return self.records[0]

    @property
    def accuracy(self) -> float:
        """Mean test accuracy over the seeds."""
        # From counts, so that equal networks are exactly equal, whatever the order of their seeds.
        return float(self.correct().mean())

    def predictions(self, split: str = TEST) -> list[Predictions]:
        """Those of every seed.

        Raises:
            InputError: a record has none of that split.
        """
        lacking = [record.name for record in self.records if split not in record.predictions]
        if lacking:
            raise InputError(f"{lacking[0]}: expected predictions of {split} images, received none; start a new run")
        return [record.predictions[split] for record in self.records]

    def correct(self, split: str = TEST) -> np.ndarray:
        """Whether each image was recognised: bool (seeds, N)."""
        return np.stack([predicted.correct for predicted in self.predictions(split)])

    @property
    def seconds(self) -> float:
        """Training time of the first seed, running the frozen layers included."""
        return self.first.seconds

    def interval(self, split: str = TEST) -> Interval:
        """95% interval of the accuracy: over images, and over seeds where there are several."""
        return accuracy_interval(self.correct(split))

    def mean_curve(self, column: str) -> np.ndarray:
        """A history column by epoch, averaged over the seeds."""
        return np.mean([record.history[column] for record in self.records], axis=0)


def arms_of(records: Iterable[Record], names: Sequence[str] | None = None) -> list[Arm]:
    """The arms of a run in the order of their first trials, each with its records by seed; or those in `names`.

    >>> [arm.name for arm in arms_of(records.read_all(out))]  # doctest: +SKIP
    ['A', 'B_scratch', 'B_last_two', 'B_last']
    """
    grouped: dict[str, list[Record]] = {}
    for record in records:
        grouped.setdefault(record.arm, []).append(record)
    found = {
        name: Arm(name, same[0].title, tuple(sorted(same, key=lambda record: record.seed)))
        for name, same in grouped.items()
    }
    return [found[name] for name in names if name in found] if names is not None else list(found.values())
