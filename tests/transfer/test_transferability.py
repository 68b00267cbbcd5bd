"""Transferability scores against their definitions, numbers worked by hand, and what they must not depend on."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, ortho_group
from sklearn.covariance import ledoit_wolf

from tl_keras.errors import InputError
from tl_keras.transfer.transferability import h_score, leep, linear_probe, log_me


def blobs(distance, images=60, width=5, classes=3, seed=0):
    """Features that lie around one random centre per class; `distance` 0 makes the labels random."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    return distance * rng.normal(size=(classes, width))[labels] + rng.normal(size=(images, width)), labels


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def evidence_by_search(features, labels):
    """The definition: the density of the Gaussian marginal, maximised over log alpha and log beta."""

    def negative(logs, target):
        covariance = np.eye(len(target)) / np.exp(logs[1]) + features @ features.T / np.exp(logs[0])
        return -multivariate_normal(np.zeros(len(target)), covariance, allow_singular=False).logpdf(target)

    best = []
    for name in np.unique(labels):
        target = (labels == name).astype(float)
        starts = [(a, b) for a in (-2.0, 2.0, 6.0) for b in (0.0, 4.0)]
        runs = [
            minimize(negative, start, (target,), "Nelder-Mead", bounds=[(-12, 16)] * 2, options={"xatol": 1e-7})
            for start in starts
        ]
        best.append(-min(run.fun for run in runs) / len(target))
    return np.mean(best)


@pytest.mark.parametrize("images, width", [(12, 3), (20, 1), (7, 7), (6, 9)])
@pytest.mark.parametrize("distance", [0.0, 0.7])
def test_log_me_is_the_maximum_of_the_marginal_density(images, width, distance):
    features, labels = blobs(distance, images, width, classes=2, seed=images)
    assert log_me(features, labels) == pytest.approx(evidence_by_search(features, labels), abs=1e-5)


def test_log_me_finds_the_higher_of_two_maxima():
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    telling = 0.05 * (labels[:, None] == [0, 1]) + 0.005 * rng.normal(size=(40, 2))  # weak beside what says nothing
    features = np.hstack([5 * rng.normal(size=(40, 6)), telling])
    assert log_me(features, labels) == pytest.approx(evidence_by_search(features, labels), abs=1e-5)
    assert log_me(features, labels) > log_me(features[:, :6], labels) + 0.5


def test_log_me_worked_by_hand():
    features = np.array([[1.0], [1.0], [1.0], [-1.0]])  # one direction, F / 2, of squared strength 4
    # Class a = (1, 1, 0, 0) has squared coordinate 1 along it and 1 across 3 others: best variances 1 and 1/3.
    first = -0.5 * (4 * np.log(2 * np.pi) + np.log(1) + 3 * np.log(1 / 3) + 4)
    # Class b = (0, 0, 1, 1) has 0 along it: the weights' best variance is 0 and the noise's 2/4.
    second = -0.5 * (4 * np.log(2 * np.pi) + 4 * np.log(1 / 2) + 4)
    assert log_me(features, np.array(list("aabb"))) == pytest.approx((first + second) / 2 / 4, abs=1e-6)


def test_log_me_stays_finite_where_features_give_the_classes_away():
    labels = np.arange(12) % 3
    exact = np.eye(3)[labels]
    worse = exact + np.random.default_rng(0).normal(scale=0.1, size=exact.shape)
    assert np.isfinite(log_me(exact, labels)) and log_me(exact, labels) > log_me(worse, labels) > 0
    padded = np.hstack([exact, np.zeros((12, 30))])  # dead units neither help nor harm
    assert log_me(padded, labels) == pytest.approx(log_me(exact, labels), abs=0.1)
    assert log_me(np.hstack([worse, worse]), labels) == pytest.approx(log_me(worse, labels), abs=1e-6)


def test_h_score_worked_by_hand():
    # Variance 5; the class means 1 and 5 vary by 4. One feature is never shrunk.
    assert h_score(np.array([[0.0], [2.0], [4.0], [6.0]]), np.array(list("aabb"))) == pytest.approx(4 / 5)
    assert h_score(np.array([[0.0], [2.0], [0.0], [2.0]]), np.array(list("aabb"))) == pytest.approx(0)


def plain_h_score(features, labels):
    means = np.stack([features[labels == label].mean(axis=0) for label in np.unique(labels)])[labels]
    return np.trace(np.linalg.pinv(np.cov(features.T)) @ np.cov(means.T))


def test_h_score_is_the_plain_one_when_images_are_many():
    features, labels = blobs(1.0, 20_000)
    assert h_score(features, labels) == pytest.approx(plain_h_score(features, labels), rel=1e-3)


@pytest.mark.parametrize("width", [8, 100])
def test_h_score_shrinks_as_its_definition_says(width):
    features, labels = blobs(1.0, 30, width)
    covariance, shrinkage = ledoit_wolf(features)
    means = np.stack([features[labels == label].mean(axis=0) for label in labels])
    expected = (1 - shrinkage) * np.trace(np.linalg.inv(covariance) @ np.cov(means.T, bias=True))
    assert 0 < shrinkage < 1
    assert h_score(features, labels) == pytest.approx(expected)


def test_h_score_is_not_fooled_by_wide_features():
    noise, labels = blobs(0.0, 30, 100)
    assert plain_h_score(noise, labels) == pytest.approx(2), "K - 1, as if the classes were apart"
    assert h_score(noise, labels) < 0.5 < h_score(*blobs(1.0, 30, 100))


def test_h_score_of_very_wide_features_takes_no_matrix_of_their_width():
    """A network that ends in Flatten has such; 50,000 by 50,000 numbers would be 20 GB."""
    assert 0 < h_score(*blobs(0.0, 30, 50_000)) < h_score(*blobs(1.0, 30, 50_000)) < 2


