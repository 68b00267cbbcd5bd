"""How sure a comparison is: intervals for accuracies, paired tests on predictions.

Dietterich, "Approximate Statistical Tests for Comparing Supervised Classification Learning Algorithms" (1998).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% interval, the number of values behind it, and what kind of interval it is."""

    mean: float
    low: float
    high: float
    n: int
    kind: str = "Student's"


def proportion_interval(correct: int, count: int) -> Interval:
    """Wilson's 95% interval for `correct` of `count` images: the uncertainty of a finite test set.

    >>> proportion_interval(90, 100)
    Interval(mean=0.9, low=0.825..., high=0.944..., n=100, kind="Wilson's, over images")
    """
    bounds = stats.binomtest(int(correct), int(count)).proportion_ci(0.95, method="wilson")
    return Interval(correct / count, float(bounds.low), float(bounds.high), int(count), "Wilson's, over images")


def mean_interval(values: Sequence[float]) -> Interval:
    """Student's 95% interval of the mean of independent values, two at least.

    >>> mean_interval([1.0, 2.0, 3.0])
    Interval(mean=2.0, low=-0.484..., high=4.484..., n=3, kind="Student's")
    """
    mean, half = float(np.mean(values)), float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))
    return Interval(mean, mean - half, mean + half, len(values))


def seed_interval(values: list[float], highest: float = 1.0) -> Interval:
    """Student's 95% interval of a mean over seeds, cut at 0 and `highest`; two values at least."""
    found = mean_interval(values)
    return replace(found, low=max(found.low, 0.0), high=min(found.high, highest), kind="Student's, over seeds")


def over_trainings(intervals: Sequence[Interval]) -> Interval:
    """The interval of one training as it is, over images; that of the means over several trainings."""
    return intervals[0] if len(intervals) == 1 else mean_interval([each.mean for each in intervals])


def accuracy_interval(correct: np.ndarray) -> Interval:
    """95% interval of an accuracy: over seeds, or of the finite test set when there is one seed.

    Args:
        correct: whether each image was recognised: bool (seeds, N).
    """
    if len(correct) > 1:
        return seed_interval(correct.mean(axis=1).tolist())
    return proportion_interval(int(correct.sum()), correct.size)


def paired_p_value(first: np.ndarray, second: np.ndarray, seed: int = 0) -> float:
    """Two-sided p-value that two networks are equally good, judged on the same images.

    With one training each this is McNemar's exact test. With several seeds the sign of each image's difference in
    its share of correct predictions is flipped at random (a permutation test over images, 20,000 draws).

    Args:
        first, second: whether each image was recognised: bool (seeds, N).
    """
    difference = np.mean(first, axis=0) - np.mean(second, axis=0)
    if len(first) == len(second) == 1:
        wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
        return float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    if not difference.any():
        return 1.0
    test = stats.permutation_test(
        (difference[difference != 0],), np.sum, permutation_type="samples", n_resamples=20_000, batch=500, rng=seed
    )
    return float(test.pvalue)


def holm(p_values: list[float]) -> list[float]:
    """Adjust p-values of several comparisons (Holm, 1979): each may be held against 0.05 afterwards.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(np.maximum.accumulate(np.array(p_values)[order] * factors), 1.0)
    return adjusted[np.argsort(order)].tolist()
