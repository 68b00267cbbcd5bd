"""Which blocks to stack: sets of them tried out of fold, in seconds each, from the products of their features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tl_keras.transfer.kernel_ridge import USUAL, out_of_fold, standardised


def best_set(
    grams: Sequence[np.ndarray], labels: np.ndarray, classes: int, folds: np.ndarray
) -> list[tuple[list[int], float]]:
    """Which of several groups of features to stack: forward selection by accuracy out of fold, best group first.

    Group after group is added to the end, and the best set on the way is taken: one step that does not help, as chance
    may have it, stops nothing.

    Args:
        grams: for each group the products of all pairs of images (N, N), of standardised features.

    Returns:
        The sets in the order in which they grew, each with its accuracy, up to the one to take, which is the last.
    """
    chosen, left, grown = list[int](), list(range(len(grams))), list[tuple[list[int], float]]()
    total = np.zeros_like(grams[0])
    while left:
        scored = []
        for number in left:
            scores = out_of_fold(gaussian(total + grams[number], USUAL[0]), labels, classes, folds, USUAL[1])
            scored.append((float((scores.argmax(axis=1) == labels)[folds >= 0].mean()), -number))
        accuracy, number = max(scored)
        total += grams[-number]
        chosen = [*chosen, -number]
        left.remove(-number)
        grown.append((chosen, accuracy))
    most = max(accuracy for _, accuracy in grown)
    return grown[: 1 + next(place for place, (_, accuracy) in enumerate(grown) if accuracy == most)]


def gram(features: np.ndarray) -> np.ndarray:
    """The products of all pairs of rows of power-normalised, standardised features, (N, N), float32."""
    standard, _, _ = standardised(features)
    return standard @ standard.T


def gaussian(products: np.ndarray, width: float) -> np.ndarray:
    """The similarities (N, N) of images from the products of their features, in the mean square length of these.

    >>> gaussian(np.eye(2), 0.5).round(3).tolist()
    [[1.0, 0.368], [0.368, 1.0]]
    """
    lengths = np.diag(products)
    alike = 2 * products - lengths[:, None] - lengths
    return np.exp(np.minimum(alike, 0) * np.float32(width / max(lengths.mean(), 1e-12)))
