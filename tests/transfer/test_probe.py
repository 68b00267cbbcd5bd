"""The exact head against scikit-learn's, against its own gradient, and on what real training sets are like."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tests.fresh import python
from tl_keras.errors import InputError
from tl_keras.transfer.probe import FOLDS, PENALTIES, solve


@pytest.fixture(autouse=True)
def one_thread():
    """Of each BLAS: for problems this small threads on busy cores mostly wait for each other."""
    with threadpool_limits(1):
        yield


def blobs(images=90, width=6, classes=3, distance=1.0, seed=0):
    """Features of different means and scales, around one centre per class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    features = distance * rng.normal(size=(classes, width))[labels] + rng.normal(size=(images, width))
    return features * rng.uniform(0.1, 30, width) + rng.normal(scale=20, size=width), labels


def logits(head, features):
    return features @ head.weights.astype("float64") + head.bias


def chances(head, features):
    shifted = logits(head, features) - logits(head, features).max(axis=1, keepdims=True)
    return np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)


def scikit_learns(features, labels, penalty):
    """Its own standardisation and solver, to full convergence; of two classes it penalises half as much."""
    own = penalty if len(np.unique(labels)) > 2 else 2 * penalty
    scaler = StandardScaler().fit(features)
    return scaler, LogisticRegression(C=own, tol=1e-10, max_iter=20_000).fit(scaler.transform(features), labels)


@pytest.mark.parametrize("penalty", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("images, width, classes", [(90, 6, 3), (30, 50, 3), (60, 60, 4), (50, 8, 2), (20, 40, 2)])
def test_the_optimum_is_scikit_learns(images, width, classes, penalty):
    features, labels = blobs(images, width, classes)
    head = solve(features, labels, classes, penalties=[penalty])
    scaler, reference = scikit_learns(features, labels, penalty)
    new, _ = blobs(images, width, classes, seed=1)
    for seen in (features, new):
        expected = reference.predict_proba(scaler.transform(seen))
        assert chances(head, seen) == pytest.approx(expected, abs=2e-5)
    theirs = reference.coef_.T if classes > 2 else np.hstack([-reference.coef_.T, reference.coef_.T]) / 2
    assert head.weights * scaler.scale_[:, None] == pytest.approx(theirs, abs=1e-4)
    assert head.penalty == penalty and head.scores == ()


@pytest.mark.parametrize("images, width", [(120, 7), (25, 60)])
def test_the_gradient_vanishes_at_the_chosen_penalty(images, width):
    features, labels = blobs(images, width)
    head = solve(features, labels, 3)
    standard, scale = StandardScaler().fit_transform(features), features.std(axis=0)[:, None]
    residual = chances(head, features) - np.eye(3)[labels]
    slope = head.penalty * standard.T @ residual + head.weights * scale
    assert slope == pytest.approx(np.zeros_like(slope), abs=1e-4)
    assert residual.sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-4)  # no penalty pulls at the bias
    assert head.bias.sum() + (features.mean(axis=0) @ head.weights).sum() == pytest.approx(0, abs=1e-3)


def test_shapes_and_types():
    features, labels = blobs(classes=4)
    head = solve(features.astype("float32"), labels, 4)
    assert (head.weights.shape, head.bias.shape) == ((6, 4), (4,))
    assert head.weights.dtype == head.bias.dtype == np.float32
    assert isinstance(head.penalty, float)


def test_the_standardisation_is_folded_in():
    features, labels = blobs()
    scale, shift = np.array([1e-3, 1.0, 50.0, 0.2, 1e4, 3.0]), np.array([0.0, -7.0, 1e3, 5.0, 1e4, 0.1])
    plain, moved = solve(features, labels, 3), solve(features * scale + shift, labels, 3)
    assert moved.penalty == plain.penalty
    assert logits(moved, features * scale + shift) == pytest.approx(logits(plain, features), abs=1e-2)
    assert moved.weights * scale[:, None] == pytest.approx(plain.weights, rel=1e-3, abs=1e-6)


