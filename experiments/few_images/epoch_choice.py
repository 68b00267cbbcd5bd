"""Which epoch of a training counts: the best one on the test images, or honestly, on validation images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tl_keras.evaluation.compare import Interval, mean_interval, share_interval

NEAR_THE_END = 0.9  # share of the epochs behind which a best epoch says that there were too few


@dataclass(frozen=True)
class Choice:
    """Two picks of one training: the epoch (counted from 1) and the test error (0 to 1) there.

    Args:
        by_test: picked by the test images: optimistic, since the noise of the test images helps to pick.
        by_validation: picked by validation images.
        epochs: trained in all.
    """

    by_test: tuple[int, float]
    by_validation: tuple[int, float]
    epochs: int


def choose(validation_accuracy: Sequence[float], test_accuracy: Sequence[float]) -> Choice:
    """Pick the first epoch with the highest accuracy, on either.

    >>> choose([0.5, 0.9, 0.9], [0.6, 0.7, 0.8])
    Choice(by_test=(3, 0.199...), by_validation=(2, 0.300...), epochs=3)
    """
    picked = [int(np.argmax(curve)) for curve in (test_accuracy, validation_accuracy)]
    by_test, by_validation = ((epoch + 1, 1 - float(test_accuracy[epoch])) for epoch in picked)
    return Choice(by_test, by_validation, len(test_accuracy))


def error(choices: Sequence[Choice], pick: str, images: int) -> Interval:
    """The mean test error over several draws with its 95% interval, which counts draws and test images.

    Args:
        pick: by_test or by_validation.
        images: in the test set.
    """
    return share_interval([getattr(choice, pick)[1] for choice in choices], images)


def epoch(choices: Sequence[Choice]) -> Interval:
    """The mean epoch of the lowest test error with its 95% interval (Student's), inside what was trained."""
    found, last = mean_interval([choice.by_test[0] for choice in choices]), max(choice.epochs for choice in choices)
    return replace(found, low=max(found.low, 1.0), high=min(found.high, float(last)))


def ended_early(choices: Sequence[Choice]) -> bool:
    """Whether the best epochs lie so near to the last one that more of them would have helped."""
    return float(np.mean([choice.by_test[0] / choice.epochs for choice in choices])) > NEAR_THE_END
