"""The front door: what it answers, what it refuses, and what it says when the disk is full."""

import json
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

import experiments
from tl_keras import command_line, commands, run
from tl_keras.run_folder import RunFolder


@pytest.fixture(autouse=True)
def nothing_to_be_had(isolated_place):
    return isolated_place


def refused(capfd, *arguments):
    """The one line with which a command is refused."""
    code = run.main([str(argument) for argument in arguments])
    out, err = capfd.readouterr()
    assert code == 2, out + err
    assert err.count("\n") == 1 and err.startswith("error: "), err
    assert "expected" in err and "received" in err
    return err


# ------------------------------------------------------------------------------------- list, help, usage


@pytest.mark.parametrize("arguments", [[], ["list"], ["--help"]])
def test_list_names_every_study_and_every_command_with_its_summary(capfd, arguments):
    assert run.main(arguments) == 0
    out, err = capfd.readouterr()
    studies, others = out.split("Commands:")
    assert "CIFAR-10 split A/B: what is re-using a trained network worth?" in studies
    for package, listed, not_listed in ((experiments, studies, others), (commands, others, studies)):
        for name in command_line.summaries(package):
            assert f"\n  {name} " in listed and f"\n  {name} " not in not_listed
    assert {"cifar_ab", "finetune"} <= set(command_line.summaries(experiments))
    assert {"advise", "check-csv", "compare", "predict"} <= set(command_line.summaries(commands)) and err == ""


def test_help_names_every_option(capfd):
    with pytest.raises(SystemExit) as stop:
        run.main(["cifar_ab", "--help"])
    assert stop.value.code == 0
    out = capfd.readouterr().out
    for option in ("data", "data-dir", "epochs", "batch-size", "limit", "seed", "seeds", "registration", "out",
                   "resume", "backbone", "weights", "precision"):  # fmt: skip
        assert f"--{option} " in out or f"--{option}\n" in out


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["cifar"], "command: expected list or one of ants_bees, cifar_ab,"),
        (["cifar_ab", "--epochs", "0"], "--epochs: expected a whole number of at least 1, received 0"),
        (["cifar_ab", "--epochs", "three"], "--epochs: expected a whole number, received 'three'"),
        (["cifar_ab", "--limit", "0"], "--limit: expected a whole number of at least 1, received 0"),
        (["cifar_ab", "--registration", "77"], "--registration: expected two different digits, received '77'"),
        (["cifar_ab", "--registration", ""], "--registration: expected a number of at least two digits, received ''"),
        (["cifar_ab", "--precision", "half"], "--precision: expected one of float32, mixed_bfloat16, mixed_float16"),
        (["cifar_ab", "--backbone", "vgg16"], "--backbone: expected cnn, received vgg16"),
        (["cifar_ab", "--epoch", "3"], "--epoch"),
        (["cifar_ab", "surplus"], "surplus"),
        (
            ["advise"],
            "DATA: expected data set: a name (cifar10, mnist, digits, tfds:NAME) or a path, received nothing",
        ),
        (["advise", "digits", "surplus"], "surplus"),
        (["advise", "digits", "--epochs", "3"], "--epochs"),
        (["advise", "digits", "--limit", "1"], "--limit: expected a whole number of at least 4, received 1"),
        (["advise", "--backbones", "vgg61", "digits"], "received 'vgg61'"),
        (["advise", "digits", "--backbones", "vgg16=gone.h5"], "--backbone vgg16: expected a weight file, imagenet or"),
        (["finetune"], "DATA: expected data set: a path, or a name"),
        (["finetune", "digits", "--strategies", "probe,all"], "strategy: expected one of scratch, probe,"),
        (["finetune", "digits", "--strategies", "full,full"], "--strategies: expected different ones"),
        (["finetune", "digits", "--strategies", "probe", "--lr", "1"], "--lr: expected a strategy that reads it"),
        (["finetune", "digits", "--backbone", "vgg61"], "received 'vgg61'"),
        (["finetune", "digits", "--lr", "zero"], "--lr: expected find or a number above zero, received 'zero'"),
        (["cifar_ab", "--engine", "cloud"], "--engine: expected local, processes:N or ray[:ADDRESS], received 'cloud'"),
        (["advise", "digits", "--engine", "local"], "--engine"),
        (["report"], "RUN: expected the folder of a finished run, received nothing"),
        (["report", "gone"], "run folder: expected one of an earlier run, with config.json, received gone"),
        (["report", "gone", "--out", "run"], "--out"),
        (["compare", "gone"], "RUNS: expected the folders of two runs or more, received 1"),
        (["compare", "gone", "gone"], "RUNS: expected the folders of two runs or more, received 2; name different"),
        (["compare", "gone", "lost"], "run folder: expected one of an earlier run, with config.json, received gone"),
    ],
)
def test_usage_errors(capfd, nothing_to_be_had, arguments, said):
    assert said in refused(capfd, *arguments)
    assert list(nothing_to_be_had.iterdir()) == []


