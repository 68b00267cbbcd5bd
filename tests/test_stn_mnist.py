"""The study of spatial transformers: its trials, a whole run on a few digits whose files agree, its refusals."""

import json

import numpy as np
import pytest

from experiments import stn_mnist
from tests.fresh import python, table
from tests.isolation import isolate
from tl_keras import records, values
from tl_keras.run import main
from tl_keras.run_folder import RunFolder
from tl_keras.study import pages

ARMS = ("stn_tutorial", "plain_tutorial", "stn_one_cycle", "plain_one_cycle")
TRANSFORMERS = ("stn_tutorial", "stn_one_cycle")
KINDS = ["rotation", "scale", "shear", "shift x", "shift y"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on a few digits: what it printed, and its folder."""
    place = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, tmp_path_factory.mktemp("study") / "nothing")
        options = ["--epochs", "2", "--limit", "60", "--batch-size", "16", "--out", "run"]
        done = python("-m", "tl_keras.run", "stn_mnist", *options, folder=place)
    assert done.returncode == 0, done.stdout + done.stderr
    return done, place / "run"


@pytest.fixture(scope="module")
def results(run):
    return json.loads((run[1] / "results.json").read_text())


def test_mnist_is_replaced_loudly(run, results):
    assert run[0].stderr.count("GOING ON WITH 'digits', NOT 'mnist'") == 1
    assert results["data"] == "digits" and list(results["models"]) == list(ARMS)


@pytest.mark.parametrize("name", ARMS)
def test_results_equal_what_the_files_say(run, results, name):
    entry = results["models"][name]
    assert entry["trainable_parameters"] == entry["parameters"] == (27_360 if name in TRANSFORMERS else 21_840)
    rows = table(run[1] / entry["predictions"])
    assert entry["test_accuracy"] == np.mean([row["label"] == row["prediction"] for row in rows]) and len(rows) == 60
    rates = [float(row["learning_rate"]) for row in table(run[1] / entry["history"])]
    assert rates == pytest.approx([0.01, 0.01]) if "tutorial" in name else rates[-1] < 1e-6


def test_results_hold_every_slope(run, results):
    found = results["deformations"]
    titles = [results["models"][name]["title"] for name in TRANSFORMERS]
    assert [(one["transformer"], one["deformation"]) for one in found] == [(t, kind) for t in titles for kind in KINDS]
    for one in found:
        assert one["interval_95"][0] <= one["slope"] <= one["interval_95"][1]
        assert (one["repeat"], one["images"]) == (0, 60)
        assert one["undone"][one["applied"].index(0)] == pytest.approx(0, abs=1e-5), "an image that is not deformed"


def test_every_network_was_measured_on_the_same_deformed_images(run, results):
    for name in ARMS:
        counts = records.read(RunFolder(run[1]), name).measured["deformed"]
        as_they_are = round(60 * results["models"][name]["test_accuracy"])
        assert counts["images"] == 60 and counts["right"]["rotation"][4] == counts["right"]["shift y"][4] == as_they_are


def test_the_report_is_drawn_from_the_records_alone(run, results):
    report = pages.compose(run[1])
    assert list(report.summary) == results["conclusion"]
    assert all(len(sentence.split()) <= 30 for sentence in report.summary)
    best = max(results["models"].values(), key=lambda entry: entry["test_accuracy"])
    titles = [entry["title"] for entry in results["models"].values() if entry["test_accuracy"] == best["test_accuracy"]]
    assert report.summary[0].startswith(tuple(titles)), "the winner first"
    html = (run[1] / "report.html").read_text(encoding="utf-8")
    drawn = [path.stem for path in (run[1] / "plots").glob("*.png")]
    assert {"theta", "extremes", "undone", "accuracy_deformed"} <= set(drawn)
    assert html.count("data:image/png;base64,") == len(drawn)
    assert "MNIST" not in html, "nothing speaks of data that was not used"


COMPOSE = """
import sys
from tl_keras.study import pages
report = pages.compose(sys.argv[1])
drawn = [block.draw() for section in report.sections for block in section.blocks if hasattr(block, "draw")]
print(len(drawn), [name for name in ("tensorflow", "keras") if name in sys.modules])
"""


def test_no_page_needs_tensorflow(run):
    done = python("-c", COMPOSE, run[1])
    assert done.returncode == 0 and done.stdout.strip() == "7 []", done.stdout + done.stderr


def test_the_report_is_no_longer_than_ten_pages(run):
    pypdf = pytest.importorskip("pypdf")
    assert len(pypdf.PdfReader(run[1] / "report.pdf").pages) <= 10


def trials(**given):
    settings = stn_mnist.Settings(data="digits", **given)
    return stn_mnist.trials(settings, stn_mnist.load(settings))


def test_trials_are_values_with_the_tutorials_settings():
    first = trials()
    assert [trial.name for trial in first] == list(ARMS)
    assert values.from_json(json.loads(json.dumps([trial.to_json() for trial in first]))) == tuple(first)
    recipe = first[0].recipe
    assert (recipe.optimizer, recipe.learning_rate, recipe.momentum, recipe.schedule) == ("sgd", 0.01, 0, "constant")
    assert {(trial.recipe.epochs, trial.recipe.batch_size) for trial in first} == {(20, 64)}
    assert not any(trial.view.mirror for trial in first), "a mirrored digit is no digit"


def test_later_seeds_measure_the_slopes_alone():
    found = trials(seed=3, seeds=2)
    measured = {trial.name: [measure.name for measure in trial.measures] for trial in found}
    assert measured["stn_tutorial"] == ["deformed", "undone", "theta"] and measured["plain_tutorial"] == ["deformed"]
    assert measured["stn_tutorial_seed4"] == ["undone"] and measured["plain_tutorial_seed4"] == []
    assert {trial.images for trial in found} == {found[0].images}, "seeds differ in the training, not in the images"


@pytest.mark.parametrize(
    "option, value, said",
    [
        ("--seeds", "0", "--seeds: expected a whole number of at least 1, received 0"),
        ("--backbone", "vgg16", "--backbone: expected none, received vgg16; this study trains its own network"),
        ("--weights", "imagenet", "--weights: expected none, received imagenet"),
        ("--data", "nowhere", "received 'nowhere'"),
    ],
)
def test_refusals(isolated_place, capsys, option, value, said):
    assert main(["stn_mnist", option, value]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and said in line
