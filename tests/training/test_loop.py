"""Loss, schedule and loop: by hand, against PyTorch, and on images that can be learned."""

import csv
import math

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
from tl_keras.training.schedules import Recipe, cross_entropy
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


# -------------------------------------------------------------------------------------------------- loss


def test_loss_by_hand():
    probabilities = np.float32([[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]])
    losses = Recipe(1, 1, 1e-3, label_smoothing=0.1).loss(np.array([0, 1, 0]), probabilities)
    by_hand = [-0.95 * math.log(0.8) - 0.05 * math.log(0.2), math.log(2), -0.95 * math.log(0.1) - 0.05 * math.log(0.9)]
    np.testing.assert_allclose(losses, by_hand, rtol=1e-6)
    plain = Recipe(1, 1, 1e-3, label_smoothing=0.0).loss(np.array([[0], [1], [0]]), probabilities)
    np.testing.assert_allclose(plain, -np.log([0.8, 0.5, 0.1]), rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_loss_equals_that_of_pytorch(smoothing):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(40, 8)).astype("float32") * 2, rng.integers(0, 8, 40)
    ours = Recipe(1, 1, 1e-3, label_smoothing=smoothing).loss(labels, keras.ops.softmax(logits))
    theirs = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(labels), label_smoothing=smoothing, reduction="none"
    )
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_recorded_loss_is_exact_whatever_is_minimised(tmp_path, smoothing):
    recipe = Recipe(2, 16, 1e-3, label_smoothing=smoothing)
    model, training = train(tmp_path, classes=3, recipe=recipe)
    held = made_up_split(30, 3, seed=1)
    probabilities = np.asarray(model.predict(held.images, verbose=0), "float64")
    expected = log_loss(held.labels, probabilities / probabilities.sum(axis=1, keepdims=True))
    assert training.history["val_loss"][-1] == pytest.approx(expected, rel=1e-4)
    assert Predictions(held.ids, held.labels, probabilities).loss == pytest.approx(expected, rel=1e-6)


def test_a_network_that_is_sure_and_wrong_is_not_flattered():
    probabilities = np.float32([[1.0, 0.0], [1.0, 1e-10], [0.25, 0.75]])
    found = np.asarray(cross_entropy(np.array([1, 1, 1]), probabilities))
    np.testing.assert_allclose(found, [52 * np.log(2), 10 * np.log(10), np.log(4 / 3)], rtol=1e-5)


# ---------------------------------------------------------------------------------------------- schedule


def rates(recipe, steps):
    rate = recipe.build_optimizer(steps, epochs=1)._learning_rate
    return np.array([float(rate(step)) for step in range(steps + 1)])


def test_the_rate_rises_to_the_peak_and_falls_to_zero_along_a_cosine():
    found = rates(Recipe(1, 1, learning_rate=5e-3, warmup=0.2), 100)
    np.testing.assert_allclose(found[:21], np.linspace(2e-4, 5e-3, 21), rtol=1e-4)
    np.testing.assert_allclose(found[20:], 2.5e-3 * (1 + np.cos(np.pi * np.arange(81) / 80)), atol=1e-8)


@pytest.mark.parametrize("steps, warmup", [(1, 0.2), (2, 0.2), (3, 0.0), (10, 1.0)])
def test_short_trainings_have_a_rate_too(steps, warmup):
    found = rates(Recipe(1, 1, learning_rate=1e-3, warmup=warmup), steps)
    assert np.all((found >= 0) & (found <= 1e-3 * (1 + 1e-6)))
    assert found[0] > 0


def test_weight_decay_shrinks_kernels_and_leaves_biases_out():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, bias_initializer="ones")])
    before = [weight.numpy() for weight in model.weights]
    recipe = Recipe(1, 1, learning_rate=0.5, weight_decay=0.1)
    optimizer = loop.compile_for(model, recipe, steps=10)
    optimizer.apply([keras.ops.zeros(weight.shape) for weight in model.weights], model.trainable_variables)
    np.testing.assert_allclose(model.weights[0], before[0] * (1 - 0.1 * 0.5 / 25), rtol=1e-6)
    np.testing.assert_array_equal(model.weights[1], before[1])


