"""Values are written and read back as they were, and a file cannot ask for anything but values of this project."""

import json
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from experiments.stn.measures import Undone
from tl_keras import values
from tl_keras.data.augment import FlipShift, RandAugment, RandomResizedCrop
from tl_keras.data.deform import Elastic
from tl_keras.data.selection import ByClass, FewImages, Selection
from tl_keras.data.view import View, standard
from tl_keras.errors import InputError
from tl_keras.study.trial import Trial
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import strategies

RECIPE = Recipe(2, 32, 1e-3)
VALUES = [
    View((28, 28), scaled=(32, 30), channels=1, mirror=False),
    standard((224, 224)),
    Selection("digits", validation=20),
    ByClass("a folder/é", classes=(4, 9)),
    FewImages("mnist", per_class=30, draw=1, draws=5, largest=90),
    RECIPE,
    Recipe(2, 32, None, clip_norm=1.0, views=3),
    *(strategies.find(name, stages=2) for name in strategies.NAMES),
    FlipShift(flip=False),
    RandomResizedCrop((96, 96), area=(0.5, 1.0)),
    RandAugment(0.2, layers=1),
    Elastic(seed=3),
    Undone(probed=7),
    Trial("B", "B", "part B", Selection("digits"), View((32, 32)), "cnn", RECIPE),
    Trial(
        "B_last_seed1", "B_last", "part B", ByClass("digits", classes=(9, 4)), View((32, 32)), "cnn", RECIPE,
        start="A", strategy=strategies.find("gradual", stages=3), seed=1, augment=FlipShift(), measures=(Undone(),),
    ),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_what_is_written_is_read(value):
    written = json.dumps(values.to_json(value))
    again = values.from_json(json.loads(written))
    assert again == value and type(again) is type(value) and hash(again) == hash(value)
    assert json.dumps(values.to_json(again)) == written


def test_different_values_are_written_differently():
    assert len({json.dumps(values.to_json(value)) for value in VALUES}) == len(VALUES)


def test_a_value_says_its_kind():
    assert values.to_json(View((28, 14))) == {
        "kind": "tl_keras.data.view.View", "size": [28, 14], "scaled": None, "resampling": "bilinear", "channels": 3,
        "mirror": True,
    }  # fmt: skip


@pytest.mark.parametrize("plain", [None, True, 3, 0.1, "é", (), (1, (2, None)), {"a": (1, {"b": 2.5})}])
def test_plain_values_are_themselves(plain):
    assert values.from_json(json.loads(json.dumps(values.to_json(plain)))) == plain


def test_lists_come_back_as_tuples():
    assert values.from_json(values.to_json([1, [2, View((8, 8))]])) == (1, (2, View((8, 8))))


@pytest.mark.parametrize("value", [np.zeros(2), {1, 2}, View, object(), b"bytes", (1, {"a": [np.zeros(1)]})],
                         ids=lambda value: type(value).__name__)  # fmt: skip
def test_what_is_no_value_is_not_written(value):
    with pytest.raises(TypeError, match=r"expected a dataclass or a plain value, received .*; make it a dataclass"):
        values.to_json(value)


@dataclass(frozen=True)
class Foreign:
    """A dataclass, but of the tests."""

    size: int = 3


OUTSIDE = ["os.system", "subprocess.Popen", "builtins.eval", "antigravity.fly", "dataclasses.field", "tests.x",
           "tl_kerasx.data.view.View", "Tl_keras.data.view.View", "os", "", ".", ".View", 3, None, [],
           f"{Foreign.__module__}.Foreign"]  # fmt: skip


@pytest.mark.parametrize("kind", OUTSIDE, ids=repr)
def test_kinds_outside_the_project_are_refused_unseen(kind, monkeypatch):
    monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"imported {name}"))
    with pytest.raises(InputError, match=r"received the kind .*it is not of tl_keras or experiments") as caught:
        values.from_json({"kind": kind, "args": ["rm", "-rf"]})
    assert "\n" not in str(caught.value) and "antigravity" not in sys.modules


UNKNOWN = ["tl_keras.data.view.Vision", "tl_keras.data.sight.View", "tl_keras.data.view", "tl_keras.files.os.system",
           "tl_keras.quiet.subprocess.Popen", "tl_keras.View", "experiments.nosuch.Settings", "tl_keras..View",
           "tl_keras.data.view.View.of", "experiments..X"]  # fmt: skip
NO_VALUES = ["tl_keras.run.main", "tl_keras.quiet.subprocess", "tl_keras.data.chunks.ThreadPool", "tl_keras.files.os",
             "tl_keras.errors.InputError", "tl_keras.run_folder.shutil", "tl_keras.processes.ProcessPoolExecutor",
             "tl_keras.data.view.RESAMPLING"]  # fmt: skip


@pytest.mark.parametrize("kind", [*UNKNOWN, *NO_VALUES])
def test_kinds_that_are_no_dataclass_of_the_project_are_refused(kind):
    with pytest.raises(
        InputError, match=r"value: expected one that .* knows, received the kind .*start a new"
    ) as caught:
        values.from_json({"kind": kind})
    assert "\n" not in str(caught.value) and repr(kind) in str(caught.value)


@pytest.mark.parametrize(
    "parts, said",
    [({}, "size"), ({"size": [8, 8], "turned": 90}, "turned"), ({"size": [0, 8]}, "at least 1 and no larger"),
     ({"size": 8}, "tl_keras.data.view.View"), ({"size": [8, 8, 8]}, "tl_keras.data.view.View")],
)  # fmt: skip
def test_other_fields_than_a_kind_has_are_refused(parts, said):
    with pytest.raises(InputError, match=said):
        values.from_json({"kind": "tl_keras.data.view.View"} | parts)


def test_a_refused_part_refuses_the_whole():
    whole = values.to_json(VALUES[-1])
    whole["images"]["kind"] = "shutil.rmtree"
    with pytest.raises(InputError, match=r"'shutil\.rmtree'"):
        Trial.from_json(whole)
    with pytest.raises(InputError, match="trial: expected one, received View; start a new run"):
        Trial.from_json(values.to_json(View((8, 8))))
