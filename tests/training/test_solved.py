"""A last layer that is solved, not trained: the optimum on the features, and where training goes on from."""

import csv
from dataclasses import replace

import keras
import numpy as np
import pytest

from tests.conftest import made_up_split
from tl_keras.data.augment import RandomResizedCrop
from tl_keras.data.lazy import CenterCrop
from tl_keras.models import cnn
from tl_keras.run_folder import RunFolder
from tl_keras.training import inference, loop, runtime
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import moments, probe, strategies, streamed

RECIPE = Recipe(epochs=6, batch_size=16, learning_rate=3e-3)


def small():
    return cnn.build(2, (16, 16, 3), filters=(4, 4, 8, 8), units=16, dropout=(0.0, 0.0, 0.1))


def train(folder, strategy, recipe=RECIPE, **options):
    runtime.prepare(seed=0)
    model, phases = small(), strategies.find(strategy).phases
    test = made_up_split(30, seed=1)
    return model, loop.fit("net", model, made_up_split(96), test, recipe, RunFolder(folder), phases=phases, **options)


def accuracy(model, split):
    return np.mean(inference.probabilities(model, split.images).argmax(axis=1) == split.labels)


def features(split):
    """What the last layer of a new network reads."""
    runtime.prepare(seed=0)
    model = small()
    return inference.outputs(keras.Model(model.input, model.get_layer("dropout_dense").output), [split.images])


def test_a_solved_last_layer_is_the_optimum_on_the_features_and_counts_as_one_epoch(tmp_path):
    train_split, test = made_up_split(96), made_up_split(30, seed=1)
    model, training = train(tmp_path, "probe", watched={"few": test.take([0, 1, 2])})
    solution = probe.solve(features(train_split), train_split.labels, 2, seed=RECIPE.seed)
    head = model.get_layer("dense2")
    np.testing.assert_allclose(head.kernel, solution.weights, atol=1e-5)
    np.testing.assert_allclose(head.bias, solution.bias, atol=1e-5)
    columns = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "accuracy_few"]
    assert list(training.history) == columns and training.history["epoch"] == [1]
    assert training.history["learning_rate"] == [0.0], "no gradient was followed"
    assert training.trainable_parameters == 16 * 2 + 2
    for split, column in ((train_split, "accuracy"), (test, "val_accuracy")):
        assert training.history[column] == [accuracy(model, split)]
    np.testing.assert_allclose(training.probabilities(test), inference.probabilities(model, test.images), atol=1e-6)
    with open(tmp_path / "history/net.csv", newline="") as file:
        assert [float(value) for value in next(csv.DictReader(file)).values()] == [
            training.history[column][0] for column in columns
        ]


def test_a_ridge_classifier_is_the_least_squares_head_on_the_features(tmp_path):
    train_split, test = made_up_split(96), made_up_split(30, seed=1)
    model, training = train(tmp_path, "ridge")
    solution = streamed.ridge(features(train_split), train_split.labels, 2, seed=RECIPE.seed)
    np.testing.assert_allclose(model.get_layer("dense2").kernel, solution.weights, atol=1e-5)
    np.testing.assert_allclose(model.get_layer("dense2").bias, solution.bias, atol=1e-5)
    assert training.history["epoch"] == [1] and training.history["learning_rate"] == [0.0]
    assert training.history["val_accuracy"] == [accuracy(model, test)]


@pytest.mark.parametrize("strategy, solve", [("probe", streamed.softmax), ("ridge", streamed.ridge)])
def test_features_of_many_images_are_computed_when_they_are_read(tmp_path, monkeypatch, strategy, solve):
    monkeypatch.setattr(streamed, "SAMPLE", 60)
    monkeypatch.setattr(moments, "CHUNK", 40)
    split = made_up_split(96)
    model, training = train(tmp_path, strategy)
    solution = solve(features(split), split.labels, 2, seed=RECIPE.seed)
    np.testing.assert_allclose(model.get_layer("dense2").kernel, solution.weights, atol=1e-5)
    np.testing.assert_allclose(model.get_layer("dense2").bias, solution.bias, atol=1e-5)
    assert training.history["accuracy"] == [accuracy(model, split)]


def test_a_solved_last_layer_reads_images_as_they_are_measured(tmp_path):
    """Not the larger ones that an augmentation cuts its part out of, nor its versions of them."""
    large = made_up_split(96, side=20)
    seen = replace(large, images=CenterCrop(large.images, (16, 16)))
    runtime.prepare(seed=0)
    model, test, phases = small(), made_up_split(30, seed=1), strategies.find("probe").phases
    loop.fit("net", model, large, test, RECIPE, RunFolder(tmp_path), augment=RandomResizedCrop((16, 16)), phases=phases,
             plain=seen)  # fmt: skip
    solution = probe.solve(features(seen), seen.labels, 2, seed=RECIPE.seed)
    np.testing.assert_allclose(model.get_layer("dense2").kernel, solution.weights, atol=1e-5)


def test_training_goes_on_from_a_solved_last_layer(tmp_path):
    recipe = Recipe(3, 16, 1e-2, schedule="constant")
    _, alone = train(tmp_path / "probe", "probe", recipe)
    _, training = train(tmp_path / "both", "lp_ft", recipe)
    assert training.history["epoch"] == [1, 2, 3, 4], "the epochs asked for, and one for the solution"
    np.testing.assert_allclose(training.history["learning_rate"], [0, 1e-3, 1e-3, 1e-3], rtol=1e-6)
    assert {column: values[:1] for column, values in training.history.items()} == alone.history
    assert training.trainable_parameters > alone.trainable_parameters