def test_leep_worked_by_hand():
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.1, 0.9]])
    # Joint with a: (1.4, .6), with b: (.4, 1.6); hence P(a|z) = (7/9, 3/11) and P(b|z) = (2/9, 8/11).
    guesses = [0.8 * 7 / 9 + 0.2 * 3 / 11, 0.6 * 7 / 9 + 0.4 * 3 / 11]
    guesses += [0.3 * 2 / 9 + 0.7 * 8 / 11, 0.1 * 2 / 9 + 0.9 * 8 / 11]
    assert leep(probabilities, np.array(list("aabb"))) == pytest.approx(np.mean(np.log(guesses)))
    unseen = np.hstack([probabilities, np.zeros((4, 3))])
    assert leep(unseen, np.array(list("aabb"))) == pytest.approx(np.mean(np.log(guesses)))


def test_leep_of_a_classifier_that_says_nothing_is_the_entropy_of_the_labels():
    probabilities = np.full((100, 4), 0.25) + np.array([[1e-9, -1e-9, 0, 0]]) * np.arange(100)[:, None] / 100
    assert leep(probabilities, np.arange(100) % 5) == pytest.approx(-np.log(5), abs=1e-6)


def test_linear_probe_names_images_it_did_not_train_on():
    features, labels = blobs(3.0, images=60)
    correct = linear_probe(features, labels)
    assert correct.shape == (60,) and correct.dtype == bool
    assert correct.mean() > 0.95
    noise, labels = blobs(0.0, images=60, width=100)  # 60 points in 100 dimensions are separable, yet unlearnable
    assert linear_probe(noise, labels).mean() < 0.55


def test_linear_probe_repeats_and_does_not_mind_units():
    features, labels = blobs(0.5)
    assert np.array_equal(linear_probe(features, labels, seed=3), linear_probe(features, labels, seed=3))
    assert not np.array_equal(linear_probe(features, labels, seed=3), linear_probe(features, labels, seed=4))
    units = 10.0 ** np.arange(5)
    assert np.array_equal(linear_probe(features * units + 7, labels), linear_probe(features, labels))


def test_linear_probe_uses_fewer_folds_for_small_classes():
    features = np.array([[0.0], [0.1], [0.2], [0.3], [9.0], [9.1]])
    assert linear_probe(features, np.array([0, 0, 0, 0, 1, 1])).all()
    with pytest.raises(InputError, match="at least 2 images of every class, received a class with 1"):
        linear_probe(features, np.array([0, 0, 0, 0, 0, 1]))


def leep_of_logits(features, labels):
    return leep(softmax(features), labels)


SCORES = [log_me, h_score, leep_of_logits]
ALL = [*SCORES, linear_probe]


def names(functions):
    return [function.__name__ for function in functions]


@pytest.mark.parametrize("score", SCORES, ids=names(SCORES))
def test_order_and_names_of_classes_do_not_matter(score):
    features, labels = blobs(1.0)
    order = np.random.default_rng(1).permutation(len(labels))
    assert score(features[order], labels[order]) == pytest.approx(score(features, labels))
    assert score(features, np.array(["cat", "ant", "bee"])[labels]) == pytest.approx(score(features, labels))
    assert score(features.astype("float32"), labels) == pytest.approx(score(features, labels), abs=1e-4)


@pytest.mark.parametrize("score", [log_me, h_score], ids=["log_me", "h_score"])
@pytest.mark.parametrize("images, width", [(60, 5), (20, 40)])
def test_rotation_and_scale_of_features_do_not_matter(score, images, width):
    features, labels = blobs(1.0, images, width)
    turned = 1000 * features @ ortho_group.rvs(width, random_state=0)
    assert score(turned, labels) == pytest.approx(score(features, labels))


@pytest.mark.parametrize("score", SCORES, ids=names(SCORES))
@pytest.mark.parametrize("images, width", [(90, 6), (45, 60)])
def test_classes_further_apart_score_higher_and_random_labels_lower(score, images, width):
    scores = [score(*blobs(distance, images, width)) for distance in (0.0, 0.5, 1.0, 2.0)]
    assert scores == sorted(scores) and len(set(scores)) == 4
    features, labels = blobs(2.0, images, width)
    assert score(features, np.random.default_rng(2).permutation(labels)) < scores[3] - 0.1


@pytest.mark.parametrize("score", ALL, ids=names(ALL))
@pytest.mark.parametrize(
    "change, message",
    [
        (lambda features, labels: (features, labels * 0), "expected at least 2 classes, received 1"),
        (lambda features, labels: (features, labels[:-1]), r"received \(60, 5\) and \(59,\)"),
        (lambda features, labels: (features[:, :, None], labels), r"expected shapes \(N, D\)"),
        (lambda features, labels: (features[:0], labels[:0]), "expected at least 2 classes, received 0"),
        (lambda features, labels: (np.where(features > 2, np.nan, features), labels), "expected finite numbers"),
        (lambda features, labels: (np.ones_like(features), labels), "received the same row for all"),
    ],
)
def test_bad_input_is_named(score, change, message):
    features, labels = change(*blobs(1.0))
    with pytest.raises(InputError, match=message):
        (leep if score is leep_of_logits else score)(features, labels)


@pytest.mark.parametrize("factor", [3.0, -1.0])
def test_leep_wants_probabilities(factor):
    probabilities = softmax(np.random.default_rng(0).normal(size=(10, 3))) * factor
    with pytest.raises(InputError, match=r"rows of probabilities that sum to 1.*apply the softmax to logits"):
        leep(probabilities, np.arange(10) % 2)
