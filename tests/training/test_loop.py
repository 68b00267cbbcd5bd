"""The loop on images that can be learned, and what it records."""

import csv
import gc

import keras
import numpy as np
import pytest
from keras import layers
from sklearn.metrics import log_loss

from tests.conftest import made_up_split
from tl_keras.data.augment import FlipShift
from tl_keras.errors import InputError
from tl_keras.models import cnn
from tl_keras.records import Predictions
from tl_keras.run_folder import RunFolder
from tl_keras.training import inference, loop, runtime
from tl_keras.training.schedules import Recipe
from tl_keras.transfer.strategies import Phase

RECIPE = Recipe(epochs=6, batch_size=16, learning_rate=3e-3)


def small(classes=2):
    return cnn.build(classes, (16, 16, 3), filters=(4, 4, 8, 8), units=16, dropout=(0.0, 0.0, 0.1))


def train(folder, recipe=RECIPE, precision="float32", classes=2, **options):
    runtime.prepare(seed=0, precision=precision)
    model, test = small(classes), made_up_split(30, classes, seed=1)
    training = loop.fit("net", model, made_up_split(96, classes), test, recipe, RunFolder(folder), **options)
    return model, training


def accuracy(model, split):
    return np.mean(inference.probabilities(model, split.images).argmax(axis=1) == split.labels)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_recorded_loss_is_exact_whatever_is_minimised(tmp_path, smoothing):
    recipe = Recipe(2, 16, 1e-3, label_smoothing=smoothing)
    model, training = train(tmp_path, classes=3, recipe=recipe)
    held = made_up_split(30, 3, seed=1)
    probabilities = np.asarray(model.predict(held.images, verbose=0), "float64")
    expected = log_loss(held.labels, probabilities / probabilities.sum(axis=1, keepdims=True))
    assert training.history["val_loss"][-1] == pytest.approx(expected, rel=1e-4)
    assert Predictions(held.ids, held.labels, probabilities).loss == pytest.approx(expected, rel=1e-6)


def test_several_steps_in_one_call_give_the_same_weights_and_numbers(tmp_path, monkeypatch):
    several, numbers = train(tmp_path / "several")
    assert several.steps_per_execution == 6
    assert several.get_compile_config()["steps_per_execution"] == 1, "who loads the file has other batches"
    monkeypatch.setattr("tl_keras.data.pipeline.steps_per_execution", lambda *_: 1)
    single, same = train(tmp_path / "single")
    for one, other in zip(several.get_weights(), single.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert numbers.history == same.history


@pytest.mark.parametrize("activation", ["relu", "swish"])
def test_a_training_leaves_no_graph_behind(tmp_path, activation):
    def graphs():
        gc.collect()
        return sum(type(each).__name__ == "FuncGraph" for each in gc.get_objects())

    def trains(folder):
        images = keras.Input((16, 16, 3))
        seen = layers.Flatten()(layers.Conv2D(4, 3, activation=activation)(images))
        model = keras.Model(images, layers.Dense(2, activation="softmax")(seen))
        test = made_up_split(30, seed=1)
        loop.fit("net", model, made_up_split(96), test, Recipe(2, 16, 1e-3), RunFolder(folder))

    trains(tmp_path / "first")
    before = graphs()
    trains(tmp_path / "second")
    assert graphs() <= before, "a study of a hundred trials would hold all of them"


def test_a_step_is_traced_once(tmp_path, monkeypatch):
    traced, step = [], keras.Model.train_step
    monkeypatch.setattr(keras.Model, "train_step", lambda self, data: traced.append(data) or step(self, data))
    train(tmp_path)
    assert len(traced) == 1, "tracing takes longer than training on few images"


@pytest.mark.parametrize("augment", [None, FlipShift()])
def test_what_can_be_learned_is_learned(tmp_path, augment):
    model, training = train(tmp_path, classes=3, recipe=Recipe(8, 16, 3e-3), augment=augment)
    assert training.history["val_accuracy"][-1] == 1.0
    test = made_up_split(30, 3, seed=1)
    assert accuracy(model, test) == 1.0
    assert accuracy(model, made_up_split(60, 3, seed=2)) == 1.0


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("last_layers", [None, 2])
def test_mixed_precision_trains(tmp_path, precision, last_layers):
    model, training = train(tmp_path, precision=precision, phases=[Phase(last_layers=last_layers)])
    assert model.get_layer("conv2").compute_dtype == precision.removeprefix("mixed_")
    assert training.history["val_accuracy"][-1] > 0.9
    assert training.history["loss"][-1] < training.history["loss"][0]
    rates = training.history["learning_rate"]
    assert max(rates) > 1e-3 > 10 * rates[-1], "float16 skips steps while it looks for its scale, so zero may be missed"


@pytest.mark.parametrize("last_layers, trainable", [(1, 16 * 2 + 2), (2, 4 * 4 * 8 * 16 + 16 + 16 * 2 + 2)])
def test_only_the_last_layers_move(tmp_path, last_layers, trainable):
    runtime.prepare(seed=0)
    before = small().get_weights()
    model, training = train(tmp_path, phases=[Phase(last_layers=last_layers)])
    moved = [not np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True)]
    assert moved == [False] * (len(before) - 2 * last_layers) + [True] * 2 * last_layers
    assert (training.parameters, training.trainable_parameters) == (model.count_params(), trainable)
    measured = accuracy(model, made_up_split(30, seed=1))
    assert measured == pytest.approx(training.history["val_accuracy"][-1]), "the whole network is up to date"


