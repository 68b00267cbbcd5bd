"""The assignment's study, whole, on a few images: its submission is graded, and its code trains the same networks."""

import importlib
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import cs5304
from tl_keras import export
from tl_keras.data import sources
from tl_keras.run import main

WNIDS = ("n09193705", "n09246464", "n09256479", "n09332890", "n09428293")


@pytest.fixture
def place(isolated_place):
    return isolated_place


def tiny_imagenet(root):
    """One training image and one validation image of each class, in the layout of the assignment."""
    rng, lines = np.random.default_rng(0), []
    for number, name in enumerate(WNIDS):
        for path in (root / f"train/{name}/images/{name}_0.JPEG", root / f"val/images/val_{4 - number}.JPEG"):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 80, (64, 64, 3), "uint8") + np.uint8(40 * number)).save(path)
        lines.append(f"val_{4 - number}.JPEG\t{name}\t0\t0\t63\t63\n")
    (root / "val/val_annotations.txt").write_text("".join(reversed(lines)))
    return root


def test_a_submission_from_the_study_to_the_grade(place):
    for package in ("torch", "keras_hub"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    data = tiny_imagenet(place / "tiny")
    options = ["--data", data, "--backbone", "resnet34", "--weights", "none", "--epochs", 1, "--views", 1]
    assert main(["cs5304", *map(str, options), "--out", "run"]) == 0
    results = json.loads((place / "run/results.json").read_text())
    assert list(results["models"]) == ["model_ft", "model_cnn"] and results["submission"] == "submission"
    extracted, tuned = results["models"].values()
    assert extracted["class_names"] == list(WNIDS)
    assert extracted["trainable_parameters"] == 512 * 5 + 5 < tuned["trainable_parameters"]
    assert "The submission for the grader's resnet34 lies in run/submission" in results["conclusion"][-1]
    folder = place / "run/submission"
    assert sorted(file.name for file in folder.iterdir()) == ["assign3.py", "model.txt", "model_cnn", "model_ft"]
    runs_and_trains_the_same(folder)
    try:
        grades = export.grading.grade(folder, sources.files(data))
    except export.grading.InputError as error:
        pytest.skip(str(error))
    assert [grade.count for grade in grades] == [5, 5] and all(grade.agrees for grade in grades)
    assert [grade.accuracy for grade in grades] == [entry["test_accuracy"] for entry in (extracted, tuned)]


def runs_and_trains_the_same(folder):
    """assign3.py, run in a folder of its own, writes the very weights that the study submitted."""
    code = (folder / "assign3.py").read_text()
    assert "EPOCHS = 1\n" in code and "BACKBONE = 'torch_resnet34'" in code
    other = folder.parent.parent / "mine"
    other.mkdir()
    (other / "assign3.py").write_text(code)
    runpy.run_path(str(other / "assign3.py"), run_name="__main__")
    for name in ("model_ft", "model_cnn"):
        ours, theirs = (export.torch_bridge.read_state_dict(place / name) for place in (folder, other))
        assert list(ours) == list(theirs)
        for key, array in ours.items():
            np.testing.assert_array_equal(theirs[key], array, f"{name}: {key}")


def test_another_backbone_trains_without_a_submission(place, capsys):
    options = ["--backbone", "mobilenet_0.25", "--weights", "none", "--epochs", "1", "--limit", "10", "--views", "1"]
    assert main(["cs5304", *options, "--strategy", "last_stages", "--out", "run"]) == 0
    assert "GOING ON WITH 'digits', NOT 'tiny-imagenet-5'" in capsys.readouterr().err
    results = json.loads((place / "run/results.json").read_text())
    assert results["submission"] is None and not (place / "run/submission").exists()
    assert [entry["title"] for entry in results["models"].values()] == ["feature extraction", "fine-tuning"]
    assert results["conclusion"][-1] == (
        "No submission was written: the grader builds vgg16, resnet50, resnet34, and mobilenet_0.25 is none of them."
    )


def test_the_words_of_the_grader():
    words = {"vgg16": "vgg16", "resnet50": "torch_resnet50", "resnet34": "torch_resnet34", "densenet121": "densenet121"}
    assert {word: cs5304.Settings(backbone=word).network for word in words} == words
    assert cs5304.Settings().epochs == 50
    template = cs5304.template()
    assert "\nEPOCHS = 50\n" in template


@pytest.mark.parametrize(
    "option, value, said",
    [
        ("--backbone", "resnet5", "--backbone: expected vgg16"),
        ("--strategy", "all", "strategy: expected one of scratch, .* received 'all'"),
        ("--weights", "nowhere.h5", "nowhere.h5"),
        ("--views", "0", "--views: expected a whole number of at least 1"),
    ],
)
def test_refusals(place, capsys, option, value, said):
    import re

    assert main(["cs5304", "--data", "digits", "--backbone", "mobilenet_0.25", option, value]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and re.search(said, line)


def test_without_pytorch_nothing_is_trained_for_the_grader(place, capsys, monkeypatch):
    imported = importlib.import_module
    absent = ImportError("No module named 'torch'")

    def import_module(name, *given):
        if name == "torch":
            raise absent
        return imported(name, *given)

    monkeypatch.setattr(importlib, "import_module", import_module)
    assert main(["cs5304", "--data", "digits", "--weights", "none"]) == 2
    assert "expected the package torch" in capsys.readouterr().err and not Path("runs").exists()
