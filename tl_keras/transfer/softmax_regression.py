"""Softmax regression: what is minimised, and the way down, for rows that lie in memory and for rows that are read.

Rows are given in coordinates that are not correlated, the last of which is 1: its weights are the intercept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import get_blas_funcs
from scipy.optimize import minimize

# A spread below this share of the largest value is rounding of float32, in which heads are applied.
RESOLUTION = 1e-6
# Cross-validation tells penalties apart by hundredths of the log loss; rough fits come within a ten-thousandth.
ROUGH = {"gtol": 1e-4, "ftol": 1e-5}
FINE = {"gtol": 1e-7, "ftol": 0.0, "maxiter": 10_000, "maxfun": 20_000}


@dataclass(frozen=True)
class Regression:
    """Softmax regression on rows in memory.

    Args:
        coordinates: (N, R + 1); the last is 1, and its weights, the intercept, are not penalised.
        labels: (N,).
        variances: mean squares of the coordinates (R + 1,), those of the whole set in a part of it too.
    """

    coordinates: np.ndarray
    labels: np.ndarray
    variances: np.ndarray

    def take(self, rows: np.ndarray) -> Regression:
        """The same on some of the rows, a mask or indices."""
        return replace(self, coordinates=self.coordinates[rows], labels=self.labels[rows])

    def fit(self, start: np.ndarray, penalty: float, until: Mapping[str, float]) -> np.ndarray:
        """The weights (R + 1, K), sought from `start` on."""
        images = len(self.labels)
        curvature = mean_curvature(log_softmax(self.coordinates, start))

        def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
            return log_loss(self.coordinates, self.labels, weights, images)

        return descend(loss, start, 1 / (penalty * images), self.variances, curvature, until)


def descend(
    loss: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    decay: float,
    variances: np.ndarray,
    curvature: float,
    until: Mapping[str, float],
) -> np.ndarray:
    """The weights (R + 1, K) of the least mean log loss plus half their squares times `decay`, by L-BFGS.

    Args:
        loss: the mean log loss at weights, and its gradient.
        start: weights to begin with.
        variances: mean squares of the coordinates (R + 1,).
        curvature: of the log loss near `start` (`mean_curvature`).
        until: when to end, as `scipy.optimize.minimize` takes it.

    >>> def loss(weights):
    ...     return ((weights - 1) ** 2).sum() / 2, weights - 1
    >>> descend(loss, np.zeros((2, 1)), 1.0, np.ones(2), 1.0, FINE).round(3).tolist()
    [[0.5], [1.0]]
    """
    decays = np.full((len(variances), 1), decay)
    decays[-1] = 0
    # In units in which the Hessian is near the identity L-BFGS takes a fraction of the steps.
    units = 1 / np.sqrt(curvature * variances[:, None] + decays)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(start.shape) * units
        value, slope = loss(weights)
        return value + (decays * weights**2).sum() / 2, ((slope + decays * weights) * units).ravel()

    found = minimize(objective, (start / units).ravel(), method="L-BFGS-B", jac=True, options=dict(until))
    return found.x.reshape(start.shape) * units


def log_loss(coordinates: np.ndarray, labels: np.ndarray, weights: np.ndarray, images: int) -> tuple[float, np.ndarray]:
    """The sum of the log losses of some rows and its gradient (R + 1, K), both divided by `images`.

    >>> log_loss(np.ones((2, 1)), np.array([0, 1]), np.zeros((1, 2)), 2)[0]
    0.693...
    """
    chances = log_softmax(coordinates, weights)
    loss = losses(chances, labels).sum(dtype="float64") / images
    np.exp(chances, out=chances)
    chances[np.arange(len(chances)), labels] -= 1
    return float(loss), _gemm(chances)(1 / images, chances.T, coordinates.T, trans_b=True).T


def mean_curvature(chances: np.ndarray) -> float:
    """The mean curvature of the log loss at log probabilities, which are lost.

    It goes to 0 where the classes are told apart for certain.
    """
    np.exp(chances, out=chances)
    return max(float((chances * (1 - chances)).mean()), RESOLUTION)


def losses(chances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The log loss of each row (N,) from log probabilities (N, K)."""
    return -chances[np.arange(len(labels)), labels]


def log_softmax(coordinates: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Log probabilities (N, K), in the precision of the coordinates."""
    return normal(_gemm(coordinates)(1.0, weights.astype(coordinates.dtype).T, coordinates.T).T)


def normal(logits: np.ndarray) -> np.ndarray:
    """The logits, in place, less what makes them log probabilities."""
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits


def _gemm(array: np.ndarray) -> Any:
    """SciPy's matrix product. NumPy may bring another BLAS, whose idle threads take the cores from SciPy's L-BFGS."""
    return get_blas_funcs("gemm", (array,))
