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


@pytest.mark.parametrize("phases", [ALL, LAST_TWO], ids=["all", "frozen prefix"])
def test_each_watched_split_has_its_accuracy_after_every_epoch(tmp_path, phases):
    model, training, parts = train(tmp_path, phases)
    assert list(training.history) == [*BASIC, "accuracy_first", "accuracy_rest"]
    for name, split in parts.items():
        right = inference.probabilities(model, split.images).argmax(axis=1) == split.labels
        assert training.history[f"accuracy_{name}"][-1] == right.mean()
    together = 0.25 * np.array(training.history["accuracy_first"]) + 0.75 * np.array(training.history["accuracy_rest"])
    np.testing.assert_allclose(together, training.history["val_accuracy"], atol=1e-6)
    with open(tmp_path / "history/net.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(training.history) and len(rows) == 3
    assert [float(row["accuracy_first"]) for row in rows] == training.history["accuracy_first"]


def test_watching_changes_nothing_of_the_training(tmp_path):
    watched, alone = train(tmp_path / "watched"), train(tmp_path / "alone", watched=False)
    for first, second in zip(watched[0].weights, alone[0].weights, strict=True):
        np.testing.assert_array_equal(first.numpy(), second.numpy())
    assert list(alone[1].history) == BASIC
    assert {column: watched[1].history[column] for column in BASIC} == alone[1].history


class Killed(Exception):
    pass


def test_a_killed_training_resumes_to_the_same_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(callbacks, "CHECKPOINT_SECONDS", 0.0)
    whole, save = train(tmp_path / "whole"), Checkpoint.save

    def save_and_stop(self, progress):
        save(self, progress)
        if progress.epoch == 2:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Checkpoint, "save", save_and_stop)
        train(tmp_path / "killed")
    resumed = train(tmp_path / "killed")
    assert resumed[1].history == whole[1].history
    for first, second in zip(whole[0].weights, resumed[0].weights, strict=True):
        np.testing.assert_array_equal(first.numpy(), second.numpy())
    assert (tmp_path / "killed/history/net.csv").read_bytes() == (tmp_path / "whole/history/net.csv").read_bytes()


def test_a_checkpoint_that_watched_other_images_is_refused(tmp_path):
    train(tmp_path)
    with pytest.raises(InputError, match="resume with the settings of that run"):
        train(tmp_path, watched=False)
