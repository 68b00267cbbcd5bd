"""A training killed at any moment goes on to the very same weights, bit for bit."""

import functools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from experiments import cifar_ab
from tests.conftest import made_up_split
from tl_keras.data.augment import FlipShift
from tl_keras.errors import InputError
from tl_keras.models import cnn
from tl_keras.run import main
from tl_keras.run_folder import RunFolder
from tl_keras.study import publish, runner
from tl_keras.training import callbacks, loop, runtime
from tl_keras.training.checkpoint import Checkpoint, Progress
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import strategies
from tl_keras.transfer.strategies import Phase

RECIPE = Recipe(epochs=4, batch_size=16, learning_rate=1e-3)
ALL, LAST_TWO = (Phase(),), (Phase(last_layers=2),)
GROWING = (Phase(last_layers=1, epochs=0.25), Phase(last_layers=2, epochs=0.25), Phase(epochs=0.5, rate=0.1))
SOLVED_FIRST = strategies.find("lp_ft").phases


@pytest.fixture(autouse=True)
def every_epoch_is_saved(monkeypatch):
    monkeypatch.setattr(callbacks, "CHECKPOINT_SECONDS", 0.0)


def train(folder, recipe=RECIPE, phases=ALL, name="net"):
    runtime.prepare(seed=0)
    model = cnn.build(2, (16, 16, 3), filters=(4, 4, 4, 4), units=8)
    train_split, test_split = made_up_split(60), made_up_split(20, seed=1)
    training = loop.fit(
        name,
        model,
        train_split,
        test_split,
        recipe,
        RunFolder(folder),
        augment=FlipShift(),
        phases=phases,
    )
    return model, training


class Killed(Exception):
    pass


