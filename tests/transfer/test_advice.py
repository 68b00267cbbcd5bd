"""The table of the four cases, at its thresholds, and that every statement says where it comes from."""

from dataclasses import FrozenInstanceError

import pytest

from tl_keras.errors import InputError
from tl_keras.transfer.advice import MEASURED, RULE, advise


@pytest.mark.parametrize(
    "images_per_class, probe_accuracy, strategy",
    [
        (122, 0.92, "last_layer"),
        (122, 0.60, "early_probe"),
        (5000, 0.92, "lp_ft"),
        (5000, 0.60, "full"),
        (499, 0.75, "last_layer"),  # the thresholds themselves: 500 images, halfway from .5 to 1
        (500, 0.75, "lp_ft"),
        (499, 0.7499, "early_probe"),
        (500, 0.7499, "full"),
        (1, 1.0, "last_layer"),
        (1, 0.0, "early_probe"),
    ],
)
def test_the_four_cases(images_per_class, probe_accuracy, strategy):
    assert advise(images_per_class, 2, probe_accuracy, chance=0.5).strategy == strategy


@pytest.mark.parametrize(
    "images_per_class, classes, probe_accuracy, strategy",
    [
        (50_000, 2, 0.5, "scratch"),
        (50_000, 2, 0.4, "scratch"),
        (50_000, 2, 0.51, "full"),  # the features know something
        (49_999, 2, 0.5, "full"),  # 99,998 images
        (400, 250, 0.5, "early_probe"),  # 100,000 images, but little for each class
    ],
)
def test_scratch_is_for_much_data_and_features_that_know_nothing(images_per_class, classes, probe_accuracy, strategy):
    assert advise(images_per_class, classes, probe_accuracy, chance=0.5).strategy == strategy


@pytest.mark.parametrize("chance, strategy", [(0.1, "last_layer"), (0.8, "early_probe")])
def test_the_probe_is_held_against_the_largest_class(chance, strategy):
    assert advise(100, 10, 0.85, chance).strategy == strategy


@pytest.mark.parametrize(
    "probe_accuracy, similarity, strategy",
    [
        (0.9, 0.5, "last_layer"),
        (0.9, 0.49, "early_probe"),
        (0.6, 0.9, "early_probe"),
        (0.6, 0.1, "early_probe"),
    ],
)
def test_one_measurement_against_it_makes_images_different(probe_accuracy, similarity, strategy):
    assert advise(100, 2, probe_accuracy, 0.5, similarity).strategy == strategy


def test_every_reason_says_whether_it_was_measured():
    advice = advise(5000, 10, 0.91, 0.1)
    assert [kind for kind, _ in advice.reasons] == [MEASURED, RULE, MEASURED, RULE, RULE]
    assert [kind for kind, _ in advise(5000, 10, 0.91, 0.1, 0.7).reasons] == [MEASURED, RULE] * 3 + [RULE]
    sentences = [sentence for _, sentence in advice.reasons]
    assert sentences[0] == "5,000 training images per class, 50,000 in all."
    assert "an accuracy of 91.0%, always naming the largest class 10.0%: 90% of the way" in sentences[2]
    assert "Much data, similar images" in sentences[4]
    assert all(sentence.endswith(".") for sentence in sentences)
    assert "no better than guessing" in advise(5000, 10, 0.1, 0.1).reasons[2][1]


def test_few_and_different_images_get_features_of_earlier_layers():
    *_, (_, why) = advise(50, 2, 0.55, 0.5).reasons
    assert why.endswith("train a linear classifier on features from earlier layers.")


def test_the_given_similarity_is_quoted():
    assert advise(5000, 10, 0.9, 0.1, 0.73).reasons[4] == (
        MEASURED,
        "The similarity of the images to those of the pre-training is 0.73.",
    )


def test_advice_is_a_value():
    advice = advise(100, 2, 0.9, 0.5)
    assert advice == advise(100, 2, 0.9, 0.5)
    with pytest.raises(FrozenInstanceError):
        advice.strategy = "full"


def test_every_strategy_is_one_that_can_be_run():
    from tl_keras.transfer import strategies

    cases = [(100, 0.9), (100, 0.6), (50_000, 0.9), (50_000, 0.6), (50_000, 0.5)]
    assert {advise(images, 2, accuracy, 0.5).strategy for images, accuracy in cases} <= set(strategies.NAMES)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"classes": 1}, "classes: expected at least 2, received 1"),
        ({"classes": 0}, "classes: expected at least 2, received 0"),
        ({"images_per_class": 0}, "images_per_class: expected above 0, received 0"),
        ({"images_per_class": float("nan")}, "images_per_class: expected above 0, received nan"),
        ({"probe_accuracy": 92.0}, "probe_accuracy: expected 0 to 1, received 92.0; give a share, not a percentage"),
        ({"probe_accuracy": float("nan")}, "probe_accuracy: expected 0 to 1, received nan"),
        ({"chance": 0.4}, "chance: expected 1 / classes to below 1, received 0.4"),
        ({"chance": 1.0}, "chance: expected 1 / classes to below 1, received 1.0"),
        ({"similarity": -0.1}, "similarity: expected 0 to 1, received -0.1"),
    ],
)
def test_numbers_that_cannot_be_are_named(change, message):
    with pytest.raises(InputError, match=message):
        advise(**{"images_per_class": 100, "classes": 2, "probe_accuracy": 0.9, "chance": 0.5} | change)
