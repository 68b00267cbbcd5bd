"""A trial is a value: it survives JSON and pickling, repeats under new names, and comes behind what it starts from."""

import json
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import pytest

from tests.isolation import ROOT
from tl_keras.data.augment import FlipShift
from tl_keras.data.selection import ByClass, Selection
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.study.trial import Trial, in_order, repeated
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import strategies

STUDIES = ("cifar_ab", "ants_bees", "finetune", "mnist_sizes", "cs5304", "stn_mnist", "stn_elastic")


def trial(name="A", **given):
    made = Trial(name, name, f"network {name}", Selection("digits"), View((32, 32)), "cnn", Recipe(2, 32, 1e-3))
    return replace(made, **given)


def test_json_and_pickling_give_the_same_trial():
    value = trial(
        images=ByClass("digits", classes=(4, 9)), augment=FlipShift(flip=False), strategy=strategies.find("lp_ft"),
        start="B", view=View((28, 28), channels=1, mirror=False),
    )  # fmt: skip
    assert Trial.from_json(json.loads(json.dumps(value.to_json()))) == value
    assert pickle.loads(pickle.dumps(value)) == value and hash(value) == hash(pickle.loads(pickle.dumps(value)))
    with pytest.raises(FrozenInstanceError):
        value.seed = 1


def test_another_value_is_no_trial():
    with pytest.raises(InputError, match="trial: expected one, received View"):
        Trial.from_json(trial().to_json()["view"])
    with pytest.raises(InputError, match="expected one that this version of the project knows"):
        Trial.from_json(trial().to_json() | {"network_of_tomorrow": "vit"})


def test_repetitions_have_their_seed_in_name_weights_and_order():
    first, second = repeated(trial("B"), [3, 4])
    assert (first.name, second.name) == ("B", "B_seed4") and first.arm == second.arm == "B"
    assert [(each.seed, each.recipe.seed) for each in (first, second)] == [(3, 3), (4, 4)]


def test_each_comes_behind_the_one_that_it_starts_from():
    trials = [trial("C", start="B"), trial("A"), trial("B", start="A")]
    assert [each.name for each in in_order(trials)] == ["A", "B", "C"]


@pytest.mark.parametrize(
    "trials, said",
    [
        ([trial("A"), trial("A")], "expected different names, received A twice"),
        ([trial("A", start="Z")], "A: expected to start from one of A that ends before, received Z"),
        ([trial("A", start="B"), trial("B", start="A")], "expected to start from one of A, B"),
    ],
)
def test_trials_that_cannot_be_ordered(trials, said):
    with pytest.raises(InputError, match=said):
        in_order(trials)


LIGHT = """
import importlib, sys
from tl_keras.study.trial import Trial
study = importlib.import_module("experiments." + sys.argv[1])
given = {"data": "digits"} if sys.argv[1] == "finetune" else {}
if sys.argv[1] in ("finetune", "ants_bees", "cs5304", "mnist_sizes"):
    given |= {"backbone": "mobilenet_0.25", "weights": "none"}
settings = study.Settings(**given)
images = study.load(settings)
if hasattr(study, "resolve"):
    settings = study.resolve(settings, images, None)
trials = study.trials(settings, images)
assert all(Trial.from_json(each.to_json()) == each for each in trials)
print(len(trials), *sorted({"tensorflow", "keras", "matplotlib"} & set(sys.modules)))
"""


@pytest.mark.parametrize("name", STUDIES)
def test_the_trials_of_every_study_are_values_and_need_no_tensorflow(isolated_place, name):
    done = subprocess.run([sys.executable, "-c", LIGHT, name], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    count, *imported = done.stdout.split()
    assert int(count) >= 2 and imported == []
