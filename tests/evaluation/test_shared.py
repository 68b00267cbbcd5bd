"""Arms of several runs are compared on the images that all of them answered, and on no other."""

from dataclasses import replace

import numpy as np
import pytest

from tests.made_up_records import made_up_record
from tl_keras.evaluation.arms import Arm, arms_of
from tl_keras.evaluation.shared import groups
from tl_keras.records import Predictions


def record(name, ids, data="digits", class_names=("cat", "dog"), labels=None, seed=0):
    """A network that answered images `ids`; what it says of image `i` depends on its name and on `i` alone."""
    labels = np.array([int(number) % 2 for number in ids] if labels is None else labels)
    sure = np.array([0.5 + (ord(name[0]) * 7 + int(number) * 13 + seed) % 50 / 100 for number in ids])
    probabilities = np.where(labels[:, None] == [0, 1], sure[:, None], 1 - sure[:, None]).astype("float32")
    made = made_up_record(name, seed, images=8, classes=class_names)
    test = Predictions(np.array([str(number) for number in ids]), labels, probabilities)
    return replace(made, data=made.data | {"name": data}, predictions={"test": test, "validation": test})


def arm(name, ids, **options):
    (made,) = arms_of([record(name, ids, **options)])
    return made


def names(found):
    return [[each.name for each in group] for group in found]


def ids(each: Arm):
    return each.first.test.ids.tolist()


def test_arms_on_the_same_images_are_one_group_in_one_order():
    first, second = arm("a", range(6)), arm("b", [5, 3, 1, 0, 2, 4])
    ((one, other),) = groups([first, second])
    assert ids(one) == ids(other) and sorted(ids(one)) == list("012345")
    assert one.first.test.labels.tolist() == other.first.test.labels.tolist()
    for kept, whole in ((one, first), (other, second)):
        for number, row in zip(kept.first.test.ids, kept.first.test.probabilities, strict=True):
            np.testing.assert_array_equal(row, whole.first.test.probabilities[whole.first.test.ids == number][0])
    assert one.accuracy == pytest.approx(first.accuracy) and other.title == second.title


def test_a_group_is_cut_to_what_all_of_it_share():
    found = groups([arm("a", range(8)), arm("b", range(2, 10)), arm("c", [9, 2, 4, 6, 20])])
    assert names(found) == [["a", "b", "c"]]
    assert [ids(each) for each in found[0]] == [["2", "4", "6"]] * 3


def test_arms_that_share_no_image_stand_in_groups_of_their_own():
    found = groups([arm("a", range(4)), arm("b", range(4, 8)), arm("c", [1, 2]), arm("d", [5])])
    assert names(found) == [["a", "c"], ["b", "d"]]
    assert ids(found[1][0]) == ["5"]


@pytest.mark.parametrize(
    "other",
    [{"data": "mnist"}, {"class_names": ("ant", "bee")}, {"labels": [1, 0, 1, 0]}],
    ids=["set", "classes", "labels"],
)
def test_an_image_is_the_same_where_set_id_and_class_are(other):
    assert names(groups([arm("a", range(4)), arm("b", range(4), **other)])) == [["a"], ["b"]]


def test_classes_may_be_numbered_otherwise():
    swapped = arm("b", range(4), class_names=("dog", "cat"), labels=[1, 0, 1, 0])
    ((one, other),) = groups([arm("a", range(4)), swapped])
    assert ids(one) == ids(other)
    assert one.first.test.labels.tolist() == [1 - label for label in other.first.test.labels]


def test_every_seed_is_cut():
    seeds = [record("a", range(6), seed=seed) for seed in (0, 1)]
    (both,) = arms_of(seeds)
    ((cut, _),) = groups([both, arm("b", [1, 3])])
    assert [kept.test.ids.tolist() for kept in cut.records] == [["1", "3"]] * 2 and cut.correct().shape == (2, 2)
    assert [kept.seed for kept in cut.records] == [0, 1]


def test_seeds_that_measured_other_images_are_compared_on_those_of_all():
    (both,) = arms_of([record("a", range(6)), record("a", range(2, 9), seed=1)])
    ((cut, other),) = groups([both, arm("b", range(1, 9))])
    assert [kept.test.ids.tolist() for kept in cut.records] == [list("2345")] * 2 == [ids(other)] * 2


def test_only_the_test_images_are_compared():
    ((one, _),) = groups([arm("a", range(6)), arm("b", range(6))])
    assert set(one.first.predictions) == {"test"}


def test_nothing_gives_no_group():
    assert groups([]) == []
