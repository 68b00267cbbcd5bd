"""A folder that processes share: there while one of them lives, gone when the last one has ended, or soon after."""

import os
import subprocess
import sys
import time

import pytest

from tests.isolation import ROOT

CODE = "import time; from tl_keras import scratch; print(scratch.shared('run'), flush=True); time.sleep(600)"


@pytest.fixture
def start(tmp_path):
    """Start a process that shares the folder; the process and the folder."""
    started = []

    def process():
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
        command = [sys.executable, "-c", CODE]
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        return started[-1], tmp_path / started[-1].stdout.readline().strip()

    yield process
    for one in started:
        one.kill()
        one.wait()


def kill(process):
    process.kill()
    process.wait()


def test_the_last_one_takes_the_folder_along_even_if_it_is_killed(start):
    (first, folder), (second, same) = start(), start()
    assert folder == same and folder.is_dir() and folder.parent.stat().st_mode & 0o777 == 0o700
    (folder / "kept").touch()
    kill(first)
    third, _ = start()
    kill(second)
    assert (folder / "kept").exists()
    kill(third)
    while folder.exists():  # a test that fails waits for ever
        time.sleep(0.02)


def test_what_nobody_uses_is_removed_by_the_next_one(start, tmp_path):
    lost = tmp_path / f"tl_keras-{os.getuid()}/lost"
    lost.mkdir(parents=True)
    (lost / "large").touch()
    _, folder = start()
    assert list(folder.parent.iterdir()) == [folder]
