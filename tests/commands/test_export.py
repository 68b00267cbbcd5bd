"""`export`: a run's network in another format, where servers and people look for it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands.test_predict import network
from tests.fresh import python
from tests.made_up_records import made_up_record, write_run
from tests.test_run import refused
from tl_keras import run
from tl_keras.data.selection import Selection
from tl_keras.data.view import View
from tl_keras.evaluation.arms import arms_of
from tl_keras.models import model_file
from tl_keras.run_folder import RunFolder
from tl_keras.study import outgoing
from tl_keras.study.trial import Trial
from tl_keras.training.schedules import Recipe

VIEW = View((16, 16))


@pytest.fixture
def finished(isolated_place):
    """A run with the record of one trial, and its network."""
    config = {
        "experiment": "finetune",
        "settings": {"data": "digits", "backbone": "mobilenet_0.25", "weights": "none"},
        "data": {"name": "made up"},
    }
    out = RunFolder.create(isolated_place / "run", config)
    trial = Trial("full", "full", "all", Selection("digits"), VIEW, "mobilenet_0.25", Recipe(2, 32, 1e-3))
    record = made_up_record("full", classes=2)
    write_run(arms_of([type(record)(**{**vars(record), "trial": {**trial.to_json(), **record.trial}})]), out)
    network(out.model("full"), VIEW, record.class_names)
    return out


def test_every_format_of_a_run(finished, capsys):
    for format, written in {
        "savedmodel": "finetune-full/1",
        "onnx": "finetune-full.onnx",
        "tflite": "finetune-full.tflite",
        "keras": "finetune-full.keras",
    }.items():
        assert run.main(["export", "run", "--format", format]) == 0
        assert capsys.readouterr().out.strip().endswith(f"finetune-full as {format}: saved_models/{written}")
    card = Path("saved_models/finetune-full/1/assets/README.md").read_text(encoding="utf-8")
    assert "model-index" in card and "made up" in card
    assert run.main(["export", "run"]) == 0
    assert capsys.readouterr().out.strip().endswith("saved_models/finetune-full/2"), "a new version each time"


def test_samples_are_the_test_images_of_the_record(finished):
    path = finished.model("full")
    going = outgoing.of(path)
    found = outgoing.samples(path, going.arm)
    pictures = going.arm.first.thumbnails.images
    np.testing.assert_array_equal(found, [VIEW.of(Image.fromarray(picture)) for picture in pictures])


def test_a_lone_file(isolated_place, capsys):
    network(isolated_place / "net.keras", names=("a", "b"))
    assert run.main(["export", "net.keras", "--format", "onnx", "--to", "elsewhere"]) == 0
    assert capsys.readouterr().out.strip().endswith("net as onnx: elsewhere/net.onnx")
    photographs = outgoing.samples(isolated_place / "net.keras", None)
    assert photographs.shape == (32, *model_file.view(isolated_place / "net.keras").shape)
    assert len(np.unique(photographs.mean(axis=(1, 2, 3)).round(3))) > 20, "parts that differ"


def test_wrong_input_is_refused_before_tensorflow_is_imported(isolated_place, capfd):
    network(isolated_place / "net.keras")
    assert "expected one of savedmodel, onnx" in refused(capfd, "export", "net.keras", "--format", "pdf")
    assert "expected the folder of a run or a .keras file" in refused(capfd, "export", "nowhere")
    assert "expected a folder that can be written" in refused(capfd, "export", "net.keras", "--to", "net.keras")
    done = python("-X", "importtime", "-m", "tl_keras.run", "export", "nowhere")
    assert done.returncode == 2 and not [name for name in ("tensorflow", "matplotlib") if f"| {name}\n" in done.stderr]