def test_weight_decay_leaves_normalisation_layers_out():
    model = keras.Sequential([keras.Input((3,)), layers.BatchNormalization(), layers.LayerNormalization()])
    before = [weight + 1 for weight in model.get_weights()]
    model.set_weights(before)
    optimizer = loop.compile_for(model, Recipe(1, 1, learning_rate=0.5, weight_decay=0.1), steps=10)
    optimizer.apply([keras.ops.zeros(weight.shape) for weight in model.trainable_weights], model.trainable_variables)
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_large_gradients_are_scaled_down_together():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1, use_bias=False), layers.Dense(1, use_bias=False)])
    before = [weight.numpy() for weight in model.weights]
    recipe = Recipe(1, 1, 0.1, "sgd", "constant", weight_decay=0.0, momentum=0.0, clip_norm=2.0)
    gradients = [keras.ops.ones((3, 1)), keras.ops.ones((1, 1))]  # of norm 2: they may pass
    optimizer = loop.compile_for(model, recipe, steps=1)
    optimizer.apply([10 * gradient for gradient in gradients], model.trainable_variables)
    for weight, old, gradient in zip(model.weights, before, gradients, strict=True):
        np.testing.assert_allclose(weight, old - 0.1 * gradient, rtol=1e-5)


# -------------------------------------------------------------------------------------------------- loop


def test_several_steps_in_one_call_give_the_same_weights_and_numbers(tmp_path, monkeypatch):
    several, numbers = train(tmp_path / "several")
    assert several.steps_per_execution == 6
    assert several.get_compile_config()["steps_per_execution"] == 1, "who loads the file has other batches"
    monkeypatch.setattr("tl_keras.data.pipeline.steps_per_execution", lambda *_: 1)
    single, same = train(tmp_path / "single")
    for one, other in zip(several.get_weights(), single.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert numbers.history == same.history


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


def test_the_tutorials_rate_falls_to_a_tenth_every_seven_epochs_in_the_batch_where_that_of_pytorch_does():
    torch = pytest.importorskip("torch")
    recipe, steps = Recipe(25, 1, 1e-3, optimizer="sgd", schedule="steps"), 10
    rate = recipe.build_optimizer(steps)._learning_rate
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-3)
    schedule, expected = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7), []
    for _ in range(25):
        expected += [schedule.get_last_lr()[0]] * steps
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose([float(rate(step)) for step in range(25 * steps)], expected, rtol=1e-5)


def test_sgd_with_momentum_equals_that_of_pytorch():
    torch = pytest.importorskip("torch")
    start, gradients = np.float32([1.0, -2.0]), np.random.default_rng(0).normal(size=(5, 2)).astype("float32")
    ours, theirs = keras.Variable(start, name="kernel"), torch.tensor(start, requires_grad=True)
    optimizer = Recipe(1, 1, 0.1, "sgd", "constant", weight_decay=0.0).build_optimizer(steps=5)
    reference = torch.optim.SGD([theirs], lr=0.1, momentum=0.9)
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [ours])
        theirs.grad = torch.tensor(gradient)
        reference.step()
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_rates_by_weight(kind):
    weights = [keras.Variable(np.ones(2, "float32"), name=f"kernel{number}") for number in range(2)]
    factors = {weight.path: factor for weight, factor in zip(weights, (1.0, 0.25), strict=True)}
    optimizer = Recipe(1, 1, 0.1, kind, "constant", weight_decay=0.0).build_optimizer(5, factors=factors)
    optimizer.apply([keras.ops.ones(2)] * 2, weights)
    moved = [1 - weight.numpy()[0] for weight in weights]
    assert moved[1] == pytest.approx(moved[0] / 4, rel=1e-5)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_weight_decay_follows_the_rate_of_each_weight(kind):
    weights = [keras.Variable(np.ones(2, "float32"), name=name) for name in ("kernel0", "kernel1", "bias")]
    factors = {weight.path: factor for weight, factor in zip(weights, (1.0, 0.25, 1.0), strict=True)}
    optimizer = Recipe(1, 1, 0.1, kind, "constant", weight_decay=0.5).build_optimizer(5, factors=factors)
    optimizer.apply([keras.ops.zeros(2)] * 3, weights)
    np.testing.assert_allclose([weight.numpy()[0] for weight in weights], [0.95, 0.9875, 1.0], rtol=1e-6)
