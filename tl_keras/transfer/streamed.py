"""Linear heads from features that are read, not held: memory does not grow with the number of images but by labels.

`features` are Rows (`data.lazy`): `features[start:stop]` reads some, and nothing of it is kept. Two heads:

- `ridge`: least squares on one-hot classes. One pass over the rows gives the sums of each fold, and from these come the
  solutions for all penalties and their errors on the fold held out.
- `softmax`: `probe.solve`, the same optimum. Each step of the way reads the rows once.

The penalty is a prior on the weights, which is why its C means the same for any number of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import eigh, qr

from tl_keras.data import splits
from tl_keras.data.lazy import Rows
from tl_keras.transfer import kernel_ridge, probe, softmax_regression
from tl_keras.transfer.moments import Moments, chunks, gather, total
from tl_keras.transfer.probe import Score, Solution
from tl_keras.transfer.transferability import check_classes, check_shapes, check_varied

SAMPLE = 20_000  # rows that are held in memory: by them a penalty is chosen, and scores are turned into probabilities
RIDGE_PENALTIES = tuple(10.0 ** (step / 2) for step in range(-18, 7))  # 1e-9 to 1e3; each costs next to nothing


def ridge(
    features: Rows,
    labels: np.ndarray,
    classes: int,
    *,
    seed: int = 0,
    penalties: Sequence[float] | None = None,
    groups: np.ndarray | None = None,
) -> Solution:
    """The head of least squares: one-hot classes regressed on standardised features, in one pass over the rows.

    The intercept is not penalised. The penalty C is an inverse strength, as in `probe.solve`: C times the sum of
    squared errors, plus the squared weights, is least. Taken is the one of least squared error over all rows, each held
    out in its fold; nothing but the sums of the folds is needed for that. Scores of one-hot targets are no log
    probabilities: they are multiplied by the one sharpness with which their softmax has the least log loss on at most
    `SAMPLE` rows, drawn in proportion to the classes, each scored by the head that has not seen its fold.

    Hoerl and Kennard, "Ridge regression" (1970); Guo et al., "On Calibration of Modern Neural Networks" (2017).

    Args:
        features: (N, F), at most `moments.WIDEST` wide; of fewer rows than features all are held in memory.
        classes: K; every class has an image.
        penalties: values of C to choose from; None is a logarithmic grid.
        groups: as in `probe.solve`.

    Returns:
        A solution whose only score, of the penalty taken, is that of the drawn rows out of fold. Where no row can be
        held out there is none, C is the value nearest to 1 / F, and scores stay as they are.

    Raises:
        InputError: as `probe.solve`, and for more features than that.

    >>> head = ridge(np.array([[1.0], [2.0], [-1.0], [-2.0]]), np.array([0, 0, 1, 1]), classes=2)
    >>> (np.array([[3.0]]) @ head.weights + head.bias).argmax(axis=1)
    array([0])
    """
    labels = _checked(features, labels, classes)
    tried = probe.checked_penalties(RIDGE_PENALTIES if penalties is None else penalties)
    folds = splits.folds(labels, probe.checked_groups(groups, len(labels)), probe.FOLDS, seed)
    rows = drawn(labels, SAMPLE, seed)
    few = len(labels) < features.shape[1]
    held: Any = features[:] if few else features
    parts, some = gather(held, labels, classes, *(() if few else (folds, rows)))
    whole = total(parts.values())
    check_varied(whole.highest - whole.lowest)
    mean, factors, axes = whole.mean, whole.factors, None
    if few:
        axes = _spanned(held, mean, factors)
        parts, some = gather((held - mean) @ axes, labels, classes, folds, rows)
        whole, factors = total(parts.values()), np.ones(axes.shape[1])
    solved = LeastSquares.of(whole, factors)
    if axes is not None:
        solved = replace(solved, mean=mean, axes=axes @ solved.axes)
    if not (folds >= 0).any():
        penalty = min(tried, key=lambda value: abs(np.log(value * features.shape[1])))
        return Solution(*solved.head(penalty), penalty)
    held_out = {
        fold: LeastSquares.of(total(part for other, part in parts.items() if other != fold), factors)
        for fold in parts
        if fold >= 0
    }
    errors = sum(rest.errors(parts[fold], tried) for fold, rest in held_out.items())
    penalty = tried[int(np.argmin(errors))]
    scores = np.full((len(rows), classes), np.nan)
    for fold, rest in held_out.items():
        scores[folds[rows] == fold] = rest.scores(some[folds[rows] == fold], penalty)
    sharpness, loss = kernel_ridge.best_sharpness(scores, labels[rows])
    right = (scores.argmax(axis=1) == labels[rows])[folds[rows] >= 0].mean()
    return Solution(*solved.head(penalty, sharpness), penalty, (Score(penalty, loss, float(right)),))


def _spanned(features: np.ndarray, mean: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Axes (F, N) of the space that N standardised rows span: of fewer rows than features all lies in there.

    So does each solution, and what takes the cube of the number of features then takes that of the rows.
    """
    return factors[:, None] * qr(((features - mean) * factors).T, mode="economic")[0]