def test_the_history_file_holds_the_numbers(tmp_path):
    _, training = train(tmp_path)
    with open(tmp_path / "history/net.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]
    assert len(rows) == 6
    for column, values in training.history.items():
        assert [float(row[column]) for row in rows] == values
    assert training.seconds > 0


@pytest.mark.parametrize("last_layers", [None, 1])
def test_tensorboard_shows_accuracy_of_training_and_validation(tmp_path, last_layers):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, training = train(tmp_path, phases=[Phase(last_layers=last_layers)])
    for folder, column in (("train", "accuracy"), ("validation", "val_accuracy")):
        events = EventAccumulator(str(tmp_path / "tensorboard/net" / folder)).Reload()
        shown = events.Scalars("epoch_accuracy")
        np.testing.assert_allclose([event.value for event in shown], training.history[column], rtol=1e-6)
        assert [event.step for event in shown] == training.history["epoch"]


def test_a_frozen_weight_that_changes_stops_the_training(tmp_path):
    model = small()
    frozen = model.get_layer("conv1").kernel

    class Meddling(Recipe):
        def loss(self, labels, probabilities):
            frozen.assign(frozen + 1e-3)
            return super().loss(labels, probabilities)

    with pytest.raises(RuntimeError, match="net: expected frozen weights to stay as they are, received changed ones"):
        loop.fit("net", model, made_up_split(32), made_up_split(8), Meddling(1, 16, 1e-3), RunFolder(tmp_path),
                 phases=[Phase(last_layers=1)])  # fmt: skip


def test_batchnorm_statistics_of_frozen_layers_rest(tmp_path):
    model = keras.Sequential([
        keras.Input((16, 16, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.GlobalAveragePooling2D(),
        layers.Dense(2, activation="softmax"),
    ])  # fmt: skip
    before = [weight.numpy() for weight in model.layers[1].weights]
    loop.fit(
        "net",
        model,
        made_up_split(32),
        made_up_split(8),
        Recipe(2, 16, 1e-2),
        RunFolder(tmp_path),
        phases=[Phase(last_layers=1)],
    )
    for weight, kept in zip(model.layers[1].weights, before, strict=True):
        np.testing.assert_array_equal(weight, kept)


def test_phases_train_one_after_the_other(tmp_path, capsys):
    phases = [Phase(last_layers=1, epochs=0.5), Phase(last_layers=2, epochs=0.5, rate=0.1)]
    recipe = Recipe(6, 16, 1e-2, schedule="constant")
    _, training = train(tmp_path, recipe=recipe, phases=phases)
    assert training.history["epoch"] == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(training.history["learning_rate"], [1e-2] * 3 + [1e-3] * 3, rtol=1e-6)
    assert training.trainable_parameters == 4 * 4 * 8 * 16 + 16 + 16 * 2 + 2
    told = [line for line in capsys.readouterr().out.splitlines() if "parameters train" in line]
    all_of_them = f"{training.parameters:,}"
    assert told == [f"net: {count} of {all_of_them} parameters train" for count in ("34", "2,098")]


def test_fewer_epochs_than_phases(tmp_path):
    phases = [Phase(last_layers=count, epochs=1 / 3) for count in (1, 2, 3)]
    with pytest.raises(InputError, match="--epochs: expected at least 3, one for each phase, received 2; give more"):
        train(tmp_path, recipe=Recipe(2, 16, 1e-2), phases=phases)
