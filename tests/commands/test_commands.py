"""Commands at the front door: positional arguments, run folders taken up again, and commands that keep none."""

import sys

import pytest

from tests.test_run import refused
from tl_keras import commands, run
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


def test_weight_files_of_a_run_are_found_from_anywhere(nothing_to_be_had):
    (nothing_to_be_had / "a.h5").touch()
    absolute = f"vgg16={nothing_to_be_had / 'a.h5'},resnet50=none,vgg19"
    assert run._absolute("backbones", "vgg16=a.h5,resnet50=none,vgg19") == absolute
