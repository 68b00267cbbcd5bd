"""Intervals and tests against numbers worked by hand."""

import numpy as np
import pytest

from tl_keras.evaluation.compare import (
    accuracy_interval,
    holm,
    mean_interval,
    over_trainings,
    paired_p_value,
    proportion_interval,
    seed_interval,
)


def outcomes(wins, losses, both=20, neither=5):
    first = [True] * wins + [False] * losses + [True] * both + [False] * neither
    second = [False] * wins + [True] * losses + [True] * both + [False] * neither
    return np.array([first]), np.array([second])


@pytest.mark.parametrize(
    "correct, count, low, high",
    [(90, 100, 0.8256, 0.9448), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (1, 2, 0.0945, 0.9055)],
)
def test_wilson_interval(correct, count, low, high):
    interval = proportion_interval(correct, count)
    assert (interval.mean, interval.n) == (correct / count, count)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_student_interval():
    interval = seed_interval([0.90, 0.92, 0.94])  # s = .02, t(.975, 2) = 4.302653: half = 4.302653 * .02 / sqrt(3)
    assert interval.mean == pytest.approx(0.92)
    assert (interval.low, interval.high) == (pytest.approx(0.870317, abs=1e-6), pytest.approx(0.969683, abs=1e-6))
    assert interval.n == 3
    two = seed_interval([0.50, 0.52])  # s / sqrt(2) = .01, t(.975, 1) = 12.7062
    assert (two.low, two.high) == (pytest.approx(0.382938, abs=1e-6), pytest.approx(0.637062, abs=1e-6))


def test_an_interval_says_of_which_kind_it_is():
    kinds = [proportion_interval(9, 10).kind, seed_interval([0.5, 0.6]).kind, mean_interval([2.0, 3.0]).kind]
    assert kinds == ["Wilson's, over images", "Student's, over seeds", "Student's"]


def test_an_accuracy_has_the_interval_of_its_images_or_of_its_seeds():
    correct = np.array([[True] * 9 + [False], [True] * 7 + [False] * 3])
    assert accuracy_interval(correct[:1]) == proportion_interval(9, 10)
    assert accuracy_interval(correct) == seed_interval([0.9, 0.7])


def test_over_trainings_the_means_count_and_one_training_keeps_its_interval():
    measured = [proportion_interval(count, 100) for count in (80, 90, 85)]
    assert over_trainings(measured[:1]) is measured[0]
    assert over_trainings(measured) == mean_interval([0.8, 0.9, 0.85])


def test_no_interval_leaves_what_accuracies_can_be():
    assert (seed_interval([0.9, 1.0]).high, seed_interval([0.0, 0.1]).low) == (1.0, 0.0)


@pytest.mark.parametrize(
    "wins, losses, p",
    [(8, 2, 2 * (1 + 10 + 45) / 2**10), (6, 0, 2 / 2**6), (1, 0, 1.0), (3, 3, 1.0), (0, 0, 1.0)],
)
def test_mcnemars_exact_test(wins, losses, p):
    first, second = outcomes(wins, losses)
    assert paired_p_value(first, second) == pytest.approx(p)
    assert paired_p_value(second, first) == pytest.approx(p)


def test_images_on_which_both_agree_do_not_count():
    for both, neither in ((0, 0), (500, 300)):
        assert paired_p_value(*outcomes(8, 2, both, neither)) == pytest.approx(112 / 1024)


def test_few_images_and_several_seeds_are_counted_out():
    first = np.ones((2, 5), bool)  # five images, all better: 2 of the 32 sign patterns are as extreme
    second = np.array([[False] * 5, [True, True, False, False, False]])
    assert paired_p_value(first, second) == pytest.approx(2 / 32)


def seeds(rate, rng, count=400):
    return rng.random((3, count)) < rate


def test_sign_flips_tell_a_clear_difference_from_none():
    rng = np.random.default_rng(0)
    strong, weak, alike = seeds(0.9, rng), seeds(0.7, rng), seeds(0.9, rng)
    assert paired_p_value(strong, weak) < 0.001
    assert paired_p_value(strong, alike) > 0.1
    assert paired_p_value(strong, weak) == pytest.approx(paired_p_value(weak, strong))
    assert paired_p_value(strong, alike) == pytest.approx(paired_p_value(alike, strong))
    assert paired_p_value(strong, strong[::-1]) == 1.0
    assert paired_p_value(strong, alike, seed=1) == pytest.approx(paired_p_value(strong, alike), abs=0.03)


def test_noise_alone_is_called_a_difference_as_often_as_it_says():
    rng = np.random.default_rng(0)
    p_values = np.array([paired_p_value(rng.random((1, 90)) < 0.8, rng.random((1, 90)) < 0.8) for _ in range(300)])
    assert np.mean(p_values < 0.05) < 0.08, "an exact test holds its level"
    assert np.mean(p_values < 0.5) > 0.25, "and is not blind"


@pytest.mark.parametrize(
    "p_values, adjusted",
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.04, 0.01], [0.04, 0.02]),
        ([0.02, 0.021], [0.04, 0.04]),
        ([0.6, 0.7], [1.0, 1.0]),
        ([0.2], [0.2]),
    ],
)
def test_holm(p_values, adjusted):
    assert holm(p_values) == pytest.approx(adjusted)
