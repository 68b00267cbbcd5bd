"""Voted trials: what the members say together, by the record and by one file."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from tests.study.test_crossfit import folded, photographs
from tests.study.test_stacking import network, out, stacked  # noqa: F401, fixtures
from tests.study.test_trial import trial
from tl_keras import records
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.evaluation import ensemble
from tl_keras.run_folder import RunFolder
from tl_keras.study import runner
from tl_keras.study.crossfit import OUT_OF_FOLD
from tl_keras.study.trial import Voted, in_order
from tl_keras.training.schedules import Recipe

VIEW = View((32, 32))


def voted(members, images, view=VIEW, name="V"):
    shared = {
        key: value for key, value in vars(trial(name)).items() if key not in ("images", "view", "network", "recipe")
    }
    return Voted(
        **{**shared, "folds": 3}, images=images, view=view, network="vote", recipe=Recipe(1, 32, 0.0), members=members
    )


def trained(name, images, view=VIEW, **given):
    return replace(folded(name, images=images), view=view, folds=3, recipe=Recipe(1, 16, 1e-3), **given)


def test_it_waits_for_its_members():
    vote = voted(("A", "B"), None)
    assert [each.name for each in in_order([vote, trial("B", start="A"), trial("A")])] == ["A", "B", "V"]


@pytest.mark.parametrize("members", [("A", "Z"), ("V",), ("A", "V")])
def test_members_that_are_not_there(members):
    with pytest.raises(InputError, match=f"V: expected to start from one of .* received {', '.join(members)}; name"):
        in_order([trial("A"), voted(members, None)])


def test_the_vote_is_that_of_the_records_and_the_file_says_so(out, network, tmp_path):  # noqa: F811
    images = photographs(tmp_path / "set", hidden=6, noise=145)
    members = [stacked(network, images=images), trained("A", images), trained("B", images, View((16, 16)), seed=1)]
    record = runner.run([voted(("S", "A", "B"), images), *members], out)[0]
    said = [records.read(out, name) for name in ("S", "A", "B")]
    weights = np.array([record.measured["weights"][name] for name in ("S", "A", "B")])
    np.testing.assert_allclose(weights, ensemble.greedy([each.test for each in said]))
    expected = sum(
        weight * each.predictions["unlabelled"].probabilities for weight, each in zip(weights, said, strict=True)
    )
    hidden = record.predictions["unlabelled"]
    np.testing.assert_allclose(hidden.probabilities, expected, atol=1e-6)
    honest = ensemble.cross_fitted([each.test for each in said], said[0].arrays["folds"])
    np.testing.assert_array_equal(record.test.probabilities, honest.probabilities)
    np.testing.assert_array_equal(record.test.ids, said[0].test.ids)
    assert record.history["val_accuracy"] == [record.test.accuracy]


@pytest.mark.parametrize("mirror", [False, True])
def test_one_file_votes_as_the_files_of_the_members(out, tmp_path, monkeypatch, mirror):  # noqa: F811
    view, smaller = View((32, 32), mirror=mirror), View((24, 24), scaled=(32, 32), mirror=mirror)
    images = photographs(tmp_path / "set", hidden=6)
    members = [trained("A", images, view), trained("B", images, view, seed=1), trained("C", images, smaller)]
    shares = np.array([0.5, 0.2, 0.3])
    monkeypatch.setattr(ensemble, "greedy", lambda members: shares)
    record = runner.run([*members, voted(("A", "B", "C"), images, view)], out)[-1]
    pixels = images.load(view).unlabelled.images[:]
    models = [keras.models.load_model(out.model(name), safe_mode=True) for name in "ABCV"]
    each = [model.predict(pixels[:, 4:-4, 4:-4] if model is models[2] else pixels, verbose=0) for model in models]
    np.testing.assert_allclose(each[3], np.tensordot(shares, each[:3], 1), atol=1e-5)
    np.testing.assert_allclose(each[3], record.predictions["unlabelled"].probabilities, atol=1e-5)
    np.testing.assert_allclose(each[3].sum(axis=1), 1, atol=1e-5)


def test_a_member_without_weight_is_no_part_of_the_file(out, tmp_path, monkeypatch):  # noqa: F811
    images = photographs(tmp_path / "set", ("train", "test"))
    members = [trained("A", images), trained("B", images, seed=1)]
    monkeypatch.setattr(ensemble, "greedy", lambda members: np.array([0.0, 1.0]))
    record = runner.run([*members, voted(("A", "B"), images)], out)[-1]
    only = records.read(out, "B")
    assert set(record.predictions) == {"test", OUT_OF_FOLD} and record.parameters == only.parameters
    np.testing.assert_allclose(record.test.probabilities, only.test.probabilities, atol=1e-6)
    pixels = images.load(VIEW).test.images[:]
    one, other = (keras.models.load_model(out.model(name)).predict(pixels, verbose=0) for name in "VB")
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_members_judged_out_of_other_folds_or_of_none(out, tmp_path):  # noqa: F811
    images = photographs(tmp_path / "set")
    plain = replace(trained("C", images), folds=0)
    runner.run([trained("A", images), replace(trained("B", images), folds=2), plain], out)
    for members in (("A", "B"), ("A", "C"), ("C",), ()):
        with pytest.raises(InputError, match="V: expected members that are judged out of the same folds, received"):
            runner.run_one(voted(members, images), out)


def test_processes_say_what_one_says(out, network, tmp_path):  # noqa: F811
    images = photographs(tmp_path / "set", hidden=4)
    trials = [voted(("S", "A"), images), stacked(network, images=images), trained("A", images)]
    here = runner.run(trials, out)
    other = RunFolder.create(tmp_path / "other", {"experiment": "try", "settings": {}})
    for one, two in zip(here, runner.run(trials, other, "processes:2"), strict=True):
        assert one.trial == two.trial
        for split, said in one.predictions.items():
            np.testing.assert_array_equal(two.predictions[split].ids, said.ids)
            np.testing.assert_allclose(two.predictions[split].probabilities, said.probabilities, atol=1e-3)
        np.testing.assert_array_equal(two.arrays["folds"], one.arrays["folds"])
