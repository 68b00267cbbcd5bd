"""How well a pre-trained backbone will transfer, estimated from its features without training the network.

`features` are the backbone's pooled outputs for N images, (N, D); `labels` their classes, (N,), numbers or names.
Scores rank backbones on one data set; they mean nothing across data sets. Only `linear_probe` is an accuracy.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from tl_keras.errors import InputError

FOLDS = 5
# Squared quantities smaller than this share of the largest are rounding (float32 features: 1e-7 squared is 1e-14).
RESOLUTION = 1e-12
STEPS = 120  # of log(alpha / beta), half a unit apart: the terms of the evidence change over whole units


def log_me(features: np.ndarray, labels: np.ndarray) -> float:
    """LogME: the maximum log evidence per image of a Bayesian linear regression from features to one-hot classes.

    For one class, y ~ N(0, I / beta + F F^T / alpha), the weights integrated out; alpha (of the weights' prior) and
    beta (of the noise) are those that make y most likely. Rotating or scaling the features changes nothing, and D may
    exceed N. Higher is better; it is a log density, so features that give the classes away score above 0.

    You et al., "LogME: Practical Assessment of Pre-trained Models for Transfer Learning" (ICML 2021).

    Raises:
        InputError: shapes that do not fit, values that are not finite, one class only, features that never vary.

    >>> log_me(np.array([[1.0], [1.0], [1.0], [-1.0]]), list("aabb"))
    -1.039...
    """
    features, classes = checked(features, labels)
    counts = np.bincount(classes)  # also the squared length of each one-hot target
    directions, lengths, _ = np.linalg.svd(features, full_matrices=False)
    inside = (directions.T @ np.eye(len(counts))[classes]) ** 2
    outside = np.maximum(counts - inside.sum(axis=0), RESOLUTION * counts)
    best = _maximum_evidence(lengths**2, inside, outside, len(classes))
    return float(np.mean(best) / len(classes))


def _maximum_evidence(strength: np.ndarray, inside: np.ndarray, outside: np.ndarray, images: int) -> list[float]:
    """The log evidence of every target at its best alpha and beta.

    The paper iterates to a fixed point instead, which can stop below the maximum where features differ much in scale.
    """
    middle, reach = np.log(strength.max()), -np.log(RESOLUTION)
    grid = np.linspace(middle - reach, middle + reach, STEPS)  # log(alpha / beta) from no noise to nothing else
    scores = _log_evidence(grid, strength, inside, outside, images)
    best = []
    for k, peak in enumerate(scores.argmax(axis=0)):
        target = strength, inside[:, [k]], outside[[k]], images
        bounds = grid[max(peak - 1, 0)], grid[min(peak + 1, STEPS - 1)]
        found = minimize_scalar(lambda x, target=target: -_log_evidence(np.array([x]), *target).item(), bounds=bounds)
        best.append(max(-found.fun, scores[peak, k]))
    return best


def _log_evidence(
    log_ratio: np.ndarray, strength: np.ndarray, inside: np.ndarray, outside: np.ndarray, images: int
) -> np.ndarray:
    """The log evidence (G, K) at each alpha / beta and the beta that suits it best, which has a closed form.

    Args:
        log_ratio: log(alpha / beta), (G,).
        strength: squared singular values of the features (R,); along their vectors the Gaussian is independent.
        inside: squared coordinates of the targets along these vectors (R, K).
        outside: squared length of what the vectors do not span (K,).
    """
    variance = 1 + strength / np.exp(log_ratio)[:, None]  # in units of 1 / beta
    unit = ((1 / variance) @ inside + outside) / images
    return -0.5 * (images * (np.log(2 * np.pi * unit) + 1) + np.log(variance).sum(axis=1)[:, None])


def h_score(features: np.ndarray, labels: np.ndarray) -> float:
    """H-score: how much of the features' variance lies between the classes, tr(cov(f)^-1 cov(E[f|y])); from 0 to K-1.

    This is the version whose covariance is shrunk (Ledoit and Wolf). The plain one needs N far above D: from N <= D
    on it is K-1 for any features and any labels, and pre-trained features are as wide as small data sets are long.
    Shrinkage softens that and does not cure it: with N near D random labels score well too, so prefer LogME there.

    Bao et al., "An Information-Theoretic Approach to Transferability in Task Transfer Learning" (ICIP 2019);
    Ibrahim et al., "Newer is not Always Better: Rethinking Transferability Metrics" (ECML PKDD 2022).

    Raises:
        InputError: as `log_me`.

    >>> h_score(np.array([[1.0], [1.0], [-1.0], [-1.0]]), list("aabb"))
    1.0
    """
    features, classes = checked(features, labels)
    images, width = features.shape
    centred = features - features.mean(axis=0)
    directions, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    # Along the singular vectors the covariance is diagonal, and where it is zero no class differs: nothing that is as
    # large as the square of the width is ever computed.
    inside = lengths**2 > RESOLUTION * lengths[0] ** 2
    variances, coordinates = lengths[inside] ** 2 / images, (directions * lengths)[:, inside]
    shrinkage = _shrinkage(variances, (centred**2).sum(axis=1), width)
    shrunk = (1 - shrinkage) * variances + shrinkage * variances.sum() / width
    shares = np.bincount(classes) / images
    means = np.stack([coordinates[classes == number].mean(axis=0) for number in range(len(shares))])
    return float((1 - shrinkage) * (shares @ (means**2 / shrunk).sum(axis=1)))


def _shrinkage(variances: np.ndarray, lengths: np.ndarray, width: int) -> float:
    """How far a covariance matrix is best moved to the multiple of the identity with its trace, 0 to 1.

    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices" (2004).

    Args:
        variances: along its axes (R,); there are `width` axes, zero along the others.
        lengths: squared ones of the centred rows (N,).
    """
    square = (variances**2).sum()
    noise = ((lengths**2).mean() - square) / (width * len(lengths))
    distance = square / width - (variances.sum() / width) ** 2
    return min(noise, distance) / distance if distance > 0 else 0.0


def leep(source_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """LEEP: mean log-likelihood of the labels, guessed from the backbone's own source classes; at most 0.

    It needs the classifier that the backbone was pre-trained with (`include_top=True`); headless weights have none.

    Nguyen et al., "LEEP: A New Measure to Evaluate Transferability of Learned Representations" (ICML 2020).

    Args:
        source_probabilities: softmax outputs (N, Z) over the Z source classes.

    Raises:
        InputError: as `log_me`, and where rows are not probabilities.

    >>> leep(np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]]), list("aabb"))
    0.0
    """
    probabilities, classes = checked(source_probabilities, labels)
    sums = probabilities.sum(axis=1)
    if probabilities.min() < 0 or not np.allclose(sums, 1, atol=1e-3):
        raise InputError(
            f"source_probabilities: expected rows of probabilities that sum to 1, received sums from {sums.min():.4g} "
            f"to {sums.max():.4g} and a smallest value of {probabilities.min():.4g}; apply the softmax to logits"
        )
    probabilities = probabilities[:, probabilities.sum(axis=0) > 0]  # a source class never seen says nothing
    joint = np.eye(classes.max() + 1)[classes].T @ probabilities
    conditional = joint / joint.sum(axis=0)
    return float(np.mean(np.log((probabilities * conditional[classes]).sum(axis=1))))


def linear_probe(features: np.ndarray, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Whether logistic regression on the features names each image rightly when it did not train on it: bool (N,).

    Features are standardised on the training folds; five stratified folds, fewer where a class has fewer images.
    The mean is the probe's accuracy; `evaluation.compare.proportion_interval(vector.sum(), len(vector))` bounds it.

    Alain and Bengio, "Understanding intermediate layers using linear classifier probes" (2016).

    Raises:
        InputError: as `log_me`, and where a class has one image only.

    >>> linear_probe(np.array([[1.0], [2.0], [-1.0], [-2.0]]), list("aabb"))
    array([ True,  True,  True,  True])
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, classes = checked(features, labels)
    smallest = np.bincount(classes).min()
    if smallest < 2:
        raise InputError(
            "labels: expected at least 2 images of every class, received a class with 1; "
            "add images of it or leave the class out"
        )
    folds = StratifiedKFold(min(FOLDS, smallest), shuffle=True, random_state=seed)
    # A prior under which the logits of standardised features have deviation 2, however many features there are.
    # Scikit-learn's own C of 1 overfits hundreds of them.
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=4 / features.shape[1], max_iter=1000))
    return cross_val_predict(probe, features, classes, cv=folds) == classes


def checked(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The features in float64, in which the sums are exact enough, and the classes as numbers from 0."""
    features, labels = np.asarray(features, dtype="float64"), np.asarray(labels)
    check_shapes(features.shape, labels)
    check_finite(features)
    names, classes = np.unique(labels, return_inverse=True)
    check_classes(len(names))
    check_varied(np.ptp(features, axis=0))
    return features, classes


