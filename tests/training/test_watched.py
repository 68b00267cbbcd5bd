"""Splits that are watched during training: their accuracy stands in the history, also after a kill."""

import csv

import numpy as np
import pytest

from tests.conftest import made_up_split
from tl_keras.errors import InputError
from tl_keras.models import cnn
from tl_keras.run_folder import RunFolder
from tl_keras.training import callbacks, inference, loop, runtime
from tl_keras.training.checkpoint import Checkpoint
from tl_keras.training.schedules import Recipe
from tl_keras.transfer.strategies import Phase

RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=3e-3)
BASIC = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]


ALL, LAST_TWO = (Phase(batch_norm=True),), (Phase(last_layers=2),)


def train(folder, phases=ALL, watched=True):
    runtime.prepare(seed=0)
    model, test = cnn.build(2, (16, 16, 3), filters=(4, 4, 4, 4), units=8), made_up_split(40, seed=1)
    parts = {"first": test.take(np.arange(10)), "rest": test.take(slice(10, 40))}
    options = {"watched": parts} if watched else {}
    training = loop.fit("net", model, made_up_split(64), test, RECIPE, RunFolder(folder), phases=phases, **options)
    return model, training, parts


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed training: its folder, the network, the numbers, the watched splits."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, *train(folder)


@pytest.mark.parametrize("phases", [ALL, LAST_TWO], ids=["all", "frozen prefix"])
def test_each_watched_split_has_its_accuracy_after_every_epoch(tmp_path, whole, phases):
    folder, model, training, parts = whole if phases is ALL else (tmp_path, *train(tmp_path, phases))
    assert list(training.history) == [*BASIC, "accuracy_first", "accuracy_rest"]
    for name, split in parts.items():
        right = inference.probabilities(model, split.images).argmax(axis=1) == split.labels
        assert training.history[f"accuracy_{name}"][-1] == right.mean()
    together = 0.25 * np.array(training.history["accuracy_first"]) + 0.75 * np.array(training.history["accuracy_rest"])
    np.testing.assert_allclose(together, training.history["val_accuracy"], atol=1e-6)
    with open(folder / "history/net.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(training.history) and len(rows) == 3
    assert [float(row["accuracy_first"]) for row in rows] == training.history["accuracy_first"]


def test_watching_changes_nothing_of_the_training(tmp_path, whole):
    _, watched, numbers, _ = whole
    alone, training, _ = train(tmp_path, watched=False)
    for first, second in zip(watched.weights, alone.weights, strict=True):
        np.testing.assert_array_equal(first.numpy(), second.numpy())
    assert list(training.history) == BASIC
    assert {column: numbers.history[column] for column in BASIC} == training.history


class Killed(Exception):
    pass


def test_a_killed_training_resumes_to_the_same_rows(tmp_path, monkeypatch, whole):
    monkeypatch.setattr(callbacks, "CHECKPOINT_SECONDS", 0.0)
    folder, undisturbed, numbers, _ = whole
    save = Checkpoint.save

    def save_and_stop(self, progress):
        save(self, progress)
        if progress.epoch == 2:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Checkpoint, "save", save_and_stop)
        train(tmp_path)
    model, training, _ = train(tmp_path)
    assert training.history == numbers.history
    for first, second in zip(undisturbed.weights, model.weights, strict=True):
        np.testing.assert_array_equal(first.numpy(), second.numpy())
    assert (tmp_path / "history/net.csv").read_bytes() == (folder / "history/net.csv").read_bytes()


def test_a_checkpoint_that_watched_other_images_is_refused(whole):
    folder, *_ = whole
    with pytest.raises(InputError, match="resume with the settings of that run"):
        train(folder, watched=False)
