"""How sure a comparison is: intervals for accuracies, paired tests on predictions.

Dietterich, "Approximate Statistical Tests for Comparing Supervised Classification Learning Algorithms" (1998).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% interval and the number of values behind it."""

    mean: float
    low: float
    high: float
    n: int


def proportion_interval(correct: int, count: int) -> Interval:
    """Wilson's 95% interval for `correct` of `count` images: the uncertainty of a finite test set.

    >>> proportion_interval(90, 100)
    Interval(mean=0.9, low=0.825..., high=0.944..., n=100)
    """
    bounds = stats.binomtest(int(correct), int(count)).proportion_ci(0.95, method="wilson")
    return Interval(correct / count, float(bounds.low), float(bounds.high), int(count))


def seed_interval(values: list[float], highest: float = 1.0) -> Interval:
    """Student's 95% interval of a mean over seeds, cut at 0 and `highest`; two values at least."""
    mean = float(np.mean(values))
    half = float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))
    return Interval(mean, max(mean - half, 0.0), min(mean + half, highest), len(values))


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
