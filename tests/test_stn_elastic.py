"""The study of elastic and zoomed-out images, whole, on a few digits; and that it measures the very fields it made."""

import json

import nbformat
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates

from experiments import stn_elastic
from tests.fresh import python, table
from tests.isolation import isolate
from tl_keras.data import deform, sources, splits
from tl_keras.run import main

OPTIONS = ["--epochs", "2", "--limit", "60", "--batch-size", "32", "--seed", "3"]
FRESH = """
import json, sys
import keras, numpy as np, tensorflow as tf
from tl_keras.models import stn  # a layer of one's own has to be imported before a .keras file is read
path, exported = sys.argv[1:]
images = np.random.default_rng(0).uniform(0, 255, (3, 28, 28, 3)).astype("float32")
model = keras.models.load_model(path, safe_mode=True)
served = tf.saved_model.load(exported)
print(json.dumps([model.predict(images, verbose=0).tolist(), served.serve(images).numpy().tolist()]))
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    isolate(monkeypatch, tmp_path / "nothing")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_whole_study(place):
    done = python("-m", "tl_keras.run", "stn_elastic", *OPTIONS, "--out", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "GOING ON WITH 'digits', NOT 'mnist'" in done.stderr
    config, results = (json.loads((place / f"run/{name}.json").read_text()) for name in ("config", "results"))
    assert (config["data"]["name"], config["data"]["train_images"], config["data"]["test_images"]) == (
        "digits",
        180,
        180,
    )
    assert "Elastic(seed=6," in config["data"]["deformations"]["train"][0]
    assert "Elastic(seed=7," in config["data"]["deformations"]["test"][0]
    assert list(results["models"]) == ["stn", "plain"] and len(results["undone"]) == 1
    for name, entry in results["models"].items():
        predicted = table(place / f"run/predictions/{name}.csv")
        right = np.array([row["label"] == row["prediction"] for row in predicted])
        assert entry["test_accuracy"] == pytest.approx(right.mean()) and len(predicted) == 180
        history = table(place / f"run/history/{name}.csv")
        for third, part in stn_elastic.thirds(180).items():
            assert float(history[-1][f"accuracy_{third}"]) == pytest.approx(right[part].mean())
        assert [row["id"].partition("-")[2] for row in predicted[::60]] == ["", "elastic", "zoomed_out"]
    for file in (
        "report.html",
        "report.pdf",
        "plots/accuracy_by_epoch.png",
        "plots/before_after.png",
        "plots/fields.png",
    ):
        assert (place / "run" / file).stat().st_size > 10_000
    cells = nbformat.read(place / "run/notebook.ipynb", as_version=4).cells
    assert all(cell.execution_count for cell in cells if cell.cell_type == "code")
    said = cells[-1].outputs[0].text.splitlines()
    assert said == [f"- {sentence}" for sentence in results["conclusion"]], "the notebook comes to the same numbers"
    fresh = python("-c", FRESH, place / "run/models/stn.keras", results["models"]["stn"]["saved_model"])
    assert fresh.returncode == 0, fresh.stderr
    loaded, served = json.loads(fresh.stdout)
    np.testing.assert_allclose(loaded, served, atol=1e-6)
    assert np.shape(loaded) == (3, 10)


def test_the_fields_that_are_measured_are_those_of_the_images(place, monkeypatch):
    monkeypatch.setattr(stn_elastic, "PROBED", 15)
    settings = stn_elastic.Settings(data="digits", limit=50, seed=1)
    test = stn_elastic.load(settings).test
    parts, chosen = stn_elastic.thirds(len(test)), stn_elastic.probed(len(test))
    fields = stn_elastic.fields(settings, len(test))
    assert len(test) == 150 and fields.shape == (15, 28, 28, 2)
    originals, copies = (test.images[parts[name]][chosen, ..., 0] for name in ("original", "elastic"))
    for image, copy, field in zip(originals, copies, fields, strict=True):
        places = np.moveaxis(field, -1, 0) + np.indices((28, 28))
        assert np.abs(map_coordinates(image.astype(float), places, order=3).clip(0, 255) - copy).max() < 0.51
    zoomed = deform.ZoomOut(4)(test.images[parts["original"]], 0)
    np.testing.assert_array_equal(test.images[parts["zoomed_out"]], zoomed)
    for part in parts.values():
        np.testing.assert_array_equal(test.labels[part], test.labels[parts["original"]])


def test_train_and_test_images_have_fields_of_their_own():
    for seed in (0, 1):
        settings = stn_elastic.Settings(seed=seed)
        seeds = [stn_elastic.deformations(settings, part)[0].seed for part in ("train", "test")]
        assert seeds == [2 * seed, 2 * seed + 1]


def test_colours_become_the_grey_that_the_network_reads_and_take_no_more_memory(place):
    rng = np.random.default_rng(0)
    for number, name in enumerate(("ant", "bee")):
        (place / "photos" / name).mkdir(parents=True)
        for index in range(10):
            pixels = rng.integers(0, 100, (28, 28, 3), "uint8") + np.uint8(100 * number)
            Image.fromarray(pixels).save(place / "photos" / name / f"{index}.png")
    train = stn_elastic.load(stn_elastic.Settings(data=str(place / "photos"))).train
    colours = sources.load(place / "photos", size=(28, 28)).train
    grey = train.images[: len(colours)]
    assert np.abs(grey.astype(float) - colours.images.mean(axis=-1, keepdims=True)).max() < 1
    assert len(train) == 3 * len(colours) and train.images.strides[-1] == 0


def test_thirds_of_what_was_limited():
    split = splits.Split(np.arange(12, dtype="uint8").reshape(12, 1, 1, 1), np.zeros(12), ("digit",))
    cut = {name: split.take(part).images.ravel().tolist() for name, part in stn_elastic.thirds(12).items()}
    assert cut == {"original": [0, 1, 2, 3], "elastic": [4, 5, 6, 7], "zoomed_out": [8, 9, 10, 11]}


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
