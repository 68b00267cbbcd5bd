"""The kernel head against scikit-learn's, as layers of Keras, and on features that are none."""

import keras
import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import rbf_kernel

from tl_keras.data.splits import folds as folds_of
from tl_keras.errors import InputError
from tl_keras.transfer import kernel_ridge
from tl_keras.transfer.block_choice import best_set, gaussian, gram
from tl_keras.transfer.kernel_ridge import Coordinates, out_of_fold, power, similarity, solve


def blobs(images=90, width=6, classes=3, distance=1.0, seed=0):
    """Positive features of different scales around one centre per class, some of them 0, as behind a ReLU."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    centres = np.random.default_rng(99).normal(size=(classes, width))
    features = distance * centres[labels] + rng.normal(size=(images, width))
    return np.maximum(features, 0) * rng.uniform(0.1, 30, width), labels


def held_out(labels, count=5, seed=0):
    return folds_of(labels, np.arange(len(labels)), count, seed)


@pytest.mark.parametrize("width", [0.25, 1.0])
def test_the_similarity_is_scikit_learns(width):
    one, other = np.random.default_rng(0).normal(size=(2, 20, 7)).astype("float32")
    np.testing.assert_allclose(similarity(one, other[:9], width), rbf_kernel(one, other[:9], width), rtol=1e-4)
    alike = similarity(100 + one, 100 + one, width)
    assert alike.max() <= 1 and np.diag(alike) == pytest.approx(1, abs=0.05), "rounding passes 1 nowhere"


@pytest.mark.parametrize("penalty", [0.01, 0.3])
@pytest.mark.parametrize("classes, count", [(3, 5), (2, 3), (7, 2)])
def test_the_scores_out_of_fold_are_scikit_learns(classes, count, penalty):
    features, labels = blobs(classes=classes)
    folds = held_out(labels, count)
    alike = rbf_kernel(features, gamma=0.002)
    scores = out_of_fold(alike, labels, classes, folds, penalty)
    for fold in range(count):
        held, rest = folds == fold, folds != fold
        targets = np.eye(classes)[labels[rest]]
        reference = KernelRidge(alpha=penalty, kernel="precomputed")
        reference.fit(alike[np.ix_(rest, rest)], targets - targets.mean(axis=0))
        expected = reference.predict(alike[np.ix_(held, rest)]) + targets.mean(axis=0)
        np.testing.assert_allclose(scores[held], expected, atol=1e-5)


def test_what_no_fold_holds_out_has_no_score_but_is_learned():
    features, labels = blobs(40)
    labels[7], features[7] = 3, 200
    folds = held_out(labels)
    assert folds[7] == -1 and (np.delete(folds, 7) >= 0).all()
    found = solve(features, labels, 4, folds)
    assert np.isnan(found.probabilities[7]).all() and np.isfinite(np.delete(found.probabilities, 7, axis=0)).all()
    assert found.head.probabilities(features[7:8]).argmax() == 3
    assert all(np.isfinite([tried.log_loss, tried.accuracy]).all() for tried in found.tried)


def test_a_wrong_label_is_judged_by_what_the_others_say():
    features, labels = blobs(90, distance=4.0)
    wrong = np.array([3, 31, 62])
    given = labels.copy()
    given[wrong] = (labels[wrong] + 1) % 3
    found = solve(features, given, 3, held_out(given))
    np.testing.assert_array_equal(found.probabilities[wrong].argmax(axis=1), labels[wrong])
    assert found.head.probabilities(features[:2]).sum(axis=1) == pytest.approx(1, abs=1e-6)


def test_the_choice_is_that_of_least_log_loss_and_is_told_truly():
    features, labels = blobs(120)
    folds = held_out(labels)
    found = solve(features, labels, 3, folds)
    best = min(found.tried, key=lambda tried: tried.log_loss)
    assert (found.head.width, found.head.penalty) == (best.width, best.penalty)
    assert len(found.tried) == len(kernel_ridge.WIDTHS) * len(kernel_ridge.PENALTIES)
    of_truth = found.probabilities[np.arange(120), labels]
    assert -np.log(of_truth).mean() == pytest.approx(best.log_loss, rel=1e-5)
    assert (found.probabilities.argmax(axis=1) == labels).mean() == pytest.approx(best.accuracy)


def test_the_head_names_new_images():
    features, labels = blobs(180, distance=2.0)
    new, truth = blobs(90, distance=2.0, seed=1)
    new *= (features.max(axis=0) / new.max(axis=0))[None]
    found = solve(features, labels, 3, held_out(labels))
    assert (found.head.probabilities(new).argmax(axis=1) == truth).mean() > 0.85
    assert (found.head.probabilities(features).argmax(axis=1) == labels).mean() > 0.9


@pytest.mark.parametrize("images, width", [(90, 6), (40, 200)])
@pytest.mark.parametrize("balanced", [False, True])
def test_layers_of_keras_say_the_same(images, width, balanced):
    features, labels = blobs(images, width)
    head = solve(features, labels, 3, held_out(labels), balanced=balanced).head
    inputs = keras.Input((width,))
    network = keras.Model(inputs, keras.layers.Softmax()(head.logits(inputs)))
    new, _ = blobs(30, width, seed=1)
    for seen in (features, new, np.zeros((1, width)), 50 * new):
        seen = seen.astype("float32")
        np.testing.assert_allclose(network.predict(seen, verbose=0), head.probabilities(seen), atol=2e-5)


def test_layers_of_keras_are_exact_under_mixed_precision_and_have_slopes_at_zero():
    features, labels = blobs()
    head = solve(features, labels, 3, held_out(labels)).head
    keras.config.set_dtype_policy("mixed_float16")
    inputs = keras.Input((6,))
    network = keras.Model(inputs, keras.layers.Softmax(dtype="float32")(head.logits(inputs)))
    seen = features.astype("float32")
    np.testing.assert_allclose(network.predict(seen, verbose=0), head.probabilities(seen), atol=2e-5)
    import tensorflow as tf

    pixels = tf.constant(seen)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        said = network(pixels)[:, 0]
    assert (seen == 0).any() and np.isfinite(tape.gradient(said, pixels)).all()


@pytest.mark.parametrize("images, width", [(60, 8), (20, 50)])
def test_coordinates_keep_the_distances_of_standardised_features(images, width):
    features, _ = blobs(images, width)
    powered = np.sqrt(features)
    spread = powered.std(axis=0)
    standard = (powered - powered.mean(axis=0)) / np.where(spread > 0, spread, 1)
    at = Coordinates.of(features)(features)
    assert at.shape == (images, min(images - 1, width))  # the mean takes a direction away
    assert np.mean(np.sum(at**2, axis=1)) == pytest.approx(1, rel=1e-4)
    theirs = np.linalg.norm(standard[:, None] - standard, axis=2) / np.sqrt(np.mean(np.sum(standard**2, axis=1)))
    np.testing.assert_allclose(np.linalg.norm(at[:, None] - at, axis=2), theirs, atol=1e-3)


def test_fewer_coordinates_are_those_that_vary_most():
    rng = np.random.default_rng(0)
    shared = rng.uniform(1, 9, (50, 1))
    features = np.hstack([shared + rng.normal(0, 0.01, (50, 4)), rng.uniform(1, 9, (50, 1))])
    at = Coordinates.of(features, most=1)(features)
    assert at.shape == (50, 1) and abs(np.corrcoef(at[:, 0], np.sqrt(shared[:, 0]))[0, 1]) > 0.99


def test_the_root_keeps_the_sign():
    np.testing.assert_allclose(power(np.array([[4.0, -9.0, 0.0]])), [[2, -3, 0]])


def test_balanced_weights_are_repeated_images():
    """Of class 0 there are 40 images, of class 1 are 10: each of these counts four times as much."""
    features, _ = blobs(50, classes=2)
    labels = np.repeat([0, 1], [40, 10])
    times = np.where(labels == 1, 4, 1)
    again = np.repeat(np.arange(50), times)
    alike = similarity(features, features, 0.002)
    weighting = kernel_ridge._weighting(labels, 2)
    np.testing.assert_allclose(weighting / weighting[0], times)
    scale = weighting[0]
    folds = held_out(labels)
    weighted = out_of_fold(alike, labels, 2, folds, 0.1 * scale, weighting)
    repeated = out_of_fold(alike[np.ix_(again, again)], labels[again], 2, folds[again], 0.1)
    np.testing.assert_allclose(weighted[again], repeated, atol=1e-4)


def test_balanced_heads_name_more_images_of_a_rare_class():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [190, 10])
    features = rng.normal(size=(200, 3)) + 0.8 * labels[:, None] + 5
    folds = held_out(labels)
    found = {balanced: solve(features, labels, 2, folds, balanced=balanced) for balanced in (False, True)}
    right = {key: (each.probabilities.argmax(axis=1) == 1)[labels == 1].mean() for key, each in found.items()}
    assert right[True] > right[False]


def test_of_duplicates_in_a_rare_class_the_system_can_be_solved():
    features, _ = blobs(600, classes=2)
    labels = np.repeat([0, 1], [596, 4])
    features[-4:] = features[-1]
    found = solve(features, labels, 2, held_out(labels), balanced=True)
    assert np.isfinite(found.head.weights).all() and np.isfinite(found.probabilities).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers(value):
    features, labels = blobs()
    features[5, 2] = value
    for call in (lambda: solve(features, labels, 3, held_out(labels)), lambda: gram(features)):
        with pytest.raises(InputError, match="features: expected finite numbers, received NaN or infinity") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_too_many_images_and_none_that_can_be_held_out(monkeypatch):
    features, labels = blobs()
    with pytest.raises(InputError, match=r"kernel head: expected at most 12,000 images, some of .* received 90"):
        solve(features, labels, 3, np.full(90, -1))
    monkeypatch.setattr(kernel_ridge, "MOST", 89)
    with pytest.raises(InputError, match="kernel head: expected at most 89 images"):
        solve(features, labels, 3, held_out(labels))


def test_a_constant_feature_changes_nothing():
    features, labels = blobs()
    more = np.hstack([features, np.full((90, 3), [0.0, 7.3, 1e-9])])
    folds = held_out(labels)
    one, other = solve(features, labels, 3, folds), solve(more, labels, 3, folds)
    np.testing.assert_allclose(other.probabilities, one.probabilities, atol=1e-3)
    np.testing.assert_allclose(gram(more), gram(features), atol=1e-3)


def test_where_all_is_constant_the_shares_of_the_classes_are_left():
    labels = np.repeat([0, 1, 2], [20, 10, 10])
    found = solve(np.ones((40, 5)), labels, 3, held_out(labels))
    said = found.head.probabilities(np.ones((1, 5)))
    assert said.argmax() == 0 and np.isfinite(said).all() and found.tried[0].accuracy == pytest.approx(0.5)


def groups():
    """Noise, what tells the first class, a dead network, and what tells the other two: each 120 images."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    noise = rng.normal(size=(3, 120, 5))
    first = (labels == 0)[:, None] * 4 + rng.normal(size=(120, 5))
    second = (labels == 1)[:, None] * 4 + rng.normal(size=(120, 5))
    return [noise[0], first, np.zeros((120, 4)), second, noise[1]], labels


def test_the_groups_that_tell_the_classes_are_found_among_noise():
    features, labels = groups()
    folds = held_out(labels)
    grown = best_set([gram(each) for each in features], labels, 3, folds)
    assert set(grown[1][0]) == {1, 3} and grown[0][1] < grown[1][1] and grown[1][1] > 0.95
    assert grown[-1][1] == max(accuracy for _, accuracy in grown)
    scores = out_of_fold(gaussian(sum(gram(features[number]) for number in (1, 3)), 0.5), labels, 3, folds, 0.03)
    assert (scores.argmax(axis=1) == labels).mean() == pytest.approx(grown[1][1])


def test_one_group_is_the_best_set():
    features, labels = groups()
    assert [numbers for numbers, _ in best_set([gram(features[1])], labels, 3, held_out(labels))] == [[0]]


def test_the_similarities_of_products_are_those_of_coordinates():
    features, _ = blobs(40, 6)
    at = Coordinates.of(features)(features)
    np.testing.assert_allclose(gaussian(gram(features), 0.5), similarity(at, at, 0.5), atol=1e-4)
