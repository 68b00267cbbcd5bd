"""Run folders: made once, kept by one process, taken back without touching what is not theirs."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.isolation import ROOT
from tests.test_run import refused
from tl_keras.errors import InputError
from tl_keras.run_folder import RunFolder

CONFIG = {"experiment": "try", "settings": {}}


@pytest.fixture(autouse=True)
def nothing_to_be_had(isolated_place):
    return isolated_place


# ------------------------------------------------------------------------------------------------- names


def test_runs_that_start_in_one_second_have_names_of_their_own(monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda form: "noon")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: RunFolder.create(None, CONFIG), range(8)))
    assert {out.path.name for out in made} == {"noon", *(f"noon-{number}" for number in range(2, 9))}
    assert all(out.config()["experiment"] == "try" for out in made)


def test_of_those_who_ask_for_one_folder_one_gets_it():
    def create(number):
        try:
            return RunFolder.create(Path("runs/mine"), CONFIG | {"number": number}).config()["number"]
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(create, range(8)))
    (winner,) = [number for number in found if isinstance(number, int)]
    assert RunFolder(Path("runs/mine")).config()["number"] == winner, "nobody wrote over it"


# -------------------------------------------------------------------------------------------------- lock

HOLD = """
import sys, time
from pathlib import Path
from tl_keras.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def held(tmp_path):
    """A run that another process keeps."""
    out = RunFolder.create(tmp_path / "run", {"experiment": "cifar_ab", "settings": {"data": "digits"}})
    process = subprocess.Popen([sys.executable, "-c", HOLD, out.path], stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert process.stdout.readline() == "held\n"
    yield out, process
    process.kill()
    process.communicate()


def test_a_run_is_of_one_process(held, capfd):
    out, process = held
    for command in (["cifar_ab", "--resume", "--out", out.path], ["cifar_ab", "--out", out.path], ["report", out.path]):
        assert "received one that is already running; wait" in refused(capfd, *command)
    assert [path.name for path in out.path.iterdir()] == ["config.json"]
    process.kill()
    process.wait()
    with out.locked():
        pass


def test_a_file_system_without_locks_is_no_hindrance(tmp_path, monkeypatch):
    def unsupported(opened, how):
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with RunFolder.create(tmp_path / "run", CONFIG).locked():
        pass


# --------------------------------------------------------------------------------------------- taken back


def test_what_was_made_for_a_run_that_never_began_is_taken_back(nothing_to_be_had):
    RunFolder.create(Path("a/b/run"), CONFIG).discard_if_unused()
    assert list(nothing_to_be_had.iterdir()) == []
    first, second = (RunFolder.create(Path(f"a/{name}"), CONFIG) for name in ("first", "second"))
    first.discard_if_unused()
    assert [path.as_posix() for path in sorted(Path().rglob("*"))] == ["a", "a/second", "a/second/config.json"]
    second.discard_if_unused()
    assert (Path("a")).is_dir(), "it was there when the second began"


def test_a_folder_that_was_there_stays(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for name in ("mine", "link"):
        RunFolder.create(tmp_path / name, CONFIG).discard_if_unused()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "link", "mine", "nothing"]
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_run_that_began_stays(tmp_path):
    out = RunFolder.create(tmp_path / "run", CONFIG)
    RunFolder(out.path).discard_if_unused()
    RunFolder.reopen(out.path).discard_if_unused()
    assert out.config()["experiment"] == "try", "only who made it takes it back"
    (out.path / "history").mkdir()
    out.discard_if_unused()
    assert out.config()["experiment"] == "try"


def test_a_folder_that_is_refused_stays_as_it_is(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/config.json").write_text("another program's")
    with pytest.raises(InputError, match="expected a new or empty folder"):
        RunFolder.create(tmp_path / "mine", CONFIG)
    assert (tmp_path / "mine/config.json").read_text() == "another program's"


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    out = RunFolder.create(tmp_path / "run", CONFIG)
    (out.path / "models").mkdir()
    kept = [out.path / "config.json", out.path / "models/A.keras", out.path / ".mine", out.path / "models/.7days"]
    for path in kept[1:]:
        path.touch()
    for path in (".4711.config.json", "models/.4711.A.keras", f"models/.{os.getpid()}.B.keras"):
        (out.path / path).touch()
    out.remove_leftovers()
    assert sorted(path for path in out.path.rglob("*") if path.is_file()) == sorted(kept)
