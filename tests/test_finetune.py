"""A person's own images: splits that are made where they lack, a winner chosen without the test images, answers."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from experiments import finetune
from tests.fresh import python, table
from tests.made_up_records import with_correct
from tests.test_transfer_studies import refused
from tl_keras import records
from tl_keras.evaluation.arms import Arm
from tl_keras.run import main
from tl_keras.run_folder import RunFolder


@pytest.fixture
def place(isolated_place):
    return isolated_place


def own_images(folder, classes=("ant", "bee", "cat"), each=12, hidden=4):
    """Images of several sizes, told apart by colour, in class folders; and some whose classes are hidden."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(classes):
        (folder / "train" / name).mkdir(parents=True)
        for index in range(each):
            pixels = rng.integers(0, 90, (40 + index, 48, 3), "uint8")
            pixels[..., number % 3] += 140
            Image.fromarray(pixels).save(folder / "train" / name / f"{index}.jpg")
    (folder / "test").mkdir()
    for index in range(hidden):
        Image.fromarray(rng.integers(0, 255, (64, 40, 3), "uint8")).save(folder / f"test/{index}.jpg")
    return folder


def own_network(path, side=32, channels=3):
    inputs = keras.Input((side, side, channels))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(x)).save(path)
    return path


def test_a_folder_of_images_and_a_network_of_ones_own(place):
    keras.utils.set_random_seed(0)
    own_network(place / "mine.keras")
    own_images(place / "photos")
    (place / "photos/train/ant/broken.jpg").write_bytes(b"no image")
    done = python("-m", "tl_keras.run", "finetune", "photos", "--backbone", "mine.keras", "--epochs", 2,
                  "--batch-size", 8, "--out", "run")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    config, results = (json.loads((place / f"run/{name}.json").read_text()) for name in ("config", "results"))
    assert list(results["models"]) == ["probe", "lp_ft", "full"]
    found = {record.name: record for record in records.read_all(RunFolder(place / "run"))}
    for record in found.values():
        parts = {name: set(predicted.ids) for name, predicted in record.predictions.items()}
        assert list(map(len, parts.values())) == [8, 6, 4], "test, validation and hidden images"
        assert not parts["test"] & parts["validation"] and record.data["watched"] == "validation"
    best = {name: record.predictions["validation"].accuracy for name, record in found.items()}
    assert results["chosen_by"] == "validation"
    assert best[results["winner"]] == max(best.values()) == results["validation_accuracy"]
    assert results["models"]["probe"]["epochs"] == 1 and results["models"]["lp_ft"]["epochs"] == 3
    answers = table(place / "run/predictions/probe.unlabelled.csv")
    assert [row["id"] for row in answers] == [f"test/{n}.jpg" for n in range(4)]
    assert {row["prediction"] for row in answers} <= {"ant", "bee", "cat"} and {row["label"] for row in answers} == {""}
    assert config["data"]["quarantined"] == 1
    assert [row["id"] for row in table(place / "run/quarantine.csv")] == ["train/ant/broken.jpg"]
    model = keras.models.load_model(place / "run/models/probe.keras", safe_mode=True)
    assert model.input_shape == (None, 32, 32, 3)
    again = python("-m", "tl_keras.run", "finetune", "--resume", "--out", "run")
    assert again.returncode == 0 and "probe: finished before" in again.stdout, again.stderr
    after = json.loads((place / "run/results.json").read_text())
    assert after == results, "nothing is done anew, no SavedModel is added"


def test_a_grey_network_of_ones_own(place):
    own_network(place / "grey.keras", side=28, channels=1)
    options = ["--data", "digits", "--limit", "100", "--strategies", "probe,ridge", "--backbone", "grey.keras"]
    assert main(["ants_bees", *options, "--out", "run"]) == 0
    view = json.loads((place / "run/records/probe.json").read_text())["trial"]["view"]
    assert (view["size"], view["channels"], view["mirror"]) == ([28, 28], 1, False)
    assert keras.models.load_model(place / "run/models/probe.keras").input_shape == (None, 28, 28, 1)
    models = json.loads((place / "run/results.json").read_text())["models"]
    assert models["ridge"]["epochs"] == 1 and models["ridge"]["title"] == "ridge classifier"


def test_a_probe_chooses_the_backbone_once(place, capsys):
    keras.utils.set_random_seed(1)
    own_network(place / "one.keras")
    own_network(place / "two.keras", side=16)
    options = ["--backbone", "one.keras,two.keras", "--strategies", "probe", "--limit", "60"]
    assert main(["finetune", "digits", *options, "--out", "run"]) == 0
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "is re-used: a probe names" in line]
    chosen = said.split(" is re-used")[0]
    settings = json.loads((place / "run/config.json").read_text())["settings"]
    assert settings["backbone"].endswith(f"{chosen}.keras") and settings["weights"] == "none"
    assert main(["finetune", "--resume", "--out", "run"]) == 0
    assert "scoring" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "DATA: expected data set: a path, or a name"),
        (["digits", "--strategies", "probe", "--views", "2"], "--views: expected a strategy that reads it"),
        (["digits", "--strategies", "probe", "--lr", "0.1"], "--lr: expected a strategy that reads it"),
        (["digits", "--backbone", "mine.keras", "--weights", "imagenet"], "--weights: expected none with a model file"),
        (["digits", "--backbone", "vgg61"], "received 'vgg61'"),
        (["digits", "--validation", "60"], "--validation: expected a whole number of at most 50"),
        (["nosuch", "--backbone", "mine.keras"], "received 'nosuch'"),
    ],
)
def test_refusals(place, capsys, arguments, said):
    own_network(place / "mine.keras")
    assert said in refused(capsys, "finetune", *arguments)


def test_letters_are_not_mirrored():
    settings = finetune.Settings(data="digits", backbone="mobilenet_0.25", weights="none", no_mirror=True)
    assert not any(trial.view.mirror for trial in finetune.trials(settings, finetune.load(settings)))


def test_the_report_says_of_which_stage_a_probe_reads():
    stages = [{"layer": name} for name in ("conv1_relu", "conv2_relu", "conv3_relu")]
    (record,) = with_correct("early_probe", [[True] * 4], title="linear probe on earlier features").records
    record.measured["early"] = {"stages": stages, "taken": "conv2_relu"}
    plain = with_correct("probe", [[True] * 4])
    assert finetune._stages_taken([plain, Arm("early_probe", record.title, (record,))]) == [
        "Linear probe on earlier features took the output of conv2_relu, stage 2 of 3, by cross-validation on training "
        "images."
    ]
