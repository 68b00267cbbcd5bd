"""Commands at the front door: positional arguments, run folders taken up again, and commands that keep none."""

import sys

import pytest

from experiments import finetune
from tests.test_run import refused
from tl_keras import commands, run, running
from tl_keras.commands import advise
from tl_keras.errors import InputError
from tl_keras.run_folder import RunFolder


@pytest.fixture(autouse=True)
def nothing_to_be_had(isolated_place):
    return isolated_place


ANSWERING = '''"""Says a word."""
from dataclasses import dataclass
from tl_keras.config import Options, option
KEEPS_RUN = False
@dataclass(frozen=True)
class Settings(Options):
    word: str = option(None, "what is said", positional=True)
    times: int = option(1, "how often", minimum=1)
def run(settings):
    print(settings.times * settings.word)
'''


@pytest.fixture
def answering(tmp_path, monkeypatch):
    """A command that keeps no run folder."""
    (tmp_path / "commands").mkdir()
    (tmp_path / "commands/say.py").write_text(ANSWERING)
    monkeypatch.setattr(commands, "__path__", [str(tmp_path / "commands")])
    yield
    sys.modules.pop("tl_keras.commands.say", None)


def test_a_command_without_a_run_folder_leaves_none(capfd, nothing_to_be_had, answering):
    assert run.main(["say", "--times", "2", "ha"]) == 0
    assert capfd.readouterr().out == "haha\n"
    assert "--out" in refused(capfd, "say", "ha", "--out", "run")
    assert "WORD: expected what is said, received nothing" in refused(capfd, "say")
    assert list(nothing_to_be_had.iterdir()) == []


def test_resume_knows_the_data_and_refuses_another(capfd, tmp_path):
    settings = {"data": "digits", "data_dir": None, "backbones": None, "limit": 9, "seed": 0}
    RunFolder.create(tmp_path / "run", {"experiment": "advise", "settings": settings})
    assert "expected digits," in refused(capfd, "advise", "mnist", "--resume", "--out", tmp_path / "run")


def test_model_files_of_a_run_are_found_from_anywhere(nothing_to_be_had):
    for name in ("a.h5", "we,ights.h5", "w=1.h5", "none", "imagenet", "mobilenet_0.25", "resnet50"):
        (nothing_to_be_had / name).touch()
    here = nothing_to_be_had

    def lists(value):
        return running._absolute(advise, "backbones", value)

    assert lists("vgg16=a.h5,resnet50=none, mobilenet_0.25,a.h5") == (
        f"vgg16={here}/a.h5,resnet50=none,mobilenet_0.25,{here}/a.h5"
    ), "names win over files that are called so"
    assert lists("vgg16=w=1.h5") == f"vgg16={here}/w=1.h5"
    for name in ("none", "imagenet"):
        assert running._absolute(finetune, "weights", name) == name
        assert running._absolute(finetune, "weights", f"./{name}") == f"{here}/{name}"
    for name in ("we,ights.h5", "w=1.h5"):
        assert running._absolute(finetune, "weights", name) == f"{here}/{name}", "one file, not a list"
    for value in ("we,ights.h5", "w=1.h5", "./w=1.h5", "vgg16,w=1.h5"):
        with pytest.raises(InputError, match=r"--backbone: .* without a comma or an equals sign in their paths, rece"):
            running._absolute(finetune, "backbone", value)


def test_a_list_of_files_in_a_folder_with_a_comma_is_refused_at_once(tmp_path, monkeypatch, capfd):
    (tmp_path / "a,b").mkdir()
    (tmp_path / "a,b/own.keras").touch()
    monkeypatch.chdir(tmp_path / "a,b")
    assert "without a comma" in refused(capfd, "finetune", "digits", "--backbone", "own.keras", "--out", "run")
    assert not (tmp_path / "a,b/run").exists()
