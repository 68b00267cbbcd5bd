"""The exact linear head: softmax regression on a backbone's features, solved to its optimum instead of trained.

`features` are the backbone's pooled outputs for N images, (N, F); `labels` their classes, integers from 0 to K-1, (N,).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from tl_keras.data import splits
from tl_keras.errors import InputError
from tl_keras.transfer.softmax_regression import FINE, RESOLUTION, ROUGH, Regression, log_softmax, losses, normal
from tl_keras.transfer.transferability import checked

FOLDS = 5
PENALTIES = tuple(10.0 ** (step / 2) for step in range(-10, 9))  # 1e-5 to 1e4; the walk seldom gets to the end
CLEARLY = 2.0  # standard errors


class Score(NamedTuple):
    """How one penalty did in cross-validation: mean log loss and accuracy over the images held out."""

    penalty: float
    log_loss: float
    accuracy: float


@dataclass(frozen=True)
class Solution:
    """A solved head: `features @ weights + bias` are the logits.

    Args:
        weights: (F, K) in float32, for features as they are; the standardisation is folded in.
        bias: (K,) in float32.
        penalty: the C chosen, an inverse strength as in scikit-learn: C times the sum of the log losses, plus half the
            squared weights of standardised features, is least.
        scores: the penalties tried, strongest first; empty where there was nothing to choose or to hold out.

    >>> solve(np.array([[1.0], [2.0], [-1.0], [-2.0]]), [0, 0, 1, 1], classes=2, penalties=[1.0]).weights.round(2)
    array([[ 0.45, -0.45]], dtype=float32)
    """

    weights: np.ndarray
    bias: np.ndarray
    penalty: float
    scores: tuple[Score, ...] = ()


def solve(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    *,
    seed: int = 0,
    penalties: Sequence[float] | None = None,
    groups: np.ndarray | None = None,
) -> Solution:
    """The weights and the bias of softmax regression on standardised features, its penalty chosen by cross-validation.

    Five folds, stratified, drawn with `seed`. An image that is the only one of its class always stays in training; if
    all are, C is the one nearest to 4 / F, under which the logits have deviation 2 by the prior. Two classes have two
    columns of weights that differ in sign: the same probabilities as scikit-learn's single column at twice the C.

    Bishop, "Pattern Recognition and Machine Learning" (2006), 4.3.4; Liu and Nocedal, "On the limited memory BFGS
    method for large scale optimization" (1989).

    Args:
        classes: K; every class has an image.
        penalties: values of C to choose from; None is a logarithmic grid. One alone is taken without a choice.
        groups: (N,), equal for rows that have to be held out together, as two views of an image have.

    Raises:
        InputError: as `transferability.log_me`, and where labels, penalties or groups do not fit.

    >>> head = solve(np.array([[1.0], [2.0], [-1.0], [-2.0]]), [0, 0, 1, 1], classes=2)
    >>> (np.array([[3.0]]) @ head.weights + head.bias).argmax(axis=1)
    array([0])
    """
    features, labels = checked(features, labels)[0], checked_labels(labels, classes)
    tried = checked_penalties(PENALTIES if penalties is None else penalties)
    folds = splits.folds(labels, checked_groups(groups, len(labels)), FOLDS, seed)
    mean, scale = _standard(features)
    exact, axes = _uncorrelated((features - mean) / scale, labels)
    rough = replace(exact, coordinates=exact.coordinates.astype("float32"))
    best, start, scores = _choose(rough, folds, classes, tried, prior=4 / features.shape[1])
    turned = exact.fit(rough.fit(start, best, ROUGH), best, FINE)
    weights = axes @ turned[:-1] / scale[:, None]
    bias = turned[-1] - turned[-1].mean() - mean @ weights  # only differences between classes mean something
    return Solution(weights.astype("float32"), bias.astype("float32"), best, scores)


def _choose(
    rough: Regression, folds: np.ndarray, classes: int, penalties: Sequence[float], prior: float
) -> tuple[float, np.ndarray, tuple[Score, ...]]:
    """The penalty to take, weights on the way to its optimum, and how those tried did.

    Two choices are made and the stronger penalty is taken: the strongest not clearly behind the least log loss (Breiman
    et al., "Classification and Regression Trees", 1984), for few images blur it; and the one of least log loss whatever
    the temperature, for with many classes the plain one prefers confident heads to right ones. On new images that was
    right more often than the least log loss or the best accuracy.
    """
    start = np.zeros((len(rough.variances), classes))
    if len(penalties) == 1 or not (folds >= 0).any():
        return min(penalties, key=lambda penalty: abs(np.log(penalty / prior))), start, ()
    tried = _walk(rough, folds, start, penalties)
    least = _least(tried)
    near = next(trial for trial in tried if not trial.behind(least))
    chosen = min(near, min(tried, key=lambda trial: trial.ranking), key=lambda trial: trial.score.penalty)
    return chosen.score.penalty, chosen.weights, tuple(trial.score for trial in tried)


class _Trial(NamedTuple):
    """One penalty in cross-validation: the log loss of each image held out, their mean at the temperature that suits it
    best (`ranking`), and the mean of the folds' weights."""

    score: Score
    losses: np.ndarray
    ranking: float
    weights: np.ndarray

    def behind(self, best: _Trial) -> bool:
        """Whether the log loss is higher by more than chance, image by image, explains."""
        more = self.losses - best.losses
        return bool(more.mean() > CLEARLY * more.std() / len(more) ** 0.5)


