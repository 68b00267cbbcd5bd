"""One whole study on the embedded digits: every file that it promises, and that all of them say the same."""

import json
import os
import re
from collections import Counter

import nbformat
import numpy as np
import pypdf
import pytest
from PIL import Image

from tests.fresh import python, table
from tests.isolation import isolate
from tl_keras.evaluation.compare import accuracy_interval

NETWORKS = ("A", "B_scratch", "B_last", "B_last_two")
SMALL_DISK = """
import resource, runpy, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
runpy.run_module("tl_keras.run", run_name="__main__")
"""
REPORT = """
import sys, time
from tl_keras.run import main
code = main(["report", "run"])
print("imported", *sorted({"tensorflow", "keras"} & set(sys.modules)))
sys.exit(code)
"""
OPTIONS = ["--epochs", "2", "--limit", "200", "--batch-size", "16", "--seeds", "2", "--seed", "3",
           "--data-dir", "sets"]  # fmt: skip


class Study:
    """A run that was stopped by a full disk and then finished by --resume, and what both printed."""

    def __init__(self, place):
        self.place, self.folder = place, place / "run"
        (place / "sets").mkdir()
        self.stopped = python("-c", SMALL_DISK, "cifar_ab", *OPTIONS, "--out", "run", folder=place)
        self.left = [path for path in self.folder.rglob("*") if path.is_file()]
        self.done = python("-m", "tl_keras.run", "cifar_ab", "--resume", "--out", "run", folder=place)
        self.drawn_anew = python("-c", REPORT, folder=place)
        self.config, self.results = (json.loads((self.folder / f"{name}.json").read_text()) for name in
                                     ("config", "results"))  # fmt: skip
        self.models = self.results["models"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, tmp_path_factory.mktemp("study") / "nothing")
        return Study(tmp_path_factory.mktemp("place"))


def test_a_full_disk_stops_the_run_and_tells_how_to_go_on(study):
    assert study.stopped.returncode == 1, study.stopped.stdout + study.stopped.stderr
    last = study.stopped.stderr.splitlines()[-1]
    assert last.startswith("error: cannot write to run: ") and os.strerror(27) in last
    assert last.endswith("go on with: tl-keras cifar_ab --resume --out run")
    assert "Traceback" not in study.stopped.stderr
    assert study.folder / "config.json" in study.left
    assert [path.name for path in study.left if path.name.startswith(".")] == [], "nothing half-written is left"


def test_the_resumed_study_finishes(study):
    assert study.done.returncode == 0, study.done.stdout + study.done.stderr


def test_the_default_set_is_replaced_loudly(study):
    loud = [line for line in study.done.stderr.splitlines() if "GOING ON WITH 'digits', NOT 'cifar10'" in line]
    assert len(loud) == 1
    assert study.results["data"] == study.config["data"]["name"] == "digits"


def test_progress_is_told_in_lines(study):
    lines = study.done.stdout.splitlines()
    told = Counter(line.split()[0] for line in lines if " epoch " in line and " val_accuracy " in line)
    assert told == dict.fromkeys((*NETWORKS, *(f"{name}_seed4" for name in NETWORKS[1:])), 2)
    assert lines[0] == "run folder: run" and lines[-1] == "report: run/report.html"
    assert set(study.results["conclusion"]) <= set(lines)
    assert "\r" not in study.done.stdout + study.done.stderr, "a log file gets no progress bars"


def test_the_run_folder_holds_what_was_promised(study):
    trained = [*NETWORKS, *(f"{name}_seed4" for name in NETWORKS[1:])]
    expected = ["config.json", "results.json", "report.html", "report.pdf", "notebook.ipynb", "handin.ipynb"]
    for name in trained:
        expected += [
            f"history/{name}.csv",
            f"predictions/{name}.csv",
            f"predictions/{name}.npz",
            f"records/{name}.json",
            f"records/{name}.npz",
            f"models/{name}.keras",
            f"checkpoints/{name}.npz",
            f"tensorboard/{name}/record/events.out.tfevents.record",
            f"tensorboard/{name}/record/projector_config.pbtxt",
        ]
    expected += [f"plots/{name}.png" for name in ("comparison", "learning_curves", "confusion")]
    assert [path for path in expected if not (study.folder / path).is_file()] == []
    for name in trained:
        for part in ("train", "validation"):
            assert list((study.folder / "tensorboard" / name / part).glob("events.out.tfevents.*"))
    assert not [path for path in study.folder.rglob(".*") if path.is_file()], "nothing half-written is left"
    assert not (study.folder / "checkpoints/activations").exists(), "stored activations are removed"


