"""The studies on re-used networks, whole, on a few images: what they write, and what they refuse."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from tests.fresh import python, table
from tl_keras.run import main


@pytest.fixture
def place(isolated_place):
    return isolated_place


def photographs(folder, train=6, test=3):
    """Two classes of noise, told apart by their colour."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("val", test)):
        for number, name in enumerate(("ants", "bees")):
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 100, (60, 80, 3), "uint8")
                pixels[..., 2 * number] += 120
                Image.fromarray(pixels).save(folder / part / name / f"{index}.png")
    return folder


def study(*arguments):
    return python("-m", "tl_keras.run", *arguments)


def refused(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0]


# --------------------------------------------------------------------------------------------- ants_bees


def test_ants_bees_compares_strategies(place):
    options = ["--backbone", "mobilenet_0.25", "--weights", "none", "--epochs", 2, "--views", 1, "--out", "run"]
    done = study("ants_bees", "--data", photographs(place / "photos"), *options, "--strategies", "last_layer,lp_ft")
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((place / "run/results.json").read_text())
    assert results["data"] == "photos" and list(results["models"]) == ["last_layer", "lp_ft"]
    probe, tuned = results["models"].values()
    assert probe["trainable_parameters"] == 256 * 2 + 2 < tuned["trainable_parameters"] < tuned["parameters"]
    assert probe["test_images"] == 6 and probe["epochs"] == 2
    assert tuned["epochs"] == 3, "the solved layer, and the epochs of fine-tuning"
    assert len(table(place / "run/history/lp_ft.csv")) == 3
    assert len(table(place / "run/predictions/last_layer.csv")) == 6
    for name in ("report.html", "report.pdf", "plots/confusion.png", "plots/comparison.png"):
        assert (place / "run" / name).stat().st_size > 1000
    model = keras.models.load_model(place / "run" / tuned["model"], safe_mode=True)
    assert model.input_shape == (None, 224, 224, 3) and model.output_shape == (None, 2)
    assert results["chosen_by"] == "test", "the tutorial has no validation images"
    assert "E0000" not in done.stderr and "node_def_util" not in done.stderr


def test_a_learning_rate_that_is_found(place):
    options = ["--backbone", "mobilenet_0.25", "--weights", "none", "--epochs", 1, "--strategies", "last_layer"]
    done = study("ants_bees", "--data", photographs(place / "photos"), *options, "--lr", "find",
                 "--activations", "float16", "--out", "run")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (told,) = [line for line in done.stdout.splitlines() if "by a range test on training images" in line]
    found = float(told.split("learning rate ")[1].split(",")[0])
    assert float(table(place / "run/history/last_layer.csv")[0]["learning_rate"]) == pytest.approx(found, rel=0.1)


@pytest.mark.parametrize(
    "option, value, said",
    [
        ("--backbone", "resnet5", "--backbone: expected vgg16, vgg19, .* received 'resnet5'; check the spelling"),
        ("--strategies", "all", "strategy: expected one of scratch, .* received 'all'"),
        ("--lr", "fast", "--lr: expected find or a number above zero, received 'fast'; give one such as 1e-3"),
        ("--lr", "-1", "--lr: expected find or a number above zero"),
        ("--activations", "float8", "--activations: expected one of float32, float16"),
        ("--weights", "nowhere.h5", "nowhere.h5"),
        ("--strategies", "last_layer,last_layer", "--strategies: expected different ones"),
        ("--stages", "2", "--stages: expected a strategy that reads it, received last_layer, full; leave the option"),
    ],
)
def test_ants_bees_refuses(place, capsys, option, value, said):
    import re

    options = ["--data", photographs(place / "photos"), "--backbone", "mobilenet_0.25", "--weights", "none"]
    assert re.search(said, refused(capsys, "ants_bees", *options, option, value))


def test_weights_that_cannot_be_had_are_not_replaced(place, capsys):
    options = ["--data", photographs(place / "photos"), "--backbone", "mobilenet_0.25"]
    line = refused(capsys, "ants_bees", *options)
    assert "--weights" in line and "none" in line


# ------------------------------------------------------------------------------------------- mnist_sizes


def test_mnist_sizes_trains_each_head_once_on_shared_features(place):
    names = ("mobilenet_0.25",)
    done = study("mnist_sizes", "--backbone", ",".join(names), "--weights", "none", "--sizes", "1,2", "--seeds", 2,
                 "--epochs", 2, "--batch-size", 16, "--validation", 1, "--test-limit", 10, "--out", "run")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "GOING ON WITH 'digits', NOT 'mnist'" in done.stderr
    results = json.loads((place / "run/results.json").read_text())
    assert list(results["models"]) == list(names)
    assert results["models"]["mobilenet_0.25"]["trainable_parameters"] == 256 * 10 + 10
    found = {(row["network"], row["images_per_class"], row["draw"]) for row in results["sizes"]}
    assert found == {(name, size, draw) for name in names for size in (1, 2) for draw in (1, 2)}
    for row in results["sizes"]:
        assert 0 <= row["lowest_test_error"] <= row["honest_test_error"] <= 1
        assert row["epochs"] == {1: 2 * 2, 2: 2}[row["images_per_class"]], "10 and 20 images are 1 and 2 batches of 16"
        assert {row["epoch_of_lowest"], row["epoch_picked_on_validation"]} <= set(range(1, row["epochs"] + 1))
        drawn = "_draw2" if row["draw"] == 2 else ""
        epochs = table(place / f"run/history/{row['network']}_{row['images_per_class']}{drawn}.csv")
        best = max(epochs, key=lambda epoch: float(epoch["accuracy_validation"]))
        assert row["epoch_picked_on_validation"] == int(best["epoch"]), "one training, both splits watched"
        assert row["honest_test_error"] == pytest.approx(1 - float(best["val_accuracy"]))
        (solved,) = table(place / f"run/history/{row['network']}_{row['images_per_class']}_solved{drawn}.csv")
        assert row["solved_test_error"] == pytest.approx(1 - float(solved["val_accuracy"]))
    assert len(list((place / "run/history").iterdir())) == 8
    assert (place / "run/plots/sizes.png").exists()
    kept = sorted(path.name for path in (place / "run/models").iterdir())
    assert kept == [f"{name}_2.keras" for name in names], "one network, of the largest sets"
    model = keras.models.load_model(place / "run/models" / kept[0], safe_mode=True)
    assert model.output_shape == (None, 10)


@pytest.mark.parametrize(
    "option, value, said",
    [
        ("--sizes", "ten", "--sizes: expected numbers above zero, received 'ten'; give some such as 10,30"),
        ("--sizes", "10,0", "--sizes: expected numbers above zero"),
        ("--backbone", "vgg19,vgg19", "--backbone: expected different networks"),
        ("--weights", "none,none,none", "--weights: expected one for all or one for each of 2 backbones, received 3"),
        ("--lr", "find", "--lr: expected a number, received find"),
        ("--seeds", "1", "--seeds: expected a whole number of at least 2, received 1"),
    ],
)
def test_mnist_sizes_refuses(place, capsys, option, value, said):
    assert said in refused(capsys, "mnist_sizes", "--data", "digits", option, value)


def test_more_images_than_a_class_has(place, capsys):
    options = ["--data", "digits", "--weights", "none", "--backbone", "mobilenet_0.25"]
    assert "images per class: expected 1 to " in refused(capsys, "mnist_sizes", *options, "--sizes", "500")
