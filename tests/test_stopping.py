"""Ctrl-C and SIGTERM: one line that says how to go on, exit code 1, and no process that stays behind."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import psutil
import pytest

from tl_keras import run, stopping
from tl_keras.run_folder import RunFolder

BOTH = pytest.mark.parametrize("number", stopping.SIGNALS, ids=lambda number: number.name)


@pytest.fixture(autouse=True)
def nothing_to_be_had(isolated_place):
    return isolated_place


def hearing():
    """A suite that runs in the background may have been told to ignore Ctrl-C, and its children would."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def python(code, *arguments, **options):
    """A fresh interpreter in a group of its own, with all its output in one stream."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, preexec_fn=hearing, **options,
    )  # fmt: skip


# -------------------------------------------------------------------------------------------- the exception


@BOTH
def test_what_a_signal_raises_and_that_all_is_as_before(number):
    before = [signal.getsignal(each) for each in (*stopping.SIGNALS, signal.SIGALRM)], sys.unraisablehook
    with pytest.raises(KeyboardInterrupt) as caught, stopping.on_signals():
        signal.raise_signal(number)
    assert stopping.asked(caught.value) and stopping.asked(ValueError("what a library made of it"))
    with stopping.on_signals():
        assert not stopping.asked(ValueError())
    assert ([signal.getsignal(each) for each in (*stopping.SIGNALS, signal.SIGALRM)], sys.unraisablehook) == before


def test_what_is_lost_while_an_object_is_freed_is_raised_again(monkeypatch, capfd):
    monkeypatch.setattr(stopping, "PATIENCE_SECONDS", 0.05)

    class Deaf:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt), stopping.on_signals():
        Deaf()
        time.sleep(60)
    assert capfd.readouterr().err == "", "nobody reads of an exception that was ignored"


def test_a_second_signal_ends_the_process():
    code = """
import signal, time
from tl_keras import stopping
with stopping.on_signals():
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.raise_signal(signal.SIGINT)
        print("never")
"""
    process = python(code)
    assert (process.communicate(timeout=60)[0], process.returncode) == ("", -signal.SIGINT)


def test_what_is_ignored_stays_ignored():
    with stopping.on_signals():
        pass
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping.on_signals():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


# -------------------------------------------------------------------------------------------- the front door

AT_IMPORT = """
import os, sys
name, number, *arguments = sys.argv[1:]
class Signalling:
    def find_spec(self, found, path=None, target=None):
        if found == name:
            sys.meta_path.remove(self)
            exec("os.kill(os.getpid(), int(number))")  # Python notes a KeyboardInterrupt in there
sys.meta_path.insert(0, Signalling())
from tl_keras.run import main
sys.exit(main(arguments))
"""


@BOTH
@pytest.mark.parametrize(
    "name, last",
    [("tl_keras.command_line", "stopped"), ("numpy", "stopped"), ("experiments.cifar_ab", "stopped"),
     ("sklearn.datasets", "stopped; go on with: tl-keras cifar_ab --resume --out 'my run'"),
     ("tensorflow", "stopped; go on with: tl-keras cifar_ab --resume --out 'my run'")],
)  # fmt: skip
def test_a_signal_before_the_work(name, last, number):
    process = python(AT_IMPORT, name, int(number), "cifar_ab", "--data", "digits", "--out", "my run")
    said = process.communicate(timeout=60)[0].splitlines()
    assert (process.returncode, said[-1]) == (1, last)
    assert len(said) <= 3 and os.path.exists("my run") == (last != "stopped")


def read_until(process, words):
    """The lines of a process to the one with these words."""
    seen = []
    while words not in "".join(seen[-1:]):
        seen.append(process.stdout.readline())
        assert seen[-1], "".join(seen)
    return seen


def test_sigterm_in_the_middle_of_training():
    command = "import sys; from tl_keras.run import main; sys.exit(main(sys.argv[1:]))"
    process = python(command, "cifar_ab", "--data", "digits", "--limit", 100, "--epochs", 1, "--out", "run")
    seen = read_until(process, "parameters train")
    process.terminate()
    seen += process.stdout.readlines()
    assert process.wait() == 1, "".join(seen)
    assert seen[-1] == "stopped; go on with: tl-keras cifar_ab --resume --out run\n"
    assert "Traceback" not in "".join(seen)
    with RunFolder.reopen("run").locked():
        pass


POOL = """
import sys, time
from tl_keras import processes, stopping
try:
    with stopping.on_signals(), processes.pool(2) as workers:
        futures = [workers.submit(time.sleep, 600) for _ in range(2)]
        time.sleep(float(sys.argv[1]))
        print("at work", flush=True)
        futures[0].result()
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.parametrize("number", [*stopping.SIGNALS, signal.SIGKILL], ids=lambda number: number.name)
@pytest.mark.parametrize("seconds", [0, 0.25])
def test_workers_end_with_the_process_that_started_them(number, seconds):
    process = python(POOL, seconds)
    read_until(process, "at work")
    below = psutil.Process(process.pid).children(recursive=True)
    (process.send_signal if number == signal.SIGKILL else partial(os.killpg, process.pid))(number)
    said = process.communicate(timeout=60)[0]
    assert said == ("" if number == signal.SIGKILL else "stopped\n") or "leaked semaphore" in said
    assert len(below) >= 2 and psutil.wait_procs(below, timeout=10)[1] == []


IN_A_NOTEBOOK = """
import os, sys
from tl_keras.reporting import notebook
from tl_keras.study import pages
cell = "# %%\\nimport os, time\\nopen('pid', 'w').write(str(os.getpid()))\\ntime.sleep(600)"
pages.write = lambda out: notebook.execute(notebook.build(cell, {}), "notebook.ipynb", ".")
from tl_keras.run import main
sys.exit(main(["report", "run"]))
"""


@BOTH
def test_a_signal_while_a_notebook_is_executed(nothing_to_be_had, number):
    RunFolder.create(nothing_to_be_had / "run", {"experiment": "cifar_ab", "settings": {"data": "digits"}})
    process, told = python(IN_A_NOTEBOOK), nothing_to_be_had / "pid"
    while process.poll() is None and not (told.exists() and told.read_text()):
        time.sleep(0.05)
    os.killpg(process.pid, number)
    said = process.communicate(timeout=60)[0]
    assert (process.returncode, said.strip()) == (1, "stopped")
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)
    assert sorted(path.name for path in nothing_to_be_had.iterdir()) == ["pid", "run"]


def test_errors_are_one_line(capfd):
    assert run.main(["cifar_ab", "--data", "two\nlines", "--out", "a\nb"]) == 2
    assert capfd.readouterr().err.count("\n") == 1