def _least(tried: Sequence[_Trial]) -> _Trial:
    return min(tried, key=lambda trial: trial.score.log_loss)


def _walk(rough: Regression, folds: np.ndarray, start: np.ndarray, penalties: Sequence[float]) -> list[_Trial]:
    """Penalty after penalty until one is clearly behind; every fold starts from its own weights at the one before."""
    chances = np.empty((len(folds), start.shape[1]))
    held, weights = folds >= 0, dict.fromkeys(np.unique(folds[folds >= 0]), start)
    labels, tried = rough.labels[held], list[_Trial]()
    for penalty in penalties:
        for number in weights:
            weights[number] = rough.take(folds != number).fit(weights[number], penalty, ROUGH)
            chances[folds == number] = log_softmax(rough.coordinates[folds == number], weights[number])
        lost = losses(chances[held], labels)
        score = Score(penalty, float(lost.mean()), float((chances[held].argmax(axis=1) == labels).mean()))
        mean = np.mean(list(weights.values()), axis=0)
        tried.append(_Trial(score, lost, _ranking(chances[held], labels), mean))
        if tried[-1].behind(_least(tried)):
            break
    return tried


def _ranking(chances: np.ndarray, labels: np.ndarray) -> float:
    """The mean log loss at the best temperature (Guo et al., "On Calibration of Modern Neural Networks", 2017)."""

    def loss(sharpness: float) -> float:
        return losses(normal(chances * np.exp(sharpness)), labels).mean()

    return float(minimize_scalar(loss, bounds=(-5, 5), options={"xatol": 0.01}).fun)


def _standard(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature, (F,); 1 for one that does not vary."""
    spread = features.std(axis=0)
    return features.mean(axis=0), np.where(spread > RESOLUTION * np.abs(features).max(axis=0), spread, 1.0)


def _uncorrelated(standard: np.ndarray, labels: np.ndarray) -> tuple[Regression, np.ndarray]:
    """The regression on the principal coordinates, and the axes (F, R) along which they lie, R at most N.

    Axes at right angles leave the penalty as it is, and the weights of an optimum lie in the space of the rows.
    """
    images, width = standard.shape
    space = np.linalg.qr(standard.T)[0] if images < width else None
    inside = standard if space is None else standard @ space
    variances, turn = np.linalg.eigh(inside.T @ inside / images)
    coordinates = np.hstack([inside @ turn, np.ones((images, 1))])
    axes = turn if space is None else space @ turn
    return Regression(coordinates, labels, np.append(np.maximum(variances, 0), 1.0)), axes


def checked_labels(labels: np.ndarray, classes: int) -> np.ndarray:
    """Labels as an array.

    Raises:
        InputError: they are no integers from 0 to `classes` - 1, or there is none of a class.
    """
    labels = np.asarray(labels)
    names = np.unique(labels)
    if not np.issubdtype(labels.dtype, np.integer) or names[0] < 0 or names[-1] >= classes:
        raise InputError(
            f"labels: expected integers from 0 to {classes - 1}, received {labels.dtype} from {names[0]} to "
            f"{names[-1]}; number the {classes} classes from 0"
        )
    lacking = np.setdiff1d(np.arange(classes), names)
    if len(lacking):
        raise InputError(
            f"labels: expected images of all {classes} classes, received none of class {lacking[0]}; "
            "add some or leave the class out"
        )
    return labels


def checked_penalties(penalties: Sequence[float]) -> list[float]:
    """The penalties, strongest first: a strong one is soon solved, and the next starts from there.

    Raises:
        InputError: there is none, or one that is no finite number above 0.
    """
    values = sorted({float(value) for value in penalties})
    if not values or not np.isfinite(values).all() or values[0] <= 0:
        raise InputError(
            f"penalties: expected finite numbers above 0, received {list(penalties)}; give one value of C or more"
        )
    return values


def checked_groups(groups: np.ndarray | None, images: int) -> np.ndarray:
    """The group of each row, one of its own for each where none are given.

    Raises:
        InputError: there are more or fewer than rows.
    """
    groups = np.arange(images) if groups is None else np.asarray(groups)
    if groups.shape != (images,):
        raise InputError(
            f"groups: expected shape ({images},), received {groups.shape}; give the group of each row of the features"
        )
    return groups
