"""Which epoch of a training counts: the best one on the test images, or honestly, on validation images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tl_keras.evaluation.compare import Interval, seed_interval


@dataclass(frozen=True)
class Choice:
    """Two picks of one training: the epoch (counted from 1) and the test error (0 to 1) there.

    Args:
        by_test: picked by the test images: optimistic, since the noise of the test images helps to pick.
        by_validation: picked by validation images.
    """

    by_test: tuple[int, float]
    by_validation: tuple[int, float]


def choose(validation_accuracy: Sequence[float], test_accuracy: Sequence[float]) -> Choice:
    """Pick the first epoch with the highest accuracy, on either.

    >>> choose([0.5, 0.9, 0.9], [0.6, 0.7, 0.8])
    Choice(by_test=(3, 0.199...), by_validation=(2, 0.300...))
    """
    picked = [int(np.argmax(curve)) for curve in (test_accuracy, validation_accuracy)]
    return Choice(*((epoch + 1, 1 - float(test_accuracy[epoch])) for epoch in picked))


def over_draws(choices: Sequence[Choice], pick: str, value: str) -> Interval:
    """Mean and 95% interval (Student's) over several draws.

    Args:
        pick: by_test or by_validation.
        value: epoch or error.
    """
    place = ("epoch", "error").index(value)
    values = [getattr(choice, pick)[place] for choice in choices]
    return seed_interval(values, highest=1.0 if value == "error" else float("inf"))