ANSWER = """
import contextlib, io, sys
from tl_keras.run import main
for line in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            code = main(line.split())
        except SystemExit as stop:
            code = stop.code
    print(line, code, *sorted({"tensorflow", "keras", "sklearn", "scipy", "matplotlib"} & set(sys.modules)), sep="|")
"""
NAMES = [name for package in (experiments, commands) for name in command_line.summaries(package)]
ANSWERED = {
    "list": 0, "--help": 0, "nosuch": 2, "cifar_ab --epochs 0": 2, "cifar_ab --registration 7": 2,
    "cifar_ab --resume": 2, "cifar_ab --out /proc/x": 2, "cifar_ab --engine cloud": 2, "advise": 2,
    "advise digits --backbones vgg61": 2, "finetune": 2, "finetune digits --strategies all": 2, "report": 2,
    "report gone": 2, "compare gone lost": 2, "cs5304 --backbone vgg61": 2, "mnist_sizes --sizes few": 2,
} | {f"{name} --help": 0 for name in NAMES} | {f"{name} --nosuch": 2 for name in NAMES}  # fmt: skip


def test_answers_that_need_no_tensorflow_do_not_import_it():
    done = subprocess.run([sys.executable, "-c", ANSWER, *ANSWERED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{line}|{code}" for line, code in ANSWERED.items()]


def test_the_module_is_a_command():
    done = subprocess.run([sys.executable, "-m", "tl_keras.run", "nosuch"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: command: expected list or ") and done.stderr.count("\n") == 1


# ------------------------------------------------------------------------------------- folders and resume


def test_a_folder_with_files_in_it_is_left_alone(capfd, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("all of it")
    line = refused(capfd, "cifar_ab", "--out", tmp_path / "mine")
    assert "expected a new or empty folder" in line and "--resume" in line
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("out", ["/proc/x", "/dev/null/run", "a" * 300])
def test_a_folder_that_cannot_be_written(capfd, out):
    assert f"--out: expected a folder that can be written, received {out} (" in refused(capfd, "cifar_ab", "--out", out)


def test_a_file_is_no_run_folder(capfd, tmp_path):
    (tmp_path / "file").write_text("kept")
    assert "--out: expected a folder" in refused(capfd, "cifar_ab", "--out", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"


def started(folder, experiment="cifar_ab", **settings):
    RunFolder.create(folder, {"experiment": experiment, "settings": {"data": "digits", "epochs": 2, **settings}})
    return folder


def test_resume_without_a_run(capfd, tmp_path):
    assert "--resume: expected --out with the folder of an earlier run, received None" in refused(
        capfd, "cifar_ab", "--resume"
    )
    assert f"received {tmp_path / 'gone'}" in refused(capfd, "cifar_ab", "--resume", "--out", tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


def test_resume_of_another_experiment(capfd, tmp_path):
    folder = started(tmp_path / "run", experiment="six_ways")
    line = refused(capfd, "cifar_ab", "--resume", "--out", folder)
    assert "--resume: expected a run of cifar_ab, received one of six_ways" in line


@pytest.mark.parametrize(
    "option, value, said",
    [("--epochs", "3", "--epochs: expected 2,"), ("--data", "mnist", "--data: expected digits,"),
     ("--limit", "9", "--limit: expected None,"), ("--batch-size", "64", "--batch-size: expected 128,")],
)  # fmt: skip
def test_resume_with_an_option_that_contradicts_the_run(capfd, tmp_path, option, value, said):
    folder = started(tmp_path / "run")
    line = refused(capfd, "cifar_ab", "--resume", "--out", folder, option, value)
    assert said in line and f"received {value}; leave the option out, or start a new run" in line
    assert json.loads((folder / "config.json").read_text())["settings"]["epochs"] == 2


def test_resume_of_a_run_with_unknown_settings(capfd, tmp_path):
    folder = started(tmp_path / "run", momentum=0.9)
    assert "received momentum" in refused(capfd, "cifar_ab", "--resume", "--out", folder)


@pytest.mark.parametrize("content", ['{"experiment": "cifar_ab", "sett', "", "[]", b"\xff"])
def test_resume_of_a_damaged_run(capfd, tmp_path, content):
    folder = started(tmp_path / "run")
    (folder / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    for command in (["cifar_ab", "--resume", "--out", folder], ["report", folder], ["compare", folder, tmp_path]):
        assert "config.json: expected JSON, received a damaged file" in refused(capfd, *command)


@pytest.mark.parametrize("version", [1, None, "2"])
def test_a_run_of_another_version_is_neither_resumed_nor_read(capfd, tmp_path, version):
    folder = started(tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"format": version}))
    for command in (["cifar_ab", "--resume", "--out", folder], ["report", folder], ["compare", folder, tmp_path]):
        assert "run: expected a run of this version, received one of another" in refused(capfd, *command)


# -------------------------------------------------------------------------------------------------- data


@pytest.mark.parametrize("name", ["nosuch", "no/such/set.npz"])
def test_an_unknown_set(capfd, nothing_to_be_had, name):
    line = refused(capfd, "cifar_ab", "--data", name, "--out", "run")
    assert "expected cifar10, mnist, digits, tfds:NAME, a path" in line and repr(name) in line
    assert list(nothing_to_be_had.iterdir()) == [], "no run folder is left behind"


def test_a_set_asked_for_by_name_is_never_replaced(capfd, tmp_path, monkeypatch, nothing_to_be_had):
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("TL_KERAS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path / "nothing"))
    monkeypatch.delenv("KERAS_HOME")
    line = refused(capfd, "cifar_ab", "--data", "cifar10")
    assert (
        str(tmp_path / "data") in line and str(tmp_path / "nothing/.keras/datasets") in line and "put it into" in line
    )
    assert not list(nothing_to_be_had.rglob("config.json")), "no run folder is left behind"


def test_a_damaged_npz(capfd, tmp_path, nothing_to_be_had):
    (tmp_path / "mine.npz").write_bytes(b"PK\x03\x04 and then nothing")
    line = refused(capfd, "cifar_ab", "--data", tmp_path / "mine.npz", "--out", "run")
    assert "mine.npz: expected a whole .npz of plain arrays" in line
    assert list(nothing_to_be_had.iterdir()) == []


def test_too_few_classes_and_too_few_images(capfd, tmp_path, nothing_to_be_had):
    images, labels = np.repeat(np.arange(9, dtype=np.uint8), 32 * 32 * 3).reshape(9, 32, 32, 3), np.arange(9) % 3
    np.savez(tmp_path / "three.npz", x_train=images, y_train=labels, x_test=images + 9, y_test=labels)
    line = refused(capfd, "cifar_ab", "--data", tmp_path / "three.npz", "--out", "run")
    assert "expected a set of ten classes or more, received three with 3" in line
    assert "images of every class" in refused(capfd, "cifar_ab", "--data", "digits", "--limit", "5", "--out", "run")
    assert list(nothing_to_be_had.iterdir()) == []


def test_a_seed_that_no_generator_takes(capfd):
    assert "--seed" in refused(capfd, "cifar_ab", "--data", "digits", "--seed", 2**32, "--epochs", "1", "--out", "run")


# ------------------------------------------------------------------------------------------- a full disk

FULL_DISK = """
import shutil
import sys
import keras
from tests.conftest import made_up_split
from tl_keras.errors import InputError
from tl_keras.transfer import activations
inputs = keras.Input((16, 16, 3))
prefix = keras.Model(inputs, keras.layers.Conv2D(16, 1)(inputs))
storage = activations.Storage(sys.argv[1])
try:
    activations.store(prefix, made_up_split(200), storage)
except InputError as error:
    print(error)
shutil.disk_usage = lambda folder: shutil._ntuple_diskusage(10**12, 0, 10**12)  # another program takes the room
try:
    activations.store(prefix, made_up_split(200), storage)
except OSError as error:
    print(error.errno)
"""


def on_a_small_disk(folder, *command):
    """Run a command where `folder` is a file system of one megabyte, seen by that command alone."""
    mount = f'mount -t tmpfs -o size=1m tmpfs {folder} && exec "$@"'
    return subprocess.run(["unshare", "-rm", "sh", "-c", mount, "sh", *command], capture_output=True, text=True)


def test_a_disk_that_fills_up_with_activations_is_an_error_not_a_crash(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    try:
        possible = on_a_small_disk(folder, "true").returncode == 0
    except FileNotFoundError:
        possible = False
    if not possible:
        pytest.skip("this system lets nobody mount a file system of one's own")
    done = on_a_small_disk(folder, sys.executable, "-c", FULL_DISK, str(folder))
    assert done.returncode != -signal.SIGBUS, "killed by SIGBUS"
    assert done.returncode == 0, done.stderr
    refused, failed = done.stdout.splitlines()
    assert re.match("stored activations: expected at most [0-9.]+ GB, which the disk has, received 0.00 GB", refused)
    assert failed == "28"
