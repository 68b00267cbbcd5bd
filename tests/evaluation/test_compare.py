"""Intervals and tests against numbers worked by hand."""

import numpy as np
import pytest
from scipy import stats

from tl_keras.evaluation.compare import (
    accuracy_interval,
    all_pairs,
    counts_training,
    holm,
    mean_interval,
    over_trainings,
    paired_p_value,
    proportion_interval,
    share_interval,
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
    interval = mean_interval([0.90, 0.92, 0.94])  # s = .02, t(.975, 2) = 4.302653: half = 4.302653 * .02 / sqrt(3)
    assert (interval.mean, interval.n) == (pytest.approx(0.92), 3)
    assert (interval.low, interval.high) == (pytest.approx(0.870317, abs=1e-6), pytest.approx(0.969683, abs=1e-6))


def test_an_interval_says_of_which_kind_it_is():
    one, two = proportion_interval(9, 10), share_interval([0.5, 0.6], 10)
    kinds = ["Wilson's, over images", "Wilson's, over images and seeds", "Student's"]
    assert [one.kind, two.kind, mean_interval([2.0, 3.0]).kind] == kinds


def test_seeds_that_agree_leave_the_interval_of_the_images():
    correct = np.tile(np.arange(153) < 139, (3, 1))
    same, wilson = accuracy_interval(correct), proportion_interval(139, 153)
    assert (same.mean, same.low, same.high) == pytest.approx((wilson.mean, wilson.low, wilson.high))
    assert (round(same.low, 3), round(same.high, 3), same.n) == (0.852, 0.945, 153)
    assert accuracy_interval(correct[:1]) == wilson
    shares = share_interval([139 / 153] * 3, 153)
    assert (shares.low, shares.high) == pytest.approx((wilson.low, wilson.high))
    assert share_interval([139 / 153], 153) == wilson


def test_seeds_that_scatter_count_as_students_interval_over_seeds_where_images_are_many():
    # Three networks right on 80, 90 and 100% of so many images that these add nothing: s / sqrt(3) = 0.057735, times
    # t(.975, 2) = 4.302653 is 0.248414, which for Wilson's is the interval of .9 * .1 * 1.959964^2 / 0.248414^2 = 5.6
    # images.
    count = 100_000
    correct = np.stack([np.arange(count) % 10 < limit for limit in (8, 9, 10)])
    expected = wilson(0.9, 0.09 * 1.959964**2 / 0.248414**2)
    for found in (accuracy_interval(correct), share_interval([0.8, 0.9, 1.0], count)):
        assert (found.low, found.high) == pytest.approx(expected, abs=2e-4)


def wilson(mean, count):
    wide = 1.959964**2
    half = (wide * (mean * (1 - mean) / count + wide / (4 * count**2))) ** 0.5
    return [(mean + wide / (2 * count) + sign * half) / (1 + wide / count) for sign in (-1, 1)]


def tables(seeds, count, rng):
    """Whether images were recognised, bool (seeds, N), with every kind of agreement between seeds."""
    kind, rate = rng.integers(4), rng.choice([0.0, 0.5, 0.97, 1.0])
    if kind == 0:
        return rng.random((seeds, count)) < rate
    if kind == 1:
        return np.tile(rng.random(count) < rate, (seeds, 1))
    if kind == 2:
        return np.tile(rng.random((seeds, 1)) < rate, (1, count))
    correct = np.ones((seeds, count), bool)
    correct[0, 0] = False
    return correct


@pytest.mark.parametrize("seeds", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [1, 2, 5, 60])
def test_any_tables_give_an_interval_and_a_p_value(seeds, count):
    rng = np.random.default_rng([seeds, count])
    for _ in range(60):
        first, second = tables(seeds, count, rng), tables(int(rng.integers(1, 4)), count, rng)
        found, (low, high) = accuracy_interval(first), wilson(first.mean(), count)
        assert 0 <= found.low <= found.mean <= found.high <= 1
        assert found.low <= low + 1e-6 and found.high >= high - 1e-6, "never narrower than the test set allows"
        p_value = paired_p_value(first, second)
        assert 0 <= p_value <= 1
        assert p_value == pytest.approx(paired_p_value(second, first))


def test_one_image_on_which_two_arms_differ_is_no_difference():
    first = np.ones((3, 100), bool)
    second = first.copy()
    second[1, 4] = False
    assert paired_p_value(first, second) == 1.0


def test_over_trainings_the_means_count_and_one_training_keeps_its_interval():
    measured = [proportion_interval(count, 100) for count in (80, 90, 85)]
    assert over_trainings(measured[:1]) is measured[0]
    assert over_trainings(measured) == mean_interval([0.8, 0.9, 0.85])


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


def test_few_images_and_several_seeds_are_never_surer_than_the_sign_test():
    first = np.ones((2, 5), bool)  # five images, all better: 2 of the 32 sign patterns are as extreme
    second = np.array([[False] * 5, [True, True, False, False, False]])
    assert paired_p_value(first, second) >= 2 / 32


def test_seeds_that_scatter_are_held_against_their_scatter():
    # 100 and 90, 80 and 70 of 100 images right: the seeds' variances are .005 each, the means' .0025 each. Images add
    # 0: those that differ do so for the seeds alone, or nearly so.
    right = [np.arange(10_000) % 100 < count for count in (100, 90, 80, 70)]
    first, second = np.stack(right[:2]), np.stack(right[2:])
    p_value = paired_p_value(first, second)
    t, freedom = 0.2 / (2 * 0.0025) ** 0.5, 2
    assert p_value == pytest.approx(2 * stats.t.sf(t, freedom), rel=0.02), "Student's test of the accuracies alone"
    assert paired_p_value(first[:1], second[:1]) < 1e-9, "the very networks do differ"
    assert (counts_training(first, second), counts_training(first[:1], second)) == (True, False)


def seeds(rate, rng, count=400):
    return rng.random((3, count)) < rate


def test_several_seeds_tell_a_clear_difference_from_none():
    rng = np.random.default_rng(0)
    strong, weak, alike = seeds(0.9, rng), seeds(0.7, rng), seeds(0.9, rng)
    assert paired_p_value(strong, weak) < 0.01
    assert paired_p_value(strong, alike) > 0.1
    assert paired_p_value(strong, strong[::-1]) == 1.0


def recipes(rng, count, images=1_000, spread=0.1):
    """Arms of one recipe: three trainings each, whose accuracies scatter by about two points."""
    ease, ability = rng.normal(1.3, 0.9, images), rng.normal(0, spread, (count, 3, 1))
    return list(ease + ability + rng.normal(0, 0.4, (count, 3, images)) > 0)


def test_arms_of_one_recipe_are_seldom_called_different():
    rng = np.random.default_rng(0)
    alarms = [paired_p_value(*recipes(rng, 2)) < 0.05 for _ in range(300)]
    assert np.mean(alarms) <= 0.06
    single = [paired_p_value(*(arm[:1] for arm in recipes(rng, 2))) < 0.05 for _ in range(300)]
    assert np.mean(single) > 0.2, "of single networks the test asks another thing"


def test_whichever_of_many_arms_is_picked_the_error_stays():
    rng = np.random.default_rng(1)
    families = [recipes(rng, 6, spread=0.0) for _ in range(200)]
    picked = [all_pairs(arms)[int(np.argmax([arm.mean() for arm in arms]))].min() < 0.05 for arms in families]
    assert np.mean(picked) <= 0.06


def test_all_pairs_are_adjusted_together():
    arms = [np.arange(100)[None] < right for right in (90, 80, 20)]
    raw = [paired_p_value(arms[one], arms[other]) for one, other in ((0, 1), (0, 2), (1, 2))]
    found = all_pairs(arms)
    np.testing.assert_allclose([found[0, 1], found[0, 2], found[1, 2]], holm(raw))
    np.testing.assert_allclose(found, found.T)
    assert np.diag(found).tolist() == [1.0] * 3


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
