"""The study of spatial transformers, whole, on a few digits: its files, that all of them say the same, its refusals."""

import json

import nbformat
import numpy as np
import pytest

from experiments import stn_mnist
from tests.fresh import python, table
from tests.isolation import isolate
from tl_keras.run import main

NETWORKS = ("stn_tutorial", "plain_tutorial", "stn_one_cycle", "plain_one_cycle")
TRANSFORMERS = ("stn_tutorial", "stn_one_cycle")
KINDS = ["rotation", "scale", "shear", "shift x", "shift y"]


class Study:
    """A run of two seeds, and what a fresh process finds in its models' files."""

    def __init__(self, place):
        self.place, self.folder = place, place / "run"
        options = ["--epochs", "2", "--limit", "160", "--batch-size", "16", "--seeds", "2", "--out", "run"]
        self.done = python("-m", "tl_keras.run", "stn_mnist", *options, folder=place)
        assert self.done.returncode == 0, self.done.stdout + self.done.stderr
        self.results = json.loads((self.folder / "results.json").read_text())
        self.models = self.results["models"]
        self.cells = nbformat.read(self.folder / "notebook.ipynb", as_version=4).cells

    @property
    def printed(self):
        outputs = [output for cell in self.cells for output in cell.get("outputs", [])]
        return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, tmp_path_factory.mktemp("study") / "nothing")
        yield Study(tmp_path_factory.mktemp("place"))


def test_mnist_is_replaced_loudly(study):
    assert "GOING ON WITH 'digits', NOT 'mnist'" in study.done.stderr
    assert study.results["data"] == "digits"


def test_the_run_folder_holds_what_was_promised(study):
    expected = ["config.json", "report.html", "report.pdf"]
    for name in NETWORKS:
        for trained in (name, f"{name}_seed1"):
            expected += [f"history/{trained}.csv", f"predictions/{trained}.csv", f"models/{trained}.keras"]
        expected += [f"plots/{kind}_{name}.png" for kind in ("history", "confusion", "samples")]
    expected += [f"plots/{kind}_{name}.png" for kind in ("theta", "extremes") for name in TRANSFORMERS]
    expected += [f"plots/{name}.png" for name in ("undone", "accuracy_deformed", "comparison", "accuracy")]
    assert [path for path in expected if not (study.folder / path).is_file()] == []
    html = (study.folder / "report.html").read_text(encoding="utf-8")
    assert html.count("data:image/png;base64,") == len(list((study.folder / "plots").glob("*.png")))
    assert html.count("MNIST") == 0, "nothing speaks of data that was not used"
    assert all(study.models[name]["title"] in html for name in NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_results_equal_what_the_files_say(study, name):
    entry = study.models[name]
    assert entry["trainable_parameters"] == entry["parameters"] == (27_360 if name in TRANSFORMERS else 21_840)
    rows = table(study.folder / entry["predictions"])
    assert entry["test_accuracy"] == np.mean([row["label"] == row["prediction"] for row in rows])
    assert [each["seed"] for each in entry["seeds"]] == [0, 1] and entry["epochs"] == 2
    rates = [float(row["learning_rate"]) for row in table(study.folder / entry["history"])]
    assert rates == pytest.approx([0.01, 0.01]) if "tutorial" in name else rates[-1] < 1e-6


def test_results_hold_every_slope(study):
    found = study.results["deformations"]
    titles = [study.models[name]["title"] for name in TRANSFORMERS]
    expected = [(title, repeat, kind) for title in titles for repeat in (0, 1) for kind in KINDS]
    assert [(one["transformer"], one["repeat"], one["deformation"]) for one in found] == expected
    for one in found:
        assert one["interval_95"][0] <= one["slope"] <= one["interval_95"][1] and one["images"] == 160
        at_rest = one["applied"].index(0)
        assert one["undone"][at_rest] == pytest.approx(0, abs=1e-5), "an image that is not deformed"


def test_the_notebook_says_the_same_and_trained_nothing_anew(study):
    code = [cell for cell in study.cells if cell.cell_type == "code" and cell.source]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "from top to bottom, once"
    printed = study.printed
    assert [line[2:] for line in printed.splitlines() if line.startswith("- ")] == study.results["conclusion"]
    assert " epoch 2/2 " not in printed
    table = study.done.stdout.split("\n\n")[-1].strip()
    assert table in printed and all(kind in table for kind in KINDS)
    outputs = [output for cell in code for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 8


def test_the_conclusion_compares_each_transformer_with_its_plain_network(study):
    conclusion = study.results["conclusion"]
    for name, plain in zip(NETWORKS[::2], NETWORKS[1::2], strict=True):
        accuracies = [study.models[each]["mean_test_accuracy"] for each in (name, plain)]
        winner = (name, plain)[int(np.argmax(accuracies))]
        expected = f"{study.models[winner]['title']} reached the better test accuracy: {100 * max(accuracies):.2f}% ["
        equal = " and ".join(study.models[each]["title"] for each in (name, plain))
        assert any(line.startswith((expected, equal)) for line in conclusion)
        title = study.models[name]["title"]
        assert sum(line.startswith(f"{title}: ") for line in conclusion) == 2, "what it undoes, and what that is worth"


RELOAD = """
import csv, json
import keras, numpy as np, tensorflow as tf
import tl_keras.models.stn
from tl_keras.data.sources import load
test, found = load("digits", size=(28, 28)).test, {}
place = {identity: row for row, identity in enumerate(test.ids)}
for name, entry in json.load(open("run/results.json"))["models"].items():
    model = keras.models.load_model("run/" + entry["model"], safe_mode=True)
    served = tf.saved_model.load(entry["saved_model"])
    rows = list(csv.DictReader(open("run/" + entry["predictions"])))
    images = test.images[[place[row["id"]] for row in rows]].astype("float32")
    probabilities = model.predict(images, verbose=0)
    written = [float(row["probability"]) for row in rows]
    found[name] = {
        "difference": float(np.abs(served.serve(images) - probabilities).max()),
        "written": float(np.abs(probabilities.max(axis=1) - written).max()),
        "same": [str(k) for k in probabilities.argmax(axis=1)] == [row["prediction"] for row in rows],
    }
print(json.dumps(found))
"""


def test_a_fresh_process_finds_the_same_networks_in_all_files(study):
    done = python("-c", RELOAD, folder=study.place)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert list(found) == list(NETWORKS)
    for seen in found.values():
        assert seen["difference"] < 1e-5 and seen["written"] < 1e-4 and seen["same"]


def test_the_tutorials_settings_are_the_default():
    settings = stn_mnist.Settings()
    assert (settings.epochs, settings.batch_size) == (20, 64)
    recipe = stn_mnist.RECIPES["tutorial"]
    assert (recipe["optimizer"], recipe["learning_rate"], recipe["momentum"]) == ("sgd", 0.01, 0)


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
