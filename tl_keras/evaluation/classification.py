"""How predictions do class by class: precision and recall, ROC curves, calibration, and which class is taken for which.

Fawcett, "An Introduction to ROC Analysis" (2006); Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural
Networks" (2017); Brier, "Verification of Forecasts Expressed in Terms of Probability" (1950).

Every function raises an InputError where there is no image, labels are hidden, or names are of other classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from tl_keras.errors import InputError
from tl_keras.evaluation.compare import proportion_interval
from tl_keras.records import Predictions

BINS = 15  # as Guo et al.
MOST_PAIRS = 15


class Scores(NamedTuple):
    """Precision, recall, F1 and images of a class, or their averages; None where a class has no image."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True)
class ClassReport:
    """Precision, recall and F1 of every class.

    Args:
        classes: in the order of the class numbers.
        macro: the mean over the classes that have images.
        weighted: the mean over the images: each class counts as often as it has images.
        accuracy: the share of all images that were recognised.
    """

    classes: tuple[Scores, ...]
    macro: Scores
    weighted: Scores
    accuracy: float

    @property
    def by_f1(self) -> list[Scores]:
        """The classes that have images, the lowest F1 first; ties in the order of the class numbers."""
        return sorted((each for each in self.classes if each.f1 is not None), key=lambda each: each.f1 or 0.0)


class Curve(NamedTuple):
    """A ROC curve: false and true positive rates (points,), both rising from 0 to 1, and the area below."""

    name: str
    false_positives: np.ndarray
    true_positives: np.ndarray
    auc: float


@dataclass(frozen=True)
class Roc:
    """ROC curves, one class against the rest.

    Args:
        classes: those that have images and leave others some, in the order of the class numbers.
        micro: of all answers together, "is this image of that class?"; frequent classes count more.
        macro: the mean of the curves at every false positive rate; its area is the mean of theirs.
    """

    classes: tuple[Curve, ...]
    micro: Curve
    macro: Curve

    @property
    def by_auc(self) -> list[Curve]:
        """The classes, the smallest area first; ties in the order of the class numbers."""
        return sorted(self.classes, key=lambda curve: curve.auc)


