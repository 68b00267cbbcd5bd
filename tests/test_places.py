"""Where a run reads and writes: what is not there, cannot be written or is the images' own folder is told at once."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.test_run import refused
from tl_keras import quiet, run
from tl_keras.run_folder import RunFolder
from tl_keras.study import publish, runner


@pytest.fixture(autouse=True)
def here(isolated_place, monkeypatch):
    monkeypatch.setattr(quiet, "import_tensorflow", lambda: pytest.fail("work has begun"))
    return isolated_place


def photographs(folder, per_class=10):
    rng = np.random.default_rng(0)
    for name in ("ants", "bees"):
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), "uint8")).save(folder / name / f"{index}.png")
    return folder


def left(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# -------------------------------------------------------------------------------- a variable that is not set


@pytest.mark.parametrize("blank", ["", "  ", "\t"])
@pytest.mark.parametrize(
    "command",
    [["cifar_ab", "--data"], ["cifar_ab", "--data-dir"], ["cifar_ab", "--out"], ["cifar_ab", "--registration"],
     ["cifar_ab", "--engine"], ["finetune"], ["finetune", "digits", "--backbone"], ["finetune", "digits", "--weights"],
     ["finetune", "digits", "--strategies"], ["finetune", "digits", "--lr"], ["mnist_sizes", "--weights"],
     ["mnist_sizes", "--sizes"], ["cs5304", "--strategy"], ["cs5304", "--backbone"], ["advise"],
     ["advise", "digits", "--backbones"], ["grade"], ["grade", "folder", "--data"], ["report"], ["compare", "a"],
     ["cifar_ab", "--resume", "--out"]],
    ids=" ".join,
)  # fmt: skip
def test_a_blank_is_no_value(capfd, here, command, blank):
    refused(capfd, *command, blank)
    assert list(here.iterdir()) == []


def test_a_blank_is_not_the_run_that_one_stands_in(capfd, here, monkeypatch):
    monkeypatch.chdir(RunFolder.create(here / "run", {"experiment": "cifar_ab", "settings": {"data": "digits"}}).path)
    assert "RUN: expected the folder of a finished run, received ''" in refused(capfd, "report", "")
    assert "--out: expected a folder, received ''" in refused(capfd, "cifar_ab", "--resume", "--out", "")


def test_a_blank_in_a_config_is_none_either(capfd, tmp_path):
    RunFolder.create(tmp_path / "run", {"experiment": "cifar_ab", "settings": {"data": " "}})
    assert "--data: expected data set: a name" in refused(capfd, "cifar_ab", "--resume", "--out", tmp_path / "run")


# ------------------------------------------------------------------------------------- nothing is taken away


def test_the_run_whose_images_went_away_stays(capfd, here, tmp_path):
    RunFolder.create(tmp_path / "run", {"experiment": "finetune", "settings": {"data": str(tmp_path / "gone")}})
    assert "expected cifar10, mnist, digits" in refused(capfd, "finetune", "--resume", "--out", tmp_path / "run")
    assert left(tmp_path / "run") == ["config.json"]


@pytest.mark.parametrize("kind", ["empty", "link", "new"])
def test_a_folder_for_a_run_that_never_began(capfd, here, kind):
    (here / "empty").mkdir()
    (here / "link").symlink_to("empty")
    refused(capfd, "cifar_ab", "--data", "nosuch", "--out", kind)
    assert sorted(path.name for path in here.iterdir()) == ["empty", "link"] and not left(here)


# ------------------------------------------------------------------------------------------ among the images


@pytest.mark.parametrize("name", ["finetune", "advise"])
@pytest.mark.parametrize("data, out", [(".", None), ("../photos", "ants/run"), (None, None)])
def test_a_run_among_the_images_would_become_one_of_their_classes(capfd, here, monkeypatch, name, data, out):
    folder = photographs(here / "photos")
    before = left(here)
    monkeypatch.chdir(folder)
    asked = [data or str(folder), *(["--out", out] if out else [])]
    line = refused(capfd, name, *asked)
    assert "--data: expected a folder that no run writes into" in line and "run from another folder" in line
    assert left(here) == before


def test_trained_networks_would_lie_among_the_images(capfd, here, monkeypatch):
    monkeypatch.chdir(photographs(here / "photos"))
    assert "in which saved_models would lie" in refused(capfd, "finetune", ".", "--out", "../run")
    assert not (here / "run").exists()
    RunFolder.create(here / "run", {"experiment": "finetune", "settings": {"data": str(here / "photos")}})
    assert "in which saved_models would lie" in refused(capfd, "finetune", "--resume", "--out", "../run")


def test_a_set_in_the_data_directory_is_a_folder_too(capfd, here, monkeypatch):
    monkeypatch.chdir(photographs(here / "sets/hymenoptera"))
    monkeypatch.setenv("TL_KERAS_DATA", str(here / "sets"))
    for asked in (["--data", "hymenoptera"], []):
        assert "sets/hymenoptera, in which runs would lie" in refused(capfd, "ants_bees", *asked)


@pytest.mark.parametrize("data", ["photos", "digits"])
def test_beside_the_images_all_is_well(here, monkeypatch, data):
    photographs(here / "photos")
    began = []
    monkeypatch.setattr(quiet, "import_tensorflow", lambda: began.append(data))
    monkeypatch.setattr(runner, "run", lambda trials, out, engine: None)
    monkeypatch.setattr(publish, "publish", lambda out: None)
    choice = ["--backbone", "mobilenet_0.25", "--weights", "none", "--out", "run"]
    assert run.main(["finetune", data, *choice]) == 0 and began == [data]
    settings = json.loads((here / "run/config.json").read_text())["settings"]
    assert settings["data"] == (str(here / "photos") if data == "photos" else data)


# ------------------------------------------------------------------------------------------- cannot be written


@pytest.mark.parametrize("name", ["saved_models", "saved_models/cifar_ab-A"])
def test_a_place_for_trained_networks_that_cannot_be_written(capfd, here, name):
    (here / name).parent.mkdir(exist_ok=True)
    (here / name).symlink_to("/proc/self")
    line = refused(capfd, "cifar_ab", "--data", "digits", "--out", "run")
    assert f"{name}: expected a folder that can be written" in line and not (here / "run").exists()
    RunFolder.create(here / "run", {"experiment": "cifar_ab", "settings": {"data": "digits"}})
    assert f"{name}: expected a folder that" in refused(capfd, "cifar_ab", "--resume", "--out", "run")


@pytest.mark.parametrize("kind", ["file", "dangling"])
def test_something_else_in_their_place(capfd, here, kind):
    path = here / "saved_models"
    path.write_text("mine") if kind == "file" else path.symlink_to("nowhere")
    assert "saved_models: expected a folder that" in refused(capfd, "cifar_ab", "--data", "digits")
    assert os.path.lexists(path) and not (here / "runs").exists()


def test_the_check_leaves_nothing(here, monkeypatch):
    monkeypatch.setattr(quiet, "import_tensorflow", lambda: None)
    monkeypatch.setattr(runner, "run", lambda trials, out, engine: None)
    monkeypatch.setattr(publish, "publish", lambda out: None)
    assert run.main(["cifar_ab", "--data", "digits", "--limit", "300", "--out", "run"]) == 0
    assert left(Path()) == ["run/config.json"] and not Path("saved_models").exists()


# -------------------------------------------------------------------------------------- names that cannot be


@pytest.mark.parametrize("name", ["a" * 5000, "a/" * 2500, "a" * 300 + ".h5", "nul\0", "half\udcff"])
@pytest.mark.parametrize(
    "command",
    [["cifar_ab", "--data"], ["cifar_ab", "--data-dir"], ["cifar_ab", "--out"], ["cifar_ab", "--resume", "--out"],
     ["ants_bees", "--weights"], ["ants_bees", "--backbone"], ["cs5304", "--weights"], ["mnist_sizes", "--backbone"],
     ["finetune"], ["finetune", "digits", "--backbone"], ["advise", "digits", "--backbones"], ["grade"],
     ["report"], ["compare", "other"]],
    ids=" ".join,
)  # fmt: skip
def test_names_that_no_file_can_have(capfd, here, command, name):
    refused(capfd, *command, name)
    assert list(here.iterdir()) == []


def test_a_home_that_nobody_has(capfd, here):
    assert "received '~nobodysuch/photos'" in refused(capfd, "finetune", "~nobodysuch/photos", "--backbone", "vgg16")
