"""The kernel head: ridge regression on similarities to the training images, solved exactly, tried out of fold.

Features are power-normalised (Perronnin et al., "Improving the Fisher kernel for large-scale image classification",
2010), standardised and turned into principal coordinates; the similarity of two images is a Gaussian of the distance
between theirs. Ridge regression on it (Saunders et al., "Ridge regression learning algorithm in dual variables", 1998)
has one linear system to solve, whatever the number of classes. With few images of each class that names more of them
rightly than a linear head on the same features; the study `competition` prints by how much.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from tl_keras.errors import InputError
from tl_keras.quiet import keras

WIDTHS = (0.25, 0.5, 1.0)  # factors on the squared distance, of which the mean is 2
PENALTIES = (0.01, 0.03, 0.1, 0.3)
USUAL = (0.5, 0.03)  # a width and a penalty that are near the best on most features
COORDINATES = 1024
RESOLUTION = 1e-4  # of the largest spread: directions of less are left out
MOST = 12_000  # images: of more, the similarities of all pairs would not fit into memory


class Tried(NamedTuple):
    """How a width with a penalty did out of fold."""

    width: float
    penalty: float
    log_loss: float
    accuracy: float


@dataclass(frozen=True)
class Coordinates:
    """Features (N, F) turned into `coordinates` (N, R), whose mean square length is 1.

    >>> Coordinates.of(np.random.default_rng(0).random((20, 5)), most=3)(np.ones((2, 5))).shape
    (2, 3)
    """

    mean: np.ndarray
    axes: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, most: int = COORDINATES, seed: int = 0) -> Coordinates:
        """Those of training features: at most `most`, the ones that vary most."""
        from sklearn.utils.extmath import randomized_svd

        standard, mean, scale = standardised(features)
        rank = min(most, *standard.shape)
        _, spreads, axes = randomized_svd(standard, rank, n_iter=2, random_state=seed)
        # Along the others no training image varies: what another one does there would be chance.
        axes = axes[spreads > RESOLUTION * spreads[0]].T
        length = np.sqrt(np.mean(np.sum((standard @ axes) ** 2, axis=1)))
        scaled = axes / scale[:, None]
        return cls(mean.astype("float32"), (scaled / max(length, 1e-12)).astype("float32"))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return (power(features) - self.mean) @ self.axes


def power(features: np.ndarray) -> np.ndarray:
    """The square root of each feature, its sign kept.

    >>> power(np.array([4.0, -9.0])).tolist()
    [2.0, -3.0]
    """
    return (np.sign(features) * np.sqrt(np.abs(features))).astype("float32")


def standardised(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Power-normalised, standardised features, and the mean and the scale (F,) of the power-normalised ones.

    Raises:
        InputError: there are NaN or infinities.

    >>> standardised(np.array([[1.0], [9.0]]))[0].ravel().tolist()
    [-1.0, 1.0]
    """
    if not np.isfinite(features).all():
        raise InputError("features: expected finite numbers, received NaN or infinity; check the network's weights")
    powered = power(features)
    largest, first = np.abs(powered).max(axis=0), powered[0].copy()
    powered -= first  # of what is constant exactly 0 is left, and no rounding that a scale would blow up
    offset, spread = powered.mean(axis=0), powered.std(axis=0)
    scale = np.where(spread > 1e-6 * largest, spread, np.float32(1))
    powered -= offset
    powered /= scale
    return powered, first + offset, scale


