"""An arm over its seeds, and what transfer did to it: numbers by hand."""

from dataclasses import replace

import numpy as np
import pytest

from tests.made_up_records import made_up_record, with_correct
from tl_keras.errors import InputError
from tl_keras.evaluation.arms import Arm, arms_of
from tl_keras.evaluation.transfer_effect import effect, leads


def right_on(first, last=None, count=100):
    """Whether each of `count` images was recognised: those from `first` up to `last`, or the first `first`."""
    start, stop = (0, first) if last is None else (first, last)
    return (np.arange(count) >= start) & (np.arange(count) < stop)


def arm(name, masks, *curves, seconds=1.0):
    """Networks that are right on the images of their mask, with these accuracies after every epoch."""
    made = with_correct(name, masks, title=name, seconds=seconds)
    histories = [{"epoch": list(range(1, len(curve) + 1)), "val_accuracy": list(curve)} for curve in curves]
    records = [
        replace(record, history=history)
        for record, history in zip(made.records, histories or [{}] * len(masks), strict=True)
    ]
    return Arm(name, name, tuple(records))


# --------------------------------------------------------------------------------------------------- arms


def test_the_interval_counts_the_images_and_the_seeds_where_there_are_several():
    one, three = arm("one", [right_on(90)]), arm("three", [right_on(80), right_on(90), right_on(100)])
    assert (one.interval().n, round(one.interval().low, 4)) == (100, 0.8256)
    assert three.interval().n == 100
    assert three.interval().low < 0.9 - 0.2484, "wider than over the seeds alone: s / sqrt(3) * t(.975, 2)"
    assert (one.interval().kind, three.interval().kind) == (
        "Wilson's, over images",
        "Wilson's, over images and seeds",
    )
    assert (one.accuracy, three.accuracy) == (pytest.approx(0.9), pytest.approx(0.9))
    assert three.correct().shape == (3, 100)


def test_equal_networks_are_exactly_equal_whatever_the_order_of_their_seeds():
    masks = [right_on(number, count=10) for number in (1, 2, 4)]
    assert arm("first", masks).accuracy == arm("second", masks[::-1]).accuracy


def test_the_curve_of_several_seeds_is_their_mean():
    both = arm("both", [right_on(50)] * 2, (0.2, 0.4), (0.4, 0.8))
    np.testing.assert_allclose(both.mean_curve("val_accuracy"), [0.3, 0.6])


def test_an_arm_is_shown_by_its_first_seed():
    both = arm("both", [right_on(50), right_on(60)], seconds=3.0)
    assert both.first is both.records[0] and both.seconds == 3.0 and both.first.test.accuracy == 0.5


def test_another_split_may_be_judged_by():
    records = tuple(made_up_record("A", seed, splits=("test", "validation"), images=40) for seed in (0, 1))
    seen = Arm("A", "A", records)
    assert seen.correct("validation").shape == (2, 40)
    np.testing.assert_array_equal(seen.correct("validation")[1], records[1].predictions["validation"].correct)
    assert seen.interval("validation").mean == pytest.approx(seen.correct("validation").mean())
    with pytest.raises(InputError, match="A: expected predictions of unlabelled images, received none; start a new"):
        seen.predictions("unlabelled")


def test_records_are_gathered_by_arm_in_the_order_of_the_trials_and_by_seed():
    trials = [("B", 1), ("A", 0), ("B", 0), ("C", 0), ("B", 2)]
    found = arms_of(made_up_record(name, seed, title=f"the arm {name}") for name, seed in trials)
    assert [(each.name, [record.seed for record in each.records]) for each in found] == [
        ("B", [0, 1, 2]), ("A", [0]), ("C", [0]),
    ]  # fmt: skip
    assert found[0].title == "the arm B"


def test_arms_may_be_asked_for_by_name():
    records = [made_up_record(name) for name in "ABC"]
    assert [each.name for each in arms_of(records, ["C", "nosuch", "A"])] == ["C", "A"]
    assert arms_of([]) == []


# ------------------------------------------------------------------------------------------ what transfer did


def test_effect_by_hand():
    base = arm("base", [right_on(80)], (0.5, 0.6, 0.65, 0.7, 0.74, 0.78, 0.8), seconds=20)
    reuse = arm("reuse", [right_on(85)], (0.7, 0.74, 0.8, 0.79, 0.82, 0.84, 0.85), seconds=3)
    seen = effect(reuse, base)
    assert (seen.start, seen.final, seen.seconds, seen.reaches_baseline) == (0.7, 0.85, 3, 3)
    assert seen.slope == pytest.approx((0.82 - 0.7) / 4)
    assert effect(base, reuse).reaches_baseline is None
    assert effect(base, base).reaches_baseline == 7


@pytest.mark.parametrize("curve, slope", [((0.6,), 0.0), ((0.6, 0.7), 0.1), ((0.6, 0.5, 0.9), 0.15)])
def test_short_trainings_have_a_slope(curve, slope):
    short = arm("short", [right_on(80)], curve)
    assert effect(short, short).slope == pytest.approx(slope)


def test_leads_by_hand():
    best, second, third = (arm(name, [right_on(count)]) for name, count in (("a", 90), ("b", 88), ("c", 70)))
    winner, gaps = leads([third, best, second])
    assert winner is best and [lead.other for lead in gaps] == [second, third]
    assert [lead.points for lead in gaps] == pytest.approx([2, 20])
    assert [lead.p_value for lead in gaps] == pytest.approx(
        [0.5, 3 * 2 / 2**20]
    )  # Holm: .5 * 1; 2 ** -19 * 3, of three pairs
    assert [lead.is_real for lead in gaps] == [False, True]


def test_an_arm_alone_leads_nobody():
    alone = arm("alone", [right_on(90)])
    assert leads([alone]) == (alone, [])


def test_made_up_predictions_are_right_where_they_say():
    np.testing.assert_array_equal(arm("net", [right_on(3, 7, count=10)]).correct()[0], right_on(3, 7, count=10))