def test_plots_are_pictures(study):
    for path in (study.folder / "plots").glob("*.png"):
        with Image.open(path) as picture:
            picture.load()
            assert min(picture.size) > 300 and len(picture.convert("L").getcolors()) > 10, path.name


def test_config_names_settings_versions_hardware_and_data(study):
    settings = study.config["settings"]
    assert study.config["experiment"] == study.results["experiment"] == "cifar_ab"
    assert (settings["epochs"], settings["limit"], settings["batch_size"], settings["seeds"]) == (2, 200, 16, 2)
    assert (settings["seed"], settings["registration"], settings["data"]) == (3, "2020387499", None)
    assert study.config["versions"]["tensorflow"] and study.config["hardware"]["cores"] >= 1
    assert study.config["data"]["classes"] == list("0123456789")
    assert len(study.config["data"]["fingerprint_train"]) == 64


@pytest.mark.parametrize("name", NETWORKS)
def test_results_have_every_key_of_the_contract(study, name):
    keys = {"test_accuracy", "train_accuracy", "test_loss", "epochs", "seconds", "parameters", "trainable_parameters",
            "history", "model"}  # fmt: skip
    assert keys <= set(study.models[name])
    assert study.models[name]["history"] == f"history/{name}.csv"
    assert study.models[name]["model"] == f"models/{name}.keras"
    assert study.models[name]["seconds"] > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_results_equal_what_the_files_say(study, name):
    entry = study.models[name]
    rows, history = table(study.folder / entry["predictions"]), table(study.folder / entry["history"])
    assert len(rows) == entry["test_images"] == (160 if name == "A" else 40)
    assert entry["test_accuracy"] == np.mean([row["label"] == row["prediction"] for row in rows])
    assert {row["label"] for row in rows} == set(entry["class_names"])
    assert [row["epoch"] for row in history] == ["1", "2"] and entry["epochs"] == 2
    assert float(history[-1]["val_accuracy"]) == pytest.approx(entry["test_accuracy"], abs=1e-6)
    assert float(history[-1]["learning_rate"]) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("name", NETWORKS)
def test_results_over_seeds(study, name):
    entry = study.models[name]
    assert [each["seed"] for each in entry["seeds"]] == ([3] if name == "A" else [3, 4])
    seen = []
    for each in entry["seeds"]:
        rows = table(study.folder / each["predictions"])
        seen.append([row["label"] == row["prediction"] for row in rows])
        assert each["test_accuracy"] == np.mean(seen[-1])
    assert entry["mean_test_accuracy"] == pytest.approx(np.mean(seen))
    found = accuracy_interval(np.array(seen))
    assert entry["interval_95"] == {"low": found.low, "high": found.high, "kind": found.kind}
    assert found.kind == ("Wilson's, over images" if name == "A" else "Wilson's, over images and seeds")


def test_parameters(study):
    trained = {name: study.models[name]["trainable_parameters"] for name in NETWORKS}
    statistics = 2 * (40 + 80 + 160 + 128)  # of the BatchNorm layers: mean and variance are not trained
    assert trained["A"] == study.models["A"]["parameters"] - statistics
    assert study.models["B_scratch"]["parameters"] == study.models["B_last"]["parameters"]
    assert trained["B_scratch"] == study.models["B_scratch"]["parameters"] - statistics
    assert trained["B_last"] < trained["B_last_two"] < trained["B_scratch"]


RELOAD = """
import csv, json, sys
import keras, numpy as np, tensorflow as tf
from sklearn.metrics import log_loss
from tl_keras.data.selection import ByClass
from tl_keras.data.sources import load
from tl_keras.data.view import View
results, found = json.load(open("run/results.json"))["models"], {}
digits = load("digits", size=(32, 32))
numbers = {"A": (0, 1, 2, 3, 5, 6, 7, 8), "B": (4, 9)}
part = {name: ByClass("digits", limit=200, seed=3, classes=these).load(View((32, 32)))
        for name, these in numbers.items()}
for name, entry in results.items():
    try:
        model, loads = keras.models.load_model("run/" + entry["model"], safe_mode=True), ""
    except Exception as error:
        model, loads = keras.models.load_model("run/" + entry["model"], compile=False), str(error)
    served = tf.saved_model.load(entry["saved_model"])
    rows = list(csv.DictReader(open("run/" + entry["predictions"])))
    place = {identity: row for row, identity in enumerate(digits.test.ids)}
    images = digits.test.images[[place[row["id"]] for row in rows]].astype("float32")
    labels = [entry["class_names"].index(row["label"]) for row in rows]
    probabilities = model.predict(images, verbose=0)
    train = part[name[0]].train
    found[name] = {
        "loads": loads,
        "difference": float(np.abs(served.pixels(images)["probabilities"] - probabilities).max()),
        "spread": float(np.ptp(probabilities[:, 0])),
        "labels": open(entry["saved_model"] + "/assets/labels.txt").read().split(),
        "written": float(np.abs(probabilities.max(axis=1) - [float(row["probability"]) for row in rows]).max()),
        "same": [entry["class_names"][k] for k in probabilities.argmax(axis=1)] == [row["prediction"] for row in rows],
        "true": [str(k) for k in digits.test.labels[[place[row["id"]] for row in rows]]] == [r["label"] for r in rows],
        "loss": log_loss(labels, probabilities.astype("float64"), labels=range(len(entry["class_names"]))),
        "train": float(np.mean(model.predict(train.images, verbose=0).argmax(axis=1) == train.labels)),
    }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def reloaded(study):
    """What a fresh process finds in the models' files."""
    done = python("-c", RELOAD, folder=study.place)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_fresh_process_loads_the_keras_file(reloaded, name):
    assert reloaded[name]["loads"] == ""