def test_the_scores_are_those_of_cross_validation_by_scikit_learn():
    features, labels = blobs(200, 5, 3, distance=0.6)
    groups = np.random.default_rng(1).integers(0, FOLDS, 200)  # as many groups as folds: each of them is one
    head = solve(features, labels, 3, groups=groups)
    standard = StandardScaler().fit_transform(features)
    assert [score.penalty for score in head.scores] == list(PENALTIES[: len(head.scores)])
    for score in head.scores[::3]:
        held_out = np.empty((200, 3))
        for group in range(FOLDS):
            inside = groups != group
            model = LogisticRegression(C=score.penalty, tol=1e-8, max_iter=1000).fit(standard[inside], labels[inside])
            held_out[~inside] = model.predict_proba(standard[~inside])
        assert score.log_loss == pytest.approx(log_loss(labels, held_out), abs=5e-3)  # rough fits
        assert score.accuracy == pytest.approx((held_out.argmax(axis=1) == labels).mean(), abs=0.006)


def test_the_penalty_is_among_those_tried_and_not_weaker_than_the_least_log_loss():
    features, labels = blobs(distance=0.5)
    head = solve(features, labels, 3)
    assert head.penalty in [score.penalty for score in head.scores]
    assert head.penalty <= min(head.scores, key=lambda score: score.log_loss).penalty
    assert len(head.scores) < len(PENALTIES)  # the walk ends where it gets clearly worse


def test_noise_is_penalised_more_than_what_tells_the_classes():
    noise, labels = blobs(120, 40, 3, distance=0.0)
    telling, _ = blobs(120, 40, 3, distance=2.0)
    assert solve(noise, labels, 3).penalty < solve(telling, labels, 3).penalty


@pytest.mark.filterwarnings("ignore")  # of scikit-learn's: not converged at its weakest penalties, future defaults
def test_new_digits_are_named_no_worse_than_by_scikit_learns_choice():
    images, labels = load_digits(return_X_y=True)
    ours = theirs = 0
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(labels))
        train, test = order[:500], order[500:]
        head = solve(images[train], labels[train], 10, seed=seed)
        scaler = StandardScaler().fit(images[train])
        chosen = LogisticRegressionCV(scoring="accuracy").fit(scaler.transform(images[train]), labels[train])
        ours += (logits(head, images[test]).argmax(axis=1) == labels[test]).sum()
        theirs += (chosen.predict(scaler.transform(images[test])) == labels[test]).sum()
    assert ours >= theirs


def test_a_class_with_one_image_stays_in_training():
    features, labels = blobs(60)
    features, labels = np.vstack([features, features.max(axis=0) + 50]), np.append(labels, 3)
    head = solve(features, labels, 4)
    assert logits(head, features[-1:]).argmax() == 3
    assert all(np.isfinite(score.log_loss) and score.log_loss < 5 for score in head.scores)


def test_classes_with_two_images_are_held_out_in_turn():
    features, labels = blobs(60)
    rare = features[:2] + 100
    head = solve(np.vstack([features, rare]), np.append(labels, [3, 3]), 4)
    assert all(np.isfinite(score.log_loss) for score in head.scores)
    assert (logits(head, rare).argmax(axis=1) == 3).all()


@pytest.mark.parametrize("width, nearest", [(4, 1.0), (40, 0.1)])
def test_one_image_of_each_class_leaves_nothing_to_choose_by(width, nearest):
    features = np.random.default_rng(0).normal(size=(5, width))
    head = solve(features, np.arange(5), 5)
    assert head.scores == () and head.penalty == pytest.approx(nearest)
    assert (logits(head, features).argmax(axis=1) == np.arange(5)).all()


@pytest.mark.parametrize("constant", [0.0, 1 / 3, -1e6])
def test_a_constant_feature_gets_no_weight(constant):
    features, labels = blobs()
    padded = np.insert(features, 2, constant, axis=1)
    head, without = solve(padded, labels, 3), solve(features, labels, 3)
    assert head.weights[2] == pytest.approx(np.zeros(3), abs=1e-9)
    assert logits(head, padded) == pytest.approx(logits(without, features), abs=1e-3)


def test_rounding_of_a_constant_is_not_blown_up():
    features, labels = blobs()
    noise = (1 + 1e-7 * np.eye(3)[labels]).astype("float32")
    head = solve(np.hstack([features, noise]), labels, 3)
    assert np.abs(head.weights[-3:]).max() < 1e-3


