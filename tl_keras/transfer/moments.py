"""Sums over rows of features that never lie in memory together: from them come means, covariances and least squares.

Rows are read in chunks, each once, and added in their order: the same rows give the same bits.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg.blas import dsyrk
from scipy.sparse import csr_array

from tl_keras.data.lazy import Rows
from tl_keras.errors import InputError
from tl_keras.transfer.softmax_regression import RESOLUTION
from tl_keras.transfer.transferability import check_finite

CHUNK = 8192  # rows: enough to keep the cores at work, few enough to lie in memory in float64
WIDEST = 8192  # features: the squares of so many, in float64 and for each fold, are half a gigabyte


def chunks(features: Rows) -> Iterator[tuple[slice, np.ndarray]]:
    """Which rows, and these in float64 with a 1 behind each, (B, F + 1); so a sum over products holds the sums too.

    Raises:
        InputError: there are NaN or infinities.

    >>> [(part, rows.tolist()) for part, rows in chunks(np.zeros((2, 1)))]
    [(slice(0, 2, None), [[0.0, 1.0], [0.0, 1.0]])]
    """
    count, width = features.shape
    for start in range(0, count, CHUNK):
        part = slice(start, min(start + CHUNK, count))
        rows = np.empty((part.stop - start, width + 1))
        rows[:, :-1] = features[part]
        rows[:, -1] = 1
        # One number that is not finite makes the sum so: seen at a tenth of the price of looking at each.
        if not np.isfinite(rows.sum()):
            check_finite(rows)
        yield part, rows


class Centred(NamedTuple):
    """Sums over rows x and one-hot classes y less some means: of x x^T (F, F), of x y^T (F, K), and of y^T y."""

    squares: np.ndarray
    crossed: np.ndarray
    length: float


@dataclass(frozen=True)
class Moments:
    """Sums over rows, each less `origin`.

    Args:
        origin: (F,), near the mean: with it taken off, large means cost no digits.
        products: of all pairs of features (F, F).
        sums: of the rows of each class (K, F).
        counts: of the rows of each class (K,).
        lowest, highest: of each feature (F,), as it is.

    >>> found = gather(np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([0, 1]), 2)[0][0]
    >>> found.mean.tolist(), found.covariance.tolist()
    ([2.0, 5.0], [[1.0, 0.0], [0.0, 0.0]])
    """

    origin: np.ndarray
    products: np.ndarray
    sums: np.ndarray
    counts: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.origin,
            self.products + other.products,
            self.sums + other.sums,
            self.counts + other.counts,
            np.minimum(self.lowest, other.lowest),
            np.maximum(self.highest, other.highest),
        )

    @property
    def count(self) -> int:
        """The number of rows."""
        return int(self.counts.sum())

    @property
    def shares(self) -> np.ndarray:
        """Of each class among the rows (K,)."""
        return self.counts / self.count

    @property
    def mean(self) -> np.ndarray:
        """Of each feature (F,)."""
        return self.origin + self.sums.sum(axis=0) / self.count

    @property
    def covariance(self) -> np.ndarray:
        """(F, F), by the number of rows, not one less."""
        return self.centred(self.mean, self.shares).squares / self.count

    @property
    def factors(self) -> np.ndarray:
        """What makes the deviation of each feature 1, (F,); 0 for one that does not vary, but for rounding."""
        spread = np.sqrt(np.maximum(np.diagonal(self.covariance), 0))
        largest = np.maximum(np.abs(self.lowest), np.abs(self.highest))
        varies = (spread > RESOLUTION * largest) & (self.lowest < self.highest)
        return np.divide(1, spread, out=np.zeros_like(spread), where=varies)

    def centred(self, mean: np.ndarray, shares: np.ndarray) -> Centred:
        """The sums about another mean of the rows (F,) and of the one-hot classes (K,)."""
        away, sums = mean - self.origin, self.sums.sum(axis=0)
        half = np.outer(away, sums - self.count / 2 * away)
        crossed = self.sums.T - np.outer(away, self.counts) - np.outer(sums - self.count * away, shares)
        length = self.count * (1 + shares @ shares) - 2 * self.counts @ shares
        return Centred(self.products - half - half.T, crossed, float(length))


def total(parts: Iterable[Moments]) -> Moments:
    """The sums over the rows of all parts, which have one origin."""
    return functools.reduce(operator.add, parts)


def gather(
    features: Rows, labels: np.ndarray, classes: int, folds: np.ndarray | None = None, keep: np.ndarray | None = None
) -> tuple[dict[int, Moments], np.ndarray]:
    """The sums over the rows of each fold, and some rows as they are, (len(keep), F): all from one pass.

    Args:
        labels: (N,) integers below `classes`.
        folds: the fold of each row (N,); all are in fold 0 by default.
        keep: which rows to keep, ascending; none by default.

    Raises:
        InputError: there are NaN or infinities, or too many features.

    >>> found, kept = gather(np.eye(3), np.arange(3), 3, folds=np.array([0, 1, 1]), keep=np.array([2]))
    >>> {fold: moments.count for fold, moments in found.items()}, kept.tolist()
    ({0: 1, 1: 2}, [[0.0, 0.0, 1.0]])
    """
    if features.shape[1] > WIDEST:
        raise InputError(
            f"features: expected at most {WIDEST:,} of an image, whose products fit into memory, received "
            f"{features.shape[1]:,}; pool them first"
        )
    folds = np.zeros(len(labels), int) if folds is None else folds
    keep = np.arange(0) if keep is None else keep
    sums = {int(fold): _Sums(features.shape[1] + 1, classes) for fold in np.unique(folds)}
    kept, origin = [np.empty((0, features.shape[1]), features.dtype)], np.zeros(0)
    for part, rows in chunks(features):
        first, last = np.searchsorted(keep, (part.start, part.stop))
        kept.append(rows[keep[first:last] - part.start, :-1].astype(features.dtype))
        if not len(origin):
            origin = np.append(rows[:, :-1].mean(axis=0), 0)
        for fold in np.unique(folds[part]):
            inside = folds[part] == fold if len(sums) > 1 else slice(None)
            sums[int(fold)].add(rows[inside], labels[part][inside], origin)
    return {fold: each.moments(origin[:-1]) for fold, each in sums.items()}, np.concatenate(kept)


class _Sums:
    """The sums as they grow, in float64.

    In float32 the products would take half the time, but correlations were wrong by 4e-6 after one chunk: more than the
    share of the squares that a weak penalty adds.
    """

    def __init__(self, width: int, classes: int):
        self.products: Any = np.zeros((width, width), order="F")
        self.sums = np.zeros((classes, width))
        self.lowest, self.highest = np.full(width, np.inf), np.full(width, -np.inf)

    def add(self, rows: np.ndarray, labels: np.ndarray, origin: np.ndarray) -> None:
        """Add rows, from which `origin` is taken off, in place."""
        self.lowest = np.minimum(self.lowest, rows.min(axis=0))
        self.highest = np.maximum(self.highest, rows.max(axis=0))
        rows -= origin
        self.products = dsyrk(1.0, rows.T, beta=1.0, c=self.products, overwrite_c=True)
        chosen = csr_array((np.ones(len(rows)), labels, np.arange(len(rows) + 1)), (len(rows), len(self.sums)))
        self.sums += chosen.T @ rows

    def moments(self, origin: np.ndarray) -> Moments:
        """What has been added; the half of the products that `dsyrk` leaves out is the mirror image of the other."""
        upper = self.products[:-1, :-1]
        whole = np.triu(upper) + np.triu(upper, 1).T
        return Moments(origin, whole, self.sums[:, :-1], self.sums[:, -1], self.lowest[:-1], self.highest[:-1])