def stop_after(monkeypatch, epochs, before_saving=False):
    """Let the checkpoint of epoch `epochs` be the last thing, or the first missing one, of a training."""
    save = Checkpoint.save

    def save_and_stop(self, progress):
        if before_saving and progress.epoch == epochs:
            raise Killed
        save(self, progress)
        if progress.epoch == epochs:
            raise Killed

    monkeypatch.setattr(Checkpoint, "save", save_and_stop)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The undisturbed training with these phases, trained once: its folder, the network, the numbers."""

    @functools.cache
    def trained(phases):
        folder = tmp_path_factory.mktemp("whole")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(callbacks, "CHECKPOINT_SECONDS", 0.0)
            return folder, *train(folder, phases=phases)

    return trained


KILLS = [(1, True), (2, False), (3, True)]
CASES = [(phases, *kill) for phases in (ALL, LAST_TWO, GROWING) for kill in KILLS]


@pytest.mark.parametrize("phases, epochs, before_saving", [*CASES, (SOLVED_FIRST, 1, False), (SOLVED_FIRST, 2, True)])
def test_the_resumed_training_ends_with_the_same_weights(
    tmp_path, monkeypatch, undisturbed, phases, epochs, before_saving
):
    _, whole, whole_training = undisturbed(phases)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_after(patch, epochs, before_saving)
        train(tmp_path, phases=phases)
    resumed, resumed_training = train(tmp_path, phases=phases)
    for first, second in zip(whole.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(first.numpy(), second.numpy())
    assert resumed_training.history == whole_training.history
    csv = (tmp_path / "history/net.csv").read_text().splitlines()
    assert csv[0] == "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate"
    solved = sum(bool(phase.solved) for phase in phases)
    assert [line.split(",")[0] for line in csv[1:]] == [str(epoch + 1) for epoch in range(4 + solved)]


def test_a_finished_training_is_read_back_without_training(undisturbed, monkeypatch):
    folder, first, training = undisturbed(ALL)
    monkeypatch.setattr("keras.Model.fit", lambda *a, **k: pytest.fail("trained again"))
    again, read = train(folder)
    np.testing.assert_array_equal(first.weights[-1].numpy(), again.weights[-1].numpy())
    assert (read.history, read.seconds) == (training.history, training.seconds)


def test_a_checkpoint_of_another_training_is_refused(undisturbed):
    folder, *_ = undisturbed(ALL)
    with pytest.raises(InputError, match="resume with the settings of that run"):
        train(folder, Recipe(epochs=4, batch_size=16, learning_rate=5e-4))


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, capsys):
    import keras

    variable = keras.Variable(np.zeros(3, "float32"))
    checkpoint = Checkpoint(tmp_path / "a.npz", [variable], {"seed": 0})
    for epoch in (1, 2):
        variable.assign(np.full(3, epoch, "float32"))
        checkpoint.save(Progress([{"epoch": n + 1} for n in range(epoch)], float(epoch)))
    stored = (tmp_path / "a.npz").read_bytes()
    for damaged in (stored[: len(stored) // 2], b"", stored[:200] + bytes(50) + stored[250:]):
        (tmp_path / "a.npz").write_bytes(damaged)
        variable.assign(np.zeros(3, "float32"))
        assert checkpoint.restore().epoch == 1
        np.testing.assert_array_equal(variable.numpy(), np.ones(3))
    assert "damaged" in capsys.readouterr().err


def test_random_state_and_optimizer_are_in_the_checkpoint(undisturbed):
    folder, *_ = undisturbed(ALL)
    with np.load(folder / "checkpoints/net.npz") as stored:
        rows = json.loads(str(stored["meta"]))["rows"]
        count = len(stored.files) - 1
    model = cnn.build(2, (16, 16, 3), filters=(4, 4, 4, 4), units=8)
    seeds = len(model.variables) - len(model.weights)
    assert seeds == 3 and len(rows) == 4
    strategies.set_trainable(model, *ALL)
    # AdamW: two moments for each weight that trains, its step counter and its learning rate or schedule.
    assert count >= len(model.weights) + 2 * len(model.trainable_weights) + seeds + 1


def test_what_is_left_unsaved_is_bounded_by_time_and_the_end_is_saved(tmp_path, monkeypatch):
    saved, save = [], Checkpoint.save
    monkeypatch.setattr(Checkpoint, "save", lambda self, progress: saved.append(progress.epoch) or save(self, progress))
    monkeypatch.setattr(callbacks, "CHECKPOINT_SECONDS", 3600.0)
    train(tmp_path, phases=GROWING)
    assert saved == [1, 2, 4], "the end of each phase"


COMMAND = [sys.executable, "-m", "tl_keras.run", "cifar_ab", "--data", "digits", "--epochs", "2", "--limit", "300"]


def run_and_signal(out, cwd, number, wait_for):
    process = subprocess.Popen(
        [*COMMAND, "--out", str(out)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        # A suite that runs in the background may have been told to ignore Ctrl-C, and its children would.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    seen = []
    for line in process.stdout:
        seen.append(line)
        if wait_for in line:
            time.sleep(0.1)
            process.send_signal(number)
            break
    seen += process.stdout.readlines()
    return process.wait(), "".join(seen)


def test_a_killed_study_resumes_to_the_results_of_an_undisturbed_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(publish, "publish", lambda out: None)  # tests of the studies read the pages
    code, text = run_and_signal(tmp_path / "run", tmp_path, signal.SIGKILL, f"{'B_scratch':<16} epoch 1/2")
    assert code == -signal.SIGKILL, text
    assert main(["cifar_ab", "--resume", "--out", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().out
    assert "A: finished before" in told and "B_scratch: finished before" not in told
    whole = RunFolder.create(tmp_path / "whole", {})
    settings = cifar_ab.Settings(data="digits", epochs=2, limit=300)
    runner.run(cifar_ab.trials(settings, cifar_ab.load(settings)), whole)
    for name in ("A", "B_scratch", "B_last", "B_last_two"):
        for file in (
            f"history/{name}.csv",
            f"predictions/{name}.csv",
            f"predictions/{name}.npz",
            f"models/{name}.keras",
        ):
            resumed, undisturbed = ((tmp_path / run / file).read_bytes() for run in ("run", "whole"))
            assert resumed == undisturbed, file


def test_ctrl_c_tells_how_to_go_on(tmp_path):
    code, text = run_and_signal(tmp_path / "run", tmp_path, signal.SIGINT, "epoch 1/2")
    assert code == 1
    assert f"--resume --out {tmp_path / 'run'}" in text.splitlines()[-1]
    assert "Traceback" not in text