@dataclass(frozen=True)
class Head:
    """A solved head.

    Args:
        coordinates: what features are turned into.
        centres: (N, R), those of the training images.
        weights: (N, K); the scores of an image are its similarities to the centres times these, plus `bias` (K,).
        width, penalty: as chosen.
        sharpness: factor on the scores before the softmax, fitted out of fold.
    """

    coordinates: Coordinates
    centres: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    width: float
    penalty: float
    sharpness: float

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Class probabilities (N, K) of features (N, F), float32."""
        alike = similarity(self.coordinates(features), self.centres, self.width)
        return softmax(self.sharpness * (alike @ self.weights + self.bias), axis=1).astype("float32")

    def logits(self, features: keras.KerasTensor) -> keras.KerasTensor:
        """The same head as layers of Keras: features (B, F) in, logits (B, K) out, for a softmax behind them."""
        ops, dense = keras.ops, functools.partial(keras.layers.Dense, dtype="float32")
        # Not the root of 0, whose slope is infinite: maps of what spoke for a class need the gradient.
        powered = ops.sign(features) * ops.sqrt(ops.maximum(ops.abs(features), 1e-30))
        turn = dense(self.centres.shape[1], name="coordinates")
        at = turn(powered)
        near = dense(len(self.centres), name="centres")
        lengths = self.width * ops.sum(ops.square(at), axis=1, keepdims=True)
        alike = ops.exp(ops.minimum(near(at) - lengths, 0.0))
        last = dense(len(self.bias), name="logits")
        out = last(alike)
        turn.set_weights([self.coordinates.axes, -self.coordinates.mean @ self.coordinates.axes])
        near.set_weights([2 * self.width * self.centres.T, -self.width * np.sum(self.centres**2, axis=1)])
        last.set_weights([self.sharpness * self.weights, self.sharpness * self.bias])
        return out


@dataclass(frozen=True)
class Solution:
    """A head and how it was chosen.

    Args:
        head: solved on all images.
        probabilities: (N, K), those of each image by a head that has not seen its fold; NaN where no fold holds it out.
        tried: widths and penalties.
    """

    head: Head
    probabilities: np.ndarray
    tried: tuple[Tried, ...]


def solve(
    features: np.ndarray, labels: np.ndarray, classes: int, folds: np.ndarray, *, balanced: bool = False, seed: int = 0
) -> Solution:
    """The head on all images; width, penalty and sharpness are those of least log loss out of fold.

    Args:
        features: (N, F).
        labels: (N,) integers below `classes`.
        folds: (N,) as `data.splits.folds` gives them.
        balanced: each class counts alike, however many images it has.
        seed: of the coordinates.

    Raises:
        InputError: more than `MOST` images, or none that a fold holds out.

    >>> found = solve(features, labels, 59, folds(labels, contents, 5, seed=0))  # doctest: +SKIP
    >>> found.probabilities.shape  # doctest: +SKIP
    (5900, 59)
    """
    if len(features) > MOST or not (folds >= 0).any():
        raise InputError(
            f"kernel head: expected at most {MOST:,} images, some of which can be held out, received "
            f"{len(features):,}; take the logistic head, or add images to each class"
        )
    coordinates = Coordinates.of(features, seed=seed)
    at = coordinates(features)
    weighting = _weighting(labels, classes) if balanced else np.ones(len(labels))
    tried = list[Tried]()
    best: tuple[float, float, float, float, np.ndarray] | None = None
    for width, penalty in product(WIDTHS, PENALTIES):
        scores = out_of_fold(similarity(at, at, width), labels, classes, folds, penalty, weighting)
        sharpness, loss = best_sharpness(scores, labels)
        right = (scores.argmax(axis=1) == labels)[folds >= 0].mean()
        tried.append(Tried(width, penalty, loss, float(right)))
        if best is None or loss < best[0]:
            best = loss, width, penalty, sharpness, scores
    assert best is not None
    _, width, penalty, sharpness, scores = best
    weights, bias = _fitted(similarity(at, at, width), labels, classes, penalty, weighting)
    head = Head(coordinates, at, weights, bias, width, penalty, sharpness)
    return Solution(head, softmax(sharpness * scores, axis=1), tuple(tried))


def similarity(some: np.ndarray, others: np.ndarray, width: float) -> np.ndarray:
    """exp(-width |a - b|^2) for all pairs, (N, M).

    >>> similarity(np.array([[0.0, 0.0]]), np.array([[0.0, 0.0], [1.0, 0.0]]), 1.0).round(2).tolist()
    [[1.0, 0.37]]
    """
    lengths = np.sum(some**2, axis=1)[:, None] + np.sum(others**2, axis=1)
    alike = some @ others.T
    alike *= 2
    alike -= lengths
    np.minimum(alike, 0, out=alike)  # rounding
    alike *= width
    return np.exp(alike, out=alike)


def out_of_fold(
    alike: np.ndarray,
    labels: np.ndarray,
    classes: int,
    folds: np.ndarray,
    penalty: float,
    weighting: np.ndarray | None = None,
) -> np.ndarray:
    """The scores (N, K) of each image by a head that has not seen its fold; NaN where no fold holds it out.

    Args:
        alike: similarities (N, N).
        weighting: how much each image counts, (N,); all alike by default.
    """
    weighting = np.ones(len(labels)) if weighting is None else weighting
    scores = np.full((len(labels), classes), np.nan)
    for fold in np.unique(folds[folds >= 0]):
        held, rest = folds == fold, folds != fold
        weights, bias = _fitted(alike[np.ix_(rest, rest)], labels[rest], classes, penalty, weighting[rest])
        scores[held] = alike[np.ix_(held, rest)] @ weights + bias
    return scores


def _fitted(alike, labels, classes: int, penalty: float, weighting) -> tuple[np.ndarray, np.ndarray]:
    """Weights (N, K) and bias (K,): the classes' shares are taken off, and what is left is regressed."""
    targets = np.eye(classes, dtype="float32")[labels]
    bias = np.average(targets, axis=0, weights=weighting).astype("float32")
    system = alike + np.diag((penalty / weighting).astype(alike.dtype))
    solved = cho_solve(cho_factor(system, overwrite_a=True, check_finite=False), targets - bias, check_finite=False)
    return solved.astype("float32"), bias


def _weighting(labels: np.ndarray, classes: int) -> np.ndarray:
    counts = np.bincount(labels, minlength=classes)
    return (len(labels) / np.maximum(counts, 1) / classes)[labels]


def best_sharpness(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The factor on scores (N, K) under which the mean log loss of their softmax is least, and that loss.

    Rows with NaN, which no fold holds out, do not count.

    >>> best_sharpness(np.eye(2)[[0, 0, 0, 1]], np.array([0, 0, 1, 1]))[0]  # three in four: odds of e to that
    1.09...
    """
    held = np.isfinite(scores).all(axis=1)
    scores, labels = scores[held], labels[held]

    def loss(logarithm: float) -> float:
        return float(-log_softmax(np.exp(logarithm) * scores, axis=1)[np.arange(len(labels)), labels].mean())

    found = minimize_scalar(loss, bounds=(-3, 6), method="bounded", options={"xatol": 0.01})
    return float(np.exp(found.x)), float(found.fun)