def test_features_repeated_or_of_no_rank_are_no_trouble():
    features, labels = blobs(24, 10)
    twice = solve(np.hstack([features, features]), labels, 3, penalties=[0.5])
    assert twice.weights[:10] == pytest.approx(twice.weights[10:], abs=1e-5)
    # Two equal weights of half the size are penalised half as much as one.
    once = solve(features, labels, 3, penalties=[1.0])
    assert logits(twice, np.hstack([features, features])) == pytest.approx(logits(once, features), abs=1e-3)


def test_the_seed_decides_the_folds_and_nothing_else_is_random():
    features, labels = blobs(distance=0.5)
    first, again, other = (solve(features, labels, 3, seed=seed) for seed in (1, 1, 2))
    assert (first.weights == again.weights).all() and (first.bias == again.bias).all()
    assert first.scores == again.scores != other.scores


def test_rows_of_one_group_are_held_out_together():
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(60, 80)), rng.integers(0, 2, 60)  # nothing to learn, but twins give it away
    views, twice = np.vstack([images, images + 0.01 * rng.normal(size=images.shape)]), np.tile(labels, 2)
    apart = solve(views, twice, 2).scores
    together = solve(views, twice, 2, groups=np.tile(np.arange(60), 2)).scores
    assert max(score.accuracy for score in apart) > 0.85
    assert max(score.accuracy for score in together) < 0.7


def test_a_class_in_one_group_only_stays_in_training():
    features, labels = blobs(60)
    groups = np.where(labels == 2, 1000, np.arange(60))
    head = solve(features, labels, 3, groups=groups)
    assert head.scores and all(score.log_loss < 5 for score in head.scores)


def test_extreme_penalties_are_solved():
    features, labels = blobs(distance=3.0)
    assert np.abs(chances(solve(features, labels, 3, penalties=[1e-9]), features) - 1 / 3).max() < 1e-3
    assert (logits(solve(features, labels, 3, penalties=[1e6]), features).argmax(axis=1) == labels).all()


FEATURES, LABELS = blobs(12)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"features": FEATURES[0]}, r"features and labels: expected shapes \(N, D\) and \(N,\), received \(6,\)"),
        ({"labels": LABELS[:5]}, r"expected shapes .* received \(12, 6\) and \(5,\); give one row"),
        ({"features": np.where(FEATURES > 0, FEATURES, np.nan)}, "features: expected finite numbers, received .* NaN"),
        ({"features": np.ones((12, 6))}, "features: expected values that differ between images"),
        ({"labels": np.zeros(12, int), "classes": 1}, "labels: expected at least 2 classes, received 1"),
        ({"labels": LABELS + 1}, "labels: expected integers from 0 to 2, received int64 from 1 to 3; number"),
        ({"labels": LABELS - 1}, "labels: expected integers from 0 to 2, received int64 from -1 to 1; number"),
        ({"labels": LABELS + 0.5}, "labels: expected integers from 0 to 2, received float64 from 0.5 to 2.5"),
        ({"labels": np.array(list("abc"))[LABELS]}, "labels: expected integers from 0 to 2, received <U1 from a to c"),
        ({"classes": 4}, "labels: expected images of all 4 classes, received none of class 3; add"),
        ({"penalties": []}, r"penalties: expected finite numbers above 0, received \[\]; give one"),
        ({"penalties": [1.0, 0.0]}, r"penalties: expected finite numbers above 0, received \[1.0, 0.0\]"),
        ({"penalties": [1.0, np.nan]}, "penalties: expected finite numbers above 0"),
        ({"groups": np.arange(11)}, r"groups: expected shape \(12,\), received \(11,\); give the group of each row"),
    ],
)
def test_bad_input_is_explained_on_one_line(given, message):
    arguments = {"features": FEATURES, "labels": LABELS, "classes": 3} | given
    with pytest.raises(InputError, match=message) as failure:
        solve(**arguments)
    assert "\n" not in str(failure.value)


def test_neither_keras_nor_scikit_learn_is_imported():
    code = "import sys, tl_keras.transfer.probe; print({'keras', 'tensorflow', 'sklearn'} & set(sys.modules))"
    assert python("-c", code).stdout.strip() == "set()"