def check_shapes(features: tuple[int, ...], labels: np.ndarray) -> None:
    """Refuse features and labels of shapes that do not belong together.

    Raises:
        InputError: they do not.

    >>> check_shapes((2, 1280), np.array([0, 1]))
    """
    if len(features) != 2 or labels.shape != features[:1]:
        raise InputError(
            f"features and labels: expected shapes (N, D) and (N,), received {features} and {labels.shape}; "
            "give one row and one label for each image"
        )


def check_finite(features: np.ndarray) -> None:
    """Refuse NaN and infinities.

    Raises:
        InputError: there are some.

    >>> check_finite(np.zeros((2, 3)))
    """
    if not np.isfinite(features).all():
        raise InputError(
            f"features: expected finite numbers, received {int((~np.isfinite(features)).sum())} NaN or infinite "
            "values; check the weights and the preprocessing"
        )


def check_classes(count: int) -> None:
    """Refuse labels of fewer than two different classes.

    Raises:
        InputError: there are fewer.

    >>> check_classes(2)
    """
    if count < 2:
        raise InputError(f"labels: expected at least 2 classes, received {count}; give images of several classes")


def check_varied(ranges: np.ndarray) -> None:
    """Refuse features (N, D) that are the same for all images, by the range of each (D,).

    Raises:
        InputError: they are.

    >>> check_varied(np.array([0.0, 3.5]))
    """
    if not ranges.any():
        raise InputError(
            "features: expected values that differ between images, received the same row for all; "
            "check the weights and the preprocessing"
        )
