"""The study of elastic and zoomed-out images: its trials, a whole run on a few digits, its refusals."""

import json

import numpy as np
import pytest

from experiments import stn_elastic
from experiments.stn.copies import thirds
from tests.fresh import python, table
from tests.isolation import isolate
from tl_keras import values
from tl_keras.models import model_file
from tl_keras.run import main
from tl_keras.study import pages

OPTIONS = ["--epochs", "2", "--limit", "30", "--batch-size", "32", "--seed", "3"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run on a few digits, and its results."""
    place = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, tmp_path_factory.mktemp("study") / "nothing")
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        done = python("-m", "tl_keras.run", "stn_elastic", *OPTIONS, "--out", "run", folder=place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "GOING ON WITH 'digits', NOT 'mnist'" in done.stderr
    return place / "run", json.loads((place / "run/results.json").read_text())


@pytest.mark.parametrize("name", ["stn", "plain"])
def test_every_third_is_followed_through_the_training(run, name):
    folder, results = run
    predicted = table(folder / results["models"][name]["predictions"])
    right = np.array([row["label"] == row["prediction"] for row in predicted])
    assert results["models"][name]["test_accuracy"] == pytest.approx(right.mean()) and len(predicted) == 90
    last = table(folder / results["models"][name]["history"])[-1]
    for third, part in thirds(90).items():
        assert float(last[f"accuracy_{third}"]) == pytest.approx(right[part].mean())
    assert [row["id"].partition("-")[2] for row in predicted[::30]] == ["", "elastic", "zoomed_out"]


def test_what_is_undone_stands_in_the_results_and_in_the_report(run):
    folder, results = run
    (undone,), (of_control,) = results["undone"], results["undone_by_control"]
    assert undone["elastic"]["centring"] == of_control["elastic"]["centring"], "a rule, whatever was trained"
    assert undone["images"] == 30 and undone["zoom"]["pixels_after_best_affine"] < 1e-9
    report = pages.compose(folder)
    assert list(report.summary) == results["conclusion"]
    assert all(len(sentence.split()) <= 30 for sentence in report.summary)
    for name in ("accuracy_by_epoch", "before_after", "theta", "fields", "followed"):
        assert (folder / f"plots/{name}.png").stat().st_size > 10_000
    assert (folder / "report.pdf").stat().st_size > 10_000


def test_another_process_reads_the_transformer_and_the_saved_model_alike(run):
    import tensorflow as tf

    folder, results = run
    entry = results["models"]["stn"]
    images = np.random.default_rng(0).uniform(0, 255, (3, 28, 28, 3)).astype("float32")
    loaded = model_file.load(folder / entry["model"]).predict(images, verbose=0)
    served = tf.saved_model.load(str(folder.parent / entry["saved_model"]))  # kept: its function does not keep it alive
    np.testing.assert_allclose(loaded, served.pixels(images)["probabilities"], atol=1e-6)
    assert loaded.shape == (3, 10)


def test_trials_are_values_that_measure_the_fields_of_the_test_images():
    settings = stn_elastic.Settings(data="digits", seed=3, seeds=2)
    found = stn_elastic.trials(settings, stn_elastic.load(settings))
    assert values.from_json(json.loads(json.dumps([trial.to_json() for trial in found]))) == tuple(found)
    assert [trial.name for trial in found] == [
        "stn", "stn_seed4", "plain", "plain_seed4", "stn_control", "stn_control_seed4",
    ]  # fmt: skip
    assert [trial.network for trial in found] == ["stn", "stn", "stn_plain", "stn_plain", "stn", "stn"]
    assert {trial.images for trial in found[:4]} == {found[0].images}, "seeds differ in the training, not in the images"
    control, all_of_them = (found[place].images.load(found[place].view) for place in (4, 0))
    assert len(control.train) == len(all_of_them.train) * 2 // 3
    assert not any("elastic" in str(name) for name in control.train.ids), "the control saw no elastic image"
    assert control.test.ids.tolist() == all_of_them.test.ids.tolist()
    for trial in found[:2]:
        assert trial.measures[0].elastic == trial.images.elastic("test") and trial.recipe.epochs == 10


@pytest.mark.parametrize(
    "option, value, said",
    [
        ("--backbone", "vgg16", "--backbone: expected none, received vgg16; this study trains its own network"),
        ("--weights", "imagenet", "--weights: expected none, received imagenet"),
        ("--seeds", "0", "--seeds: expected a whole number of at least 1"),
    ],
)
def test_refusals(capsys, option, value, said):
    assert main(["stn_elastic", "--data", "digits", option, value]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: {said}")
