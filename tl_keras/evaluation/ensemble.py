"""Ensembles from what several networks said of the same images: soft voting, with weights by greedy selection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tl_keras.errors import InputError
from tl_keras.records import Predictions

ROUNDS = 20


def vote(members: Sequence[Predictions], weights: Sequence[float] | np.ndarray) -> Predictions:
    """The weighted mean of the members' probabilities.

    Raises:
        InputError: the members speak of different images, or the weights do not fit.

    >>> one, other = (Predictions(np.array(["a"]), np.array([0]), np.array([row])) for row in ([0.9, 0.1], [0.2, 0.8]))
    >>> vote([one, other], [1, 3]).probabilities.round(3).tolist()
    [[0.375, 0.625]]
    """
    first = members[0]
    if len(weights) != len(members) or min(weights) < 0 or not sum(weights):
        raise InputError(f"vote: expected a weight for each of {len(members)} members, received {list(weights)}; mend")
    _check(members)
    mean = np.average([each.probabilities for each in members], axis=0, weights=weights)
    return Predictions(first.ids, first.labels, mean.astype("float32"))


def greedy(members: Sequence[Predictions], rounds: int = ROUNDS) -> np.ndarray:
    """Weights (members,) that sum to 1: member after member is added, with replacement, that makes most images right.

    Of equals the one of less log loss. Of all rounds the first with the most right counts (Caruana et al., "Ensemble
    selection from libraries of models", 2004).

    Raises:
        InputError: the members speak of different images.

    >>> greedy([right, wrong]).tolist()  # doctest: +SKIP
    [1.0, 0.0]
    """
    _check(members)
    labels = members[0].labels
    chances = np.stack([each.probabilities.astype("float64") for each in members])
    counts, total = np.zeros(len(members)), np.zeros(chances.shape[1:])
    best: tuple[tuple[float, float], np.ndarray] | None = None
    for _ in range(rounds):
        scored = [(*_score(total + each, labels), -number) for number, each in enumerate(chances)]
        right, loss, number = max(scored)
        counts[-number] += 1
        total = total + chances[-number]
        if best is None or right > best[0][0]:
            best = (right, loss), counts / counts.sum()
    assert best is not None
    return best[1]


def cross_fitted(members: Sequence[Predictions], folds: np.ndarray) -> Predictions:
    """The vote on each fold with weights that were chosen on the others: an honest figure of what `greedy` gives.

    Args:
        folds: (N,), the fold of each image.

    Raises:
        InputError: the members speak of different images.
    """
    _check(members)
    mean = np.empty_like(members[0].probabilities)
    for fold in np.unique(folds):
        held = folds == fold
        weights = greedy([_part(each, ~held) for each in members])
        mean[held] = vote([_part(each, held) for each in members], weights).probabilities
    return Predictions(members[0].ids, members[0].labels, mean)


def _check(members: Sequence[Predictions]) -> None:
    first = members[0]
    for other in members[1:]:
        if not np.array_equal(first.ids, other.ids) or first.probabilities.shape != other.probabilities.shape:
            raise InputError("vote: expected members that speak of the same images, received others; train them anew")


def _score(total: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The share that is right, and the mean log probability of the truth."""
    chances = total[np.arange(len(labels)), labels] / total.sum(axis=1)
    return float((total.argmax(axis=1) == labels).mean()), float(np.log(np.maximum(chances, 1e-15)).mean())


def _part(predicted: Predictions, rows: np.ndarray) -> Predictions:
    return Predictions(predicted.ids[rows], predicted.labels[rows], predicted.probabilities[rows])