@dataclass(frozen=True)
class Calibration:
    """Whether images are recognised as often as the probability of the answer promises.

    Args:
        edges: of the bins of that probability (bins + 1,), equally wide; the upper edge belongs to a bin.
        counts: images in each bin (bins,).
        confidence, accuracy: mean probability and share recognised in each bin, NaN where it is empty.
        low, high: Wilson's 95% interval of the accuracy of each bin.
        ece: expected calibration error: the mean gap between confidence and accuracy, over images.
        brier: mean over images of the squared distance to the truth, 0 to 2, whatever the number of classes.
        log_loss: mean cross-entropy in nats.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    low: np.ndarray
    high: np.ndarray
    ece: float
    brier: float
    log_loss: float

    @property
    def surplus(self) -> float:
        """Mean confidence less accuracy over all images: above 0 the network is surer than it should be."""
        gaps = np.nan_to_num(self.confidence - self.accuracy)
        return float(gaps @ self.counts / self.counts.sum())


class Confusion(NamedTuple):
    """Images of class `true` that were taken for `predicted`, their share of its images; `both`: the reverse added."""

    true: str
    predicted: str
    images: int
    share: float
    both: int


class Balance(NamedTuple):
    """Images of each class (classes,), the ratio of the largest to the smallest that has any, how many have none."""

    counts: np.ndarray
    ratio: float
    empty: int


def class_report(predicted: Predictions, class_names: Sequence[str]) -> ClassReport:
    """Precision, recall and F1 of each class; 0 where a class with images was never recognised.

    >>> sure = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    >>> class_report(Predictions(np.arange(3), np.array([0, 1, 1]), sure), ["ant", "bee"]).classes[1]
    Scores(name='bee', precision=1.0, recall=0.5, f1=0.666..., support=2)
    """
    from sklearn.metrics import precision_recall_fscore_support

    _check(predicted, class_names)
    counts = _counts(predicted)
    present = np.flatnonzero(counts)  # the others would only pull the averages down
    score = partial(
        precision_recall_fscore_support, predicted.labels, predicted.classes, labels=present, zero_division=0
    )
    measured = np.full((len(counts), 3), None)
    measured[present] = np.transpose(score()[:3])
    rows = zip(class_names, *measured.T.tolist(), counts.tolist(), strict=True)
    macro, weighted = (
        Scores._make([f"{kind} average", *map(float, score(average=kind)[:3]), len(predicted.labels)])
        for kind in ("macro", "weighted")
    )
    return ClassReport(tuple(map(Scores._make, rows)), macro, weighted, predicted.accuracy)


def roc(predicted: Predictions, class_names: Sequence[str]) -> Roc | None:
    """ROC curves of each class against the rest, with their averages; None where images are of one class only.

    None as well where probabilities are not finite numbers, as after a training that diverged.

    >>> sure = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    >>> roc(Predictions(np.arange(3), np.array([0, 1, 1]), sure), ["ant", "bee"]).macro.auc
    1.0
    """
    _check(predicted, class_names)
    counts = _counts(predicted)
    judged = np.flatnonzero((counts > 0) & (counts < len(predicted.labels)))
    if not len(judged) or not np.isfinite(predicted.probabilities).all():
        return None
    truth = predicted.labels[:, None] == np.arange(len(class_names))
    columns = predicted.probabilities.T
    curves = [_curve(class_names[number], truth[:, number], columns[number]) for number in judged.tolist()]
    micro = _curve("micro average", truth.ravel(), predicted.probabilities.ravel())
    return Roc(tuple(curves), micro, _mean_curve("macro average", curves))


def calibration(predicted: Predictions, bins: int = BINS) -> Calibration | None:
    """The probabilities of the answers held against how often they are right; None where they are not finite.

    >>> sure = np.array([[0.9, 0.1], [0.6, 0.4]])
    >>> round(calibration(Predictions(np.arange(2), np.array([0, 1]), sure)).ece, 3)
    0.35
    """
    from sklearn.metrics import brier_score_loss

    _check(predicted)
    if not np.isfinite(predicted.probabilities).all():
        return None
    probabilities = predicted.probabilities.astype("float64")
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # as `Predictions.loss`
    top, edges = probabilities.max(axis=1), np.linspace(0, 1, bins + 1)
    # Not `sklearn.calibration.calibration_curve`: it leaves empty bins out and gives no counts.
    places = np.searchsorted(edges[1:-1], top)
    counts = np.bincount(places, minlength=bins)
    confidence, accuracy = (
        np.bincount(places, values, bins) / np.where(counts, counts, np.nan) for values in (top, predicted.correct)
    )
    right = np.bincount(places[predicted.correct], minlength=bins)
    low, high = np.array([_bounds(*pair) for pair in zip(right, counts, strict=True)]).T
    ece = float(np.nan_to_num(np.abs(confidence - accuracy)) @ counts / len(top))
    # Not halved for two classes, so that the numbers of all data sets are on one scale.
    brier = brier_score_loss(predicted.labels, probabilities, labels=range(probabilities.shape[1]), scale_by_half=False)
    return Calibration(edges, counts, confidence, accuracy, low, high, ece, brier, predicted.loss)


def confusions(predicted: Predictions, class_names: Sequence[str], most: int = MOST_PAIRS) -> list[Confusion]:
    """Which class was taken for which, most images first, ties in the order of the class numbers; `most` at most.

    >>> sure = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    >>> confusions(Predictions(np.arange(3), np.array([0, 1, 1]), sure), ["ant", "bee"])
    [Confusion(true='bee', predicted='ant', images=1, share=0.5, both=1)]
    """
    from sklearn.metrics import confusion_matrix

    _check(predicted, class_names)
    matrix = confusion_matrix(predicted.labels, predicted.classes, labels=range(len(class_names)))
    images = matrix.sum(axis=1)
    np.fill_diagonal(matrix, 0)
    order = np.argsort(-matrix, axis=None, kind="stable")[:most]
    return [
        Confusion(
            class_names[true],
            class_names[other],
            int(matrix[true, other]),
            float(matrix[true, other] / images[true]),
            int(matrix[true, other] + matrix[other, true]),
        )
        for true, other in zip(*np.unravel_index(order, matrix.shape), strict=True)
        if matrix[true, other]
    ]


def balance(predicted: Predictions) -> Balance:
    """How evenly the images fall on the classes.

    >>> balance(Predictions(np.arange(3), np.array([0, 1, 1]), np.full((3, 3), 1 / 3)))
    Balance(counts=array([1, 2, 0]), ratio=2.0, empty=1)
    """
    _check(predicted)
    counts = _counts(predicted)
    return Balance(counts, float(counts.max() / counts[counts > 0].min()), int((counts == 0).sum()))


def _check(predicted: Predictions, class_names: Sequence[str] | None = None) -> None:
    known, classes = int((predicted.labels >= 0).sum()), predicted.probabilities.shape[1]
    if not known or known < len(predicted.labels):
        raise InputError(
            f"predictions: expected images with known labels, received {known} of {len(predicted.labels)}; "
            "choose a split whose labels are known"
        )
    if class_names is not None and len(class_names) != classes:
        raise InputError(
            f"class names: expected {classes}, received {len(class_names)}; give one for each column of probabilities"
        )


def _counts(predicted: Predictions) -> np.ndarray:
    """Images (classes,) of each class."""
    return np.bincount(predicted.labels, minlength=predicted.probabilities.shape[1])


def _curve(name: str, truth: np.ndarray, score: np.ndarray) -> Curve:
    from sklearn.metrics import auc, roc_curve

    false_positives, true_positives, _ = roc_curve(truth, score)
    return Curve(name, false_positives, true_positives, float(auc(false_positives, true_positives)))


def _mean_curve(name: str, curves: Sequence[Curve]) -> Curve:
    """The mean true positive rate at every false positive rate, as scikit-learn's example of multiclass ROC curves.

    Curves jump upwards where an image of the class comes next. Both ends of a jump are kept, which the example does
    not do: interpolation would make ramps of the jumps, and the area larger than the mean of the areas.
    """
    from sklearn.metrics import auc

    grid = np.unique(np.concatenate([curve.false_positives for curve in curves]))
    # Where rates repeat `np.interp` takes the last; mirrored, the first.
    upper = [np.interp(grid, curve.false_positives, curve.true_positives) for curve in curves]
    lower = [np.interp(-grid, -curve.false_positives[::-1], curve.true_positives[::-1]) for curve in curves]
    ends = np.stack([np.mean(lower, axis=0), np.mean(upper, axis=0)], axis=1)
    false_positives, true_positives = grid.repeat(2), ends.ravel()
    return Curve(name, false_positives, true_positives, float(auc(false_positives, true_positives)))


def _bounds(right: int, count: int) -> tuple[float, float]:
    if not count:
        return np.nan, np.nan
    interval = proportion_interval(right, count)
    return interval.low, interval.high