@pytest.mark.parametrize("name", NETWORKS)
def test_a_fresh_process_finds_the_same_networks_in_all_files(study, reloaded, name):
    found, entry = reloaded[name], study.models[name]
    assert found["spread"] > 0.01, "the network tells images apart"
    assert found["difference"] < 1e-5, "SavedModel and .keras file agree"
    assert found["labels"] == entry["class_names"]
    assert found["same"] and found["true"] and found["written"] < 1e-4
    assert found["loss"] == pytest.approx(entry["test_loss"], rel=1e-3)
    assert found["train"] == pytest.approx(entry["train_accuracy"])


def test_class_names(study):
    assert study.models["A"]["class_names"] == list("01235678")
    assert study.models["B_last"]["class_names"] == list("49")


def executed(path):
    """The code cells of a notebook that was run from top to bottom, once, without an error; and what they printed."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert "error" not in {output.output_type for output in outputs}
    printed = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    return code, outputs, printed


def test_the_notebook_shows_the_tables_and_figures_of_the_report(study):
    code, outputs, _ = executed(study.folder / "notebook.ipynb")
    assert "pages.compose" in code[0].source, "it reads the records"
    text = "".join(output.get("data", {}).get("text/html", "") for output in outputs)
    for name in NETWORKS:
        assert study.models[name]["title"] in text and f"{study.models[name]['mean_test_accuracy']:.4f}" in text
    pictures = sum("image/png" in output.get("data", {}) for output in outputs)
    assert pictures == len(list((study.folder / "plots").glob("*.png")))


def test_the_hand_in_holds_all_the_code_and_read_the_trained_networks(study):
    code, outputs, printed = executed(study.folder / "handin.ipynb")
    source = "\n".join(cell.source for cell in code)
    assert not re.search(r"^\s*(import|from) (tl_keras|experiments)", source, re.MULTILINE)
    for choice in ("epochs = 2", "seeds = 2", "limit = 200", "seed = 3", "batch_size = 16", "keras.Model(", ".fit("):
        assert choice in source
    for name in NETWORKS:
        seen = study.models[name]["mean_test_accuracy"]
        assert f"{seen:.4f}" in printed or f"{seen:.2%}" in printed, name
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3


def test_the_pages_are_drawn_anew_without_tensorflow(study):
    assert study.drawn_anew.returncode == 0, study.drawn_anew.stderr
    assert study.drawn_anew.stdout.splitlines()[-1] == "imported"
    assert set(study.results["conclusion"]) <= set(study.drawn_anew.stdout.splitlines())


def test_the_report_shows_each_network_and_the_data(study):
    html = (study.folder / "report.html").read_text(encoding="utf-8")
    pdf = " ".join(page.extract_text() for page in pypdf.PdfReader(study.folder / "report.pdf").pages)
    for text in (html, pdf):
        assert "digits" in text and "2020387499" in text
        for name in NETWORKS:
            assert study.models[name]["title"] in text
            assert f"{study.models[name]['mean_test_accuracy']:.4f}" in text
    assert html.count("data:image/png;base64,") == len(list((study.folder / "plots").glob("*.png")))
    assert html.count("cifar10") == 0, "nothing speaks of data that was not used"


def test_the_conclusion_follows_from_the_numbers(study):
    accuracies = {study.models[name]["title"]: study.models[name]["mean_test_accuracy"] for name in NETWORKS[1:]}
    highest = max(accuracies.values())
    first = study.results["conclusion"][0]
    winners = [title for title, seen in accuracies.items() if seen == highest]
    assert all(title in first for title in winners) and f"{highest:.1%}" in first and "40 test images" in first
    assert all(len(sentence.split()) <= 30 for sentence in study.results["conclusion"])
