"""Votes by hand, greedy weights that are never worse than the best member, and figures that chance cannot raise."""

import numpy as np
import pytest

from tl_keras.errors import InputError
from tl_keras.evaluation.ensemble import cross_fitted, greedy, vote
from tl_keras.records import Predictions


def predicted(probabilities, labels=None, ids=None):
    probabilities = np.asarray(probabilities, "float32")
    labels = np.zeros(len(probabilities), int) if labels is None else np.asarray(labels)
    return Predictions(np.arange(len(probabilities)).astype(str) if ids is None else ids, labels, probabilities)


def noisy(images=120, classes=4, signal=0.0, seed=0, labels=None):
    """Probabilities that know the truth by so much."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % classes if labels is None else labels
    logits = rng.normal(size=(images, classes)) + signal * np.eye(classes)[labels]
    return predicted(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), labels)


def test_a_vote_is_the_weighted_mean():
    one, other = predicted([[0.9, 0.1], [0.4, 0.6]], [0, 1]), predicted([[0.2, 0.8], [0.4, 0.6]], [0, 1])
    said = vote([one, other], [3, 1])
    np.testing.assert_allclose(said.probabilities, [[0.725, 0.275], [0.4, 0.6]], rtol=1e-6)
    assert said.probabilities.dtype == np.float32 and said.labels.tolist() == [0, 1] and said.ids.tolist() == ["0", "1"]
    np.testing.assert_array_equal(vote([one, other], np.array([0.0, 1.0])).probabilities, other.probabilities)
    np.testing.assert_array_equal(vote([one], [0.3]).probabilities, one.probabilities)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -0.1], [0.0, 0.0], [1.0, 1.0, 1.0]], ids=str)
def test_weights_that_do_not_fit(weights):
    with pytest.raises(InputError, match="vote: expected a weight for each of 2 members, received"):
        vote([noisy(), noisy(seed=1)], weights)


OTHERS = [
    predicted(noisy().probabilities, ids=np.arange(120)[::-1].astype(str)),
    predicted(noisy().probabilities[:60]),
    predicted(np.full((120, 3), 1 / 3)),
]


@pytest.mark.parametrize("other", OTHERS, ids=["another order", "fewer images", "fewer classes"])
def test_members_that_speak_of_other_images(other):
    for combine in (lambda members: vote(members, [1, 1]), greedy, lambda members: cross_fitted(members, FOLDS)):
        with pytest.raises(InputError, match="vote: expected members that speak of the same images") as caught:
            combine([noisy(), other])
        assert "\n" not in str(caught.value)


FOLDS = np.arange(120) // 4 % 5


@pytest.mark.parametrize("seed", range(8))
def test_greedy_weights_are_never_worse_than_the_best_member_on_their_own_images(seed):
    rng = np.random.default_rng(seed)
    members = [noisy(signal=rng.uniform(0, 2), seed=10 * seed + number) for number in range(5)]
    weights = greedy(members)
    assert weights.shape == (5,) and weights.min() >= 0 and weights.sum() == pytest.approx(1)
    assert vote(members, weights).accuracy >= max(member.accuracy for member in members)


def test_members_that_err_elsewhere_are_better_together():
    labels = np.arange(90) % 3
    members = []
    for number in range(3):  # each is unsure, and wrong, on a third of the images, sure and right elsewhere
        wrong = np.arange(90) // 3 % 3 == number
        rows = np.where(wrong[:, None], 0.4 * np.eye(3)[(labels + 1) % 3] + 0.3 * np.eye(3)[labels], 0)
        members.append(predicted(rows + np.where(wrong[:, None], 0.1, np.eye(3)[labels]), labels))
    assert all(member.accuracy == pytest.approx(2 / 3) for member in members)
    assert vote(members, greedy(members)).accuracy == 1
    assert cross_fitted(members, np.arange(90) % 5).accuracy == 1


def test_one_member_and_equal_members():
    member = noisy(signal=1.0)
    assert greedy([member]).tolist() == [1.0]
    np.testing.assert_array_equal(cross_fitted([member], FOLDS).probabilities, member.probabilities)
    weights = greedy([member] * 3)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(vote([member] * 3, weights).probabilities, member.probabilities, atol=1e-6)


def test_a_member_that_only_harms_gets_nothing():
    good, labels = noisy(signal=6.0), np.arange(120) % 4
    bad = predicted(np.eye(4)[(labels + 1) % 4], labels)
    assert greedy([bad, good])[0] == 0
    assert greedy([good, bad], rounds=1).tolist() == [1.0, 0.0]


def test_of_members_with_as_many_right_the_one_of_less_loss_is_taken():
    labels = np.array([0, 1])
    unsure, sure = predicted([[0.6, 0.4], [0.4, 0.6]], labels), predicted([[0.9, 0.1], [0.1, 0.9]], labels)
    assert greedy([unsure, sure]).tolist() == [0.0, 1.0]


def test_the_vote_on_a_fold_is_chosen_on_the_others():
    """A member that is right on one fold alone is not taken there."""
    labels = np.arange(120) % 4
    good = noisy(signal=2.0)
    for fold in range(5):
        here = (fold == FOLDS)[:, None]
        only_here = predicted(np.where(here, np.eye(4)[labels], np.eye(4)[(labels + 1) % 4]), labels)
        said = cross_fitted([good, only_here], FOLDS)
        np.testing.assert_allclose(said.probabilities[here[:, 0]], good.probabilities[here[:, 0]], atol=1e-6)


def test_of_pure_noise_the_cross_fitted_accuracy_stays_at_chance():
    honest, flattering = [], []
    for draw in range(30):
        labels = np.random.default_rng(draw).permutation(np.arange(120) % 4)
        members = [noisy(seed=1000 * draw + number, labels=labels) for number in range(12)]
        honest.append(cross_fitted(members, FOLDS).accuracy)
        flattering.append(vote(members, greedy(members)).accuracy)
    assert np.mean(honest) == pytest.approx(0.25, abs=0.025)  # of 3,600 answers one deviation is 0.007
    assert np.mean(flattering) > 0.33, "what choosing and measuring on the same images would say"
