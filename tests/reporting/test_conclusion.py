"""Findings are sentences that a person reads: short, the winner first, and true whatever order the arms come in."""

import numpy as np
import pytest

from tests.made_up_records import made_up_arms, made_up_record, with_correct
from tl_keras.evaluation.arms import Arm
from tl_keras.reporting import conclusion


def right_on(correct, count=100):
    return np.arange(count) < correct


def named(title, masks, **options):
    return with_correct(title.lower(), masks, title=title, **options)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_the_verdict_names_the_winner_and_says_what_is_noise(order):
    made = [named("Alpha", [right_on(90)]), named("Beta", [right_on(88)]), named("Gamma", [right_on(70)])]
    assert conclusion.verdict([made[number] for number in order]) == [
        "Alpha came out ahead: 90.0% of 100 test images (95% interval 82.6 to 94.5).",
        "Its lead over Gamma is more than noise on these test images: 20 points, p < 0.001.",
        "Its lead over Beta may be noise: 2 points, p = 0.500.",
        conclusion.ONCE,
    ]


def test_several_of_a_kind_share_a_sentence():
    made = [named(title, [right_on(correct)]) for title, correct in zip("ABCD", (95, 80, 60, 93), strict=True)]
    assert conclusion.verdict(made)[1:] == [
        "Its lead over B and C is more than noise on these test images: 15 to 35 points, p < 0.001.",
        "Its lead over D may be noise: 2 points, p = 0.500.",
        conclusion.ONCE,
    ]


def test_with_several_seeds_the_lead_is_one_of_ways_to_train():
    rng = np.random.default_rng(0)
    made = [named(title, rng.random((3, 400)) < rate) for title, rate in (("A", 0.9), ("B", 0.88), ("C", 0.6))]
    first, real, noise = conclusion.verdict(made)
    assert first.startswith("A came out ahead: ")
    assert real.startswith("Its lead over C is more than noise of training and test images: ")
    assert noise.startswith("Its lead over B may be noise of training and images: ")
    mixed = conclusion.verdict([*made[:2], named("C", rng.random((1, 400)) < 0.6)])
    assert mixed[1].startswith("Its lead over C is more than noise on these test images: ")
    assert mixed[-1] == conclusion.ONCE


def test_an_accuracy_at_chance_is_called_so():
    labelled = [named(title, [right_on(correct)]) for title, correct in (("A", 90), ("B", 53), ("C", 55))]
    said = "No better than always naming the commonest class (50.0%): "
    assert conclusion.verdict(labelled)[-1] == f"{said}B and C."
    assert conclusion.verdict(labelled[1:2])[-1] == f"{said}B."
    assert not any(sentence.startswith("No better") for sentence in conclusion.verdict(labelled[:1]))


def test_one_arm_alone_is_not_ahead_of_anything():
    two = [named("Alpha", [right_on(90)]), named("Beta", [right_on(70)])]
    assert conclusion.verdict(two)[0].startswith("Alpha came out ahead: 90.0% ")
    alone = conclusion.verdict(two[:1])
    assert alone == ["Alpha recognised 90.0% of 100 test images (95% interval 82.6 to 94.5)."]


def test_equal_arms_are_called_equal():
    alike = [named("Alpha", [right_on(90)]), named("Beta", [~right_on(10)])]
    said = "Alpha and Beta came out alike: 90.0% of 100 test images (95% interval 82.6 to 94.5)."
    assert conclusion.verdict(alike) == [said]
    shared = conclusion.verdict([*alike, named("Gamma", [right_on(20)])])
    assert shared[0].startswith("Alpha and Beta share the lead: 90.0% ")
    assert shared[1].startswith("Their lead over Gamma is more than noise")


def test_seeds_in_another_order_are_equal_too():
    masks = [right_on(number, count=10) for number in (1, 2, 3)]
    said, _ = conclusion.verdict([named("Alpha", masks), named("Beta", masks[::-1])])
    assert said.startswith("Alpha and Beta came out alike: 20.0% ")


def test_another_split_may_choose_and_the_test_images_are_told_beside_it():
    chosen, other = made_up_arms(2, accuracy=0.95, splits=("test", "validation"))
    swapped = Arm(other.name, other.title, tuple(
        made_up_record("x", accuracy=0.99, splits=("test",)) for _ in other.records
    ))  # fmt: skip
    swapped.first.predictions["validation"] = other.first.predictions["validation"]
    first, second, *_ = conclusion.verdict([swapped, chosen], "validation")
    assert first.startswith(f"{chosen.title} came out ahead: ") and " validation images " in first
    assert second.startswith("On test images, which chose nothing, it recognised ")
    assert f"{100 * chosen.accuracy:.1f}% of 120 test images" in second


def effect_of(curve, base_curve, seconds=2.5, title="Reuse"):
    arms = [named("Scratch", [right_on(80)], seconds=20.0), named(title, [right_on(80)], seconds=seconds)]
    for arm, values in zip(arms, (base_curve, curve), strict=True):
        arm.first.history["val_accuracy"][:] = values
    base, reuse = arms
    (sentence,) = conclusion.transfer_effects([base, reuse], base)
    return sentence


def test_the_effect_of_transfer_in_words():
    base = (0.5, 0.6, 0.65, 0.7, 0.74, 0.8)
    assert effect_of((0.7, 0.75, 0.8, 0.8, 0.78, 0.85), base) == (
        "Against Scratch, Reuse starts 20.0 points higher, ends 5.0 points higher, reaches its final level in epoch 3 "
        "and trains 8.0 times faster."
    )
    assert effect_of((0.4, 0.5, 0.6, 0.6, 0.6, 0.8 - 1e-9), base, seconds=30) == (
        "Against Scratch, Reuse starts 10.0 points lower, ends level, never reaches its final level and takes 1.5 "
        "times as long."
    )


TITLES = [
    "last layer",
    "linear probe, then fine-tuning",
    "B, last two layers re-used from network A",
    "full",
    "x " * 40,
]


@pytest.mark.parametrize("seed", range(40))
def test_no_finding_has_more_than_thirty_words(seed):
    rng = np.random.default_rng(seed)
    arms = [
        with_correct(
            f"arm{number}",
            rng.random((rng.integers(1, 4), 40)) < rng.choice([0.5, 0.9, 0.92]),
            title=str(rng.choice(TITLES)),
            epochs=int(rng.integers(1, 8)),
            seconds=float(rng.choice([0, 1, 1000])),
        )
        for number in range(rng.integers(1, 9))
    ]
    for sentence in conclusion.verdict(arms) + conclusion.transfer_effects(arms, arms[-1]):
        assert len(sentence.split()) <= 30, sentence


@pytest.mark.parametrize("p_value, text", [(0.0009, "p < 0.001"), (0.001, "p = 0.001"), (1.0, "p = 1.000")])
def test_p_values_in_words(p_value, text):
    assert conclusion.p_text(p_value) == text