@dataclass(frozen=True)
class LeastSquares:
    """Ridge regression of one-hot classes on standardised features, solved for every penalty at once.

    Args:
        mean: of the rows (F,).
        shares: of the classes (K,).
        axes: (F, R), along which the standardised features are not correlated: (x - mean) @ axes are the coordinates.
        squares: sum of the squares of each coordinate (R,).
        along: sums of the products of coordinates and one-hot classes (R, K).
    """

    mean: np.ndarray
    shares: np.ndarray
    axes: np.ndarray
    squares: np.ndarray
    along: np.ndarray

    @classmethod
    def of(cls, rows: Moments, factors: np.ndarray) -> LeastSquares:
        """That on the rows summed up; features are made standard by `factors` (F,)."""
        centred = rows.centred(rows.mean, rows.shares)
        squares, turn = eigh(centred.squares * np.outer(factors, factors), driver="evd")
        axes = turn * factors[:, None]
        return cls(rows.mean, rows.shares, axes, np.maximum(squares, 0), axes.T @ centred.crossed)

    def head(self, penalty: float, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Weights (F, K) and bias (K,) for features as they are, in float32."""
        return _as_head(sharpness * (self.axes @ self._turned(penalty)), sharpness * self.shares, self.mean)

    def scores(self, features: np.ndarray, penalty: float) -> np.ndarray:
        """Those of some rows, (N, K), in float64."""
        return (features - self.mean) @ (self.axes @ self._turned(penalty)) + self.shares

    def errors(self, held: Moments, penalties: Sequence[float]) -> np.ndarray:
        """The sum of squared errors on other rows for each penalty, from their sums alone.

        |Y - XW|^2 = tr(Y^T Y) - 2 tr(W^T X^T Y) + tr(W^T X^T X W), the rows about this one's means.
        """
        about = held.centred(self.mean, self.shares)
        squares, crossed = self.axes.T @ about.squares @ self.axes, self.axes.T @ about.crossed
        turned = [self._turned(penalty) for penalty in penalties]
        return np.array([about.length + np.sum(weights * (squares @ weights - 2 * crossed)) for weights in turned])

    def _turned(self, penalty: float) -> np.ndarray:
        """The weights of the coordinates (R, K)."""
        return self.along / (self.squares + 1 / penalty)[:, None]


def softmax(
    features: Rows,
    labels: np.ndarray,
    classes: int,
    *,
    seed: int = 0,
    penalties: Sequence[float] | None = None,
    groups: np.ndarray | None = None,
) -> Solution:
    """What `probe.solve` answers, and the very same where there are at most `SAMPLE` rows.

    Of more rows `SAMPLE`, drawn in proportion to the classes, choose the penalty; the optimum on all rows is then
    sought from theirs, in coordinates that are not correlated. Each step reads all rows once, in order.

    Args:
        features: (N, F), of more rows than that at most `moments.WIDEST` wide.

    Returns:
        A solution whose scores are those of the drawn rows.

    Raises:
        InputError: as `probe.solve`, and for more features than that.

    >>> softmax(np.array([[1.0], [2.0], [-1.0], [-2.0]]), np.array([0, 0, 1, 1]), classes=2, penalties=[1.0]).penalty
    1.0
    """
    labels = _checked(features, labels, classes)
    groups = probe.checked_groups(groups, len(labels))
    chosen: dict[str, Any] = {"classes": classes, "seed": seed, "penalties": penalties}
    if len(labels) <= SAMPLE:
        return probe.solve(features[:], labels, groups=groups, **chosen)
    rows = drawn(labels, SAMPLE, seed)
    parts, some = gather(features, labels, classes, keep=rows)
    first = probe.solve(some, labels[rows], groups=groups[rows], **chosen)
    weights, bias = _descended(features, labels, parts[0], first, some)
    return Solution(weights, bias, first.penalty, first.scores)


def _descended(
    features: Rows, labels: np.ndarray, whole: Moments, first: Solution, some: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (F, K) and bias (K,) at the optimum on all rows, sought from the first solution."""
    mean, factors, images = whole.mean, whole.factors, len(labels)
    variances, turn = eigh(whole.covariance * np.outer(factors, factors), driver="evd")
    axes, back = turn * factors[:, None], turn.T / np.where(factors > 0, factors, np.inf)

    def raw(weights: np.ndarray) -> np.ndarray:
        """Those of features as they are, the intercept last."""
        inner = axes @ weights[:-1]
        return np.vstack([inner, weights[-1] - mean @ inner])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope, inner = 0.0, np.zeros((len(mean) + 1, weights.shape[1])), raw(weights)
        for part, rows in chunks(features):
            more = softmax_regression.log_loss(rows, labels[part], inner, images)
            value, slope = value + more[0], slope + more[1]
        return value, np.vstack([axes.T @ (slope[:-1] - np.outer(mean, slope[-1])), slope[-1:]])

    start = np.vstack([back @ first.weights, first.bias + mean @ first.weights])
    logits = some.astype("float64") @ first.weights + first.bias
    curvature = softmax_regression.mean_curvature(softmax_regression.normal(logits))
    spread = np.append(np.maximum(variances, 0), 1.0)
    decay = 1 / (first.penalty * images)
    turned = softmax_regression.descend(loss, start, decay, spread, curvature, softmax_regression.FINE)
    turned[-1] -= turned[-1].mean()  # only differences between classes mean something
    return _as_head(axes @ turned[:-1], turned[-1], mean)


def _as_head(weights: np.ndarray, at_mean: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights and bias in float32; the bias makes up for what a rounded weight gives where a mean is large."""
    weights = weights.astype("float32")
    return weights, (at_mean - mean @ weights).astype("float32")


def drawn(labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most so many rows, ascending: every class in proportion, and with one at least where there is room.

    >>> drawn(np.array([0, 0, 0, 0, 1]), 2, seed=0).shape, drawn(np.array([0, 1]), 9, seed=0).tolist()
    ((2,), [0, 1])
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    # The place of each row in its class, from 0 to 1: the first of every class come first.
    place = (np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)) / np.repeat(counts, counts)
    return np.sort(order[np.argsort(place, kind="stable")[:most]])


def _checked(features: Rows, labels: np.ndarray, classes: int) -> np.ndarray:
    labels = np.asarray(labels)
    check_shapes(features.shape, labels)
    check_classes(len(np.unique(labels)))
    return probe.checked_labels(labels, classes)
