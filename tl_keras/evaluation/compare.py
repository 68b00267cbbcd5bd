"""How sure a comparison is: intervals for accuracies, paired tests on predictions.

Dietterich, "Approximate Statistical Tests for Comparing Supervised Classification Learning Algorithms" (1998).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

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


def over_trainings(intervals: Sequence[Interval]) -> Interval:
    """The interval of one training as it is, over images; that of the means over several trainings."""
    return intervals[0] if len(intervals) == 1 else mean_interval([each.mean for each in intervals])


def accuracy_interval(correct: np.ndarray) -> Interval:
    """95% interval of an accuracy: another training and other images would both have given another one.

    With one seed it is Wilson's, over images. With several, what the seeds add to the variance over images (Searle,
    Casella and McCulloch, "Variance Components", 1992, 4.3, of a crossed design) counts with Student's quantile for
    their number; the interval is never narrower than Wilson's.

    Args:
        correct: whether each image was recognised: bool (seeds, N).

    >>> accuracy_interval(np.tile(np.arange(153) < 139, (3, 1)))
    Interval(mean=0.908..., low=0.852..., high=0.944..., n=153, kind="Wilson's, over images and seeds")
    """
    seeds, count = correct.shape
    if seeds == 1:
        return proportion_interval(int(correct.sum()), count)
    images = float(np.var(correct.mean(axis=0))) / count
    return _wilson(float(correct.mean()), count, images, _over_seeds(correct)[1], seeds)


def share_interval(shares: Sequence[float], count: int) -> Interval:
    """As `accuracy_interval`, of shares of the same `count` images where only the share of each training is known.

    It is a little wider: on which images the trainings differ is not known.

    >>> share_interval([0.058], 2000)
    Interval(mean=0.058, low=0.048..., high=0.069..., n=2000, kind="Wilson's, over images")
    """
    mean, seeds = float(np.mean(shares)), len(shares)
    if seeds == 1:
        return proportion_interval(round(mean * count), count)
    return _wilson(mean, count, mean * (1 - mean) / count, float(np.var(shares, ddof=1)) / seeds, seeds)


def _wilson(mean: float, count: int, images: float, added: float, seeds: int) -> Interval:
    """Wilson's interval for as many images as would give a share this variance, at most as there are.

    Args:
        images: the variance of the mean over images; `added` what the seeds add to it.
    """
    normal = stats.norm.ppf(0.975) ** 2
    variance = images + added * stats.t.ppf(0.975, seeds - 1) ** 2 / normal
    enough = min(count, mean * (1 - mean) / variance) if variance else count
    centre = (mean + normal / (2 * enough)) / (1 + normal / enough)
    half = np.sqrt(normal * (mean * (1 - mean) / enough + normal / (4 * enough**2))) / (1 + normal / enough)
    # At a mean of 0 or 1 a bound is the mean itself, but for rounding.
    low, high = min(max(float(centre - half), 0.0), mean), max(min(float(centre + half), 1.0), mean)
    return Interval(mean, low, high, count, "Wilson's, over images and seeds")


def paired_p_value(first: np.ndarray, second: np.ndarray) -> float:
    """Two-sided p-value that two ways to train are equally good, judged on the same images.

    With several seeds of both the difference of the mean accuracies is held against what other seeds and other images
    would have made of it: Student's t, with Satterthwaite's degrees of freedom (1946). With one seed of either the
    noise of training is unknown: the p-value then speaks of these very networks (`counts_training`). It is never below
    that of the exact sign test over images, which for two networks is McNemar's.

    Args:
        first, second: whether each image was recognised: bool (seeds, N).
    """
    difference = np.mean(first, axis=0) - np.mean(second, axis=0)
    wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
    over_images = float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    if not counts_training(first, second):
        return over_images
    images = float(np.var(difference)) / max(len(difference) - 1, 1)
    seeds = [(*_over_seeds(correct), len(correct) - 1) for correct in (first, second)]
    variance = images + sum(added for _, added, _ in seeds)
    if not variance:
        return over_images
    freedom = _freedom(variance, [(images, len(difference) - 1), *((scatter, own) for scatter, _, own in seeds)])
    return max(over_images, float(2 * stats.t.sf(abs(difference.mean()) / np.sqrt(variance), freedom)))


def counts_training(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether the noise of training is known of both, bool (seeds, N): a comparison is then one of ways to train."""
    return min(len(first), len(second)) > 1


def _over_seeds(correct: np.ndarray) -> tuple[float, float]:
    """The variance of the mean of bool (seeds, N) when other seeds are drawn; and what it adds to that over images.

    The accuracies of the seeds scatter also because each met these very images by chance: that part is in the variance
    over images already.
    """
    seeds, count = correct.shape
    residual = correct - correct.mean(axis=1, keepdims=True) - correct.mean(axis=0) + correct.mean()
    chance = float((residual**2).sum()) / max((seeds - 1) * (count - 1), 1) / (seeds * count)
    scatter = float(np.var(correct.mean(axis=1), ddof=1)) / seeds
    return scatter, max(scatter - chance, 0.0)


def _freedom(variance: float, parts: Sequence[tuple[float, int]]) -> float:
    """Satterthwaite's degrees of freedom of a variance that is made of parts, each with its own; never below one."""
    spread = sum(part**2 / own for part, own in parts if part)
    return max(variance**2 / spread, 1.0) if spread else np.inf


def all_pairs(tables: Sequence[np.ndarray]) -> np.ndarray:
    """P-values of every pair of arms (K, K), adjusted together: whichever pair is picked afterwards, 5% are 5%.

    Args:
        tables: for each arm whether each image was recognised: bool (seeds, N).

    >>> all_pairs([np.ones((1, 6), bool), np.zeros((1, 6), bool)])
    array([[1.     , 0.03125],
           [0.03125, 1.     ]])
    """
    pairs = list(combinations(range(len(tables)), 2))
    adjusted = holm([paired_p_value(tables[one], tables[other]) for one, other in pairs])
    found = np.ones((len(tables), len(tables)))
    for (one, other), p_value in zip(pairs, adjusted, strict=True):
        found[one, other] = found[other, one] = p_value
    return found


def holm(p_values: list[float]) -> list[float]:
    """Adjust p-values of several comparisons (Holm, 1979): each may be held against 0.05 afterwards.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(np.maximum.accumulate(np.array(p_values)[order] * factors), 1.0)
    return adjusted[np.argsort(order)].tolist()
