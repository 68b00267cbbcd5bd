"""Averages of weights against numpy: over the steps of a training, and between before and after fine-tuning."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.conftest import made_up_split
from tl_keras import values
from tl_keras.errors import InputError
from tl_keras.models import cnn
from tl_keras.run_folder import RunFolder
from tl_keras.training import averaging, inference, loop, lr_range, runtime
from tl_keras.training.schedules import Recipe
from tl_keras.transfer.strategies import Phase

STEPS = 4  # 64 images in batches of 16


def recipe(ema, epochs=3, **given):
    return Recipe(epochs, 16, 1e-2, ema=ema, **given)


def small():
    """All of its weights train by gradients."""
    return keras.Sequential([
        keras.Input((16, 16, 3)), layers.Rescaling(1 / 128, -1), layers.Conv2D(4, 3, activation="relu"),
        layers.GlobalAveragePooling2D(), layers.Dense(8, activation="relu"), layers.Dense(2),
        layers.Softmax(dtype="float32"),
    ])  # fmt: skip


def normalised():
    return cnn.build(2, (16, 16, 3), filters=(4, 4, 4, 4), units=8, dropout=(0.0, 0.0, 0.0))


def train(folder, chosen, precision="float32", build=small, **options):
    runtime.prepare(seed=0, precision=precision)
    model, held = build(), made_up_split(30, seed=1)
    return model, loop.fit("net", model, made_up_split(64), held, chosen, RunFolder(folder), **options)


@pytest.fixture
def weights_by_step(monkeypatch):
    """The weights behind each step of the trainings in this test, from the last layer."""
    seen = []

    class Watched(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append([np.copy(weight.numpy()) for weight in self.model.trainable_weights])

    fit = keras.Model.fit

    def fit_watched(self, *args, callbacks=(), **options):
        self.steps_per_execution = 1
        return fit(self, *args, callbacks=[*callbacks, Watched()], **options)

    monkeypatch.setattr(keras.Model, "fit", fit_watched)
    return seen


def averaged(steps, momentum):
    """The average over steps, which begins with the weights behind the first one."""
    average = steps[0]
    for weights in steps[1:]:
        average = [momentum * old + (1 - momentum) * new for old, new in zip(average, weights, strict=True)]
    return average


# ------------------------------------------------------------------------------------------- over the steps


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_network_ends_with_the_average_over_all_steps(tmp_path, weights_by_step, optimizer):
    model, _ = train(tmp_path, recipe(0.8, optimizer=optimizer))
    assert len(weights_by_step) == 3 * STEPS
    for found, expected in zip(model.get_weights(), averaged(weights_by_step, 0.8), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_every_epoch_is_measured_with_the_average_and_goes_on_with_the_weights(tmp_path, weights_by_step):
    _, training = train(tmp_path / "averaged", recipe(0.9))
    by_step = list(weights_by_step)
    weights_by_step.clear()
    train(tmp_path / "plain", recipe(None))
    for one, other in zip(by_step, weights_by_step, strict=True):
        np.testing.assert_array_equal(one[0], other[0], "the weights themselves move as without averages")
    model, held = small(), made_up_split(30, seed=1)
    for epoch, loss in enumerate(training.history["val_loss"], start=1):
        model.set_weights(averaged(by_step[: epoch * STEPS], 0.9))
        said = inference.probabilities(model, held.images)
        expected = -np.mean(np.log(said[np.arange(30), held.labels]))
        assert loss == pytest.approx(expected, rel=1e-4)


def test_only_what_trains_is_averaged_and_each_phase_begins_anew(tmp_path, weights_by_step):
    phases = [Phase(last_layers=1, epochs=0.5), Phase(epochs=0.5)]
    model, _ = train(tmp_path, recipe(0.7, epochs=4, schedule="constant"), phases=phases)
    first, second = weights_by_step[: 2 * STEPS], weights_by_step[2 * STEPS :]
    assert {len(weights) for weights in first} == {2}
    for found, expected in zip(model.get_weights(), averaged(second, 0.7), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    moved = np.abs(second[0][-2] - averaged(first, 0.7)[0]).max()
    assert 0 < moved < np.abs(second[0][-2] - first[0][0]).max(), "the second begins with the average of the first"


def test_no_momentum_is_the_network_itself(tmp_path):
    plain, numbers = train(tmp_path / "plain", recipe(None))
    latest, same = train(tmp_path / "latest", recipe(0.0))
    for one, other in zip(plain.get_weights(), latest.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert numbers.history == same.history


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_averages_too(tmp_path, precision):
    model, training = train(tmp_path, recipe(0.5, epochs=6), precision=precision)
    held = made_up_split(30, seed=1)
    measured = np.mean(inference.probabilities(model, held.images).argmax(axis=1) == held.labels)
    assert training.history["val_accuracy"][-1] == pytest.approx(measured)
    plain, _ = train(tmp_path / "plain", recipe(None, epochs=6), precision=precision)
    assert np.any(model.get_weights()[0] != plain.get_weights()[0])


def test_statistics_of_batch_norm_are_those_of_the_latest_batches(tmp_path):
    averaged_model, plain = (
        train(tmp_path / name, recipe(ema), build=normalised)[0] for name, ema in (("averaged", 0.9), ("plain", None))
    )
    for layer, other in zip(averaged_model.layers, plain.layers, strict=True):
        if isinstance(layer, layers.BatchNormalization):
            np.testing.assert_array_equal(layer.moving_mean, other.moving_mean)
            assert np.any(layer.gamma.numpy() != other.gamma.numpy())


def test_the_range_test_leaves_no_trace_of_averages():
    model, split = normalised(), made_up_split(64)
    before = [np.copy(variable.numpy()) for variable in model.variables]
    lr_range.find(model, split, recipe(0.9), Phase(batch_norm=True), steps=8)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_within_are_the_averages_and_behind_the_weights():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    optimizer = loop.compile_for(model, Recipe(1, 1, 0.1, schedule="constant", ema=0.75), steps=4)
    for _ in range(4):
        optimizer.apply([keras.ops.ones(weight.shape) for weight in model.weights], model.trainable_variables)
    own = model.get_weights()
    with averaging.averages(model):
        within = model.get_weights()
    assert np.all(within[0] > own[0]), "the average is behind, and the weights fall"
    for found, expected in zip(model.get_weights(), own, strict=True):
        np.testing.assert_array_equal(found, expected)
    with averaging.averages(model, for_good=True):
        pass
    for found, expected in zip(model.get_weights(), within, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_momentums_outside_their_bounds_are_refused(momentum):
    with pytest.raises(InputError, match="--ema: expected a momentum of at least 0 and below 1, received"):
        recipe(momentum)


def test_recipes_written_before_there_were_averages_are_read():
    written = values.to_json(Recipe(2, 32, 1e-3))
    del written["ema"]
    assert values.from_json(written) == Recipe(2, 32, 1e-3)
    assert values.from_json(values.to_json(recipe(0.99))).ema == 0.99


# ------------------------------------------------------------------------------ between before and after


def with_batch_norm():
    return keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.BatchNormalization(), layers.Dense(2)])


def random_weights(model, seed):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=weight.shape).astype("float32") for weight in model.weights]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_weights_between_are_those_of_numpy(share):
    model = with_batch_norm()
    before, after = random_weights(model, 0), random_weights(model, 1)
    before[0] = after[0].copy()
    model.set_weights(after)
    given = averaging.interpolate(model, before, share)
    for found, expected in zip(given, after, strict=True):
        np.testing.assert_array_equal(found, expected)
    found = model.get_weights()
    for weight, old, new in zip(found, before, after, strict=True):
        np.testing.assert_allclose(weight, (1 - share) * old + share * new, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[0], after[0], "what is the same before and after stays, to the bit")
    if share in (0, 1):
        for weight, end in zip(found, after if share else before, strict=True):
            np.testing.assert_array_equal(weight, end)


def test_what_is_measured_by_share_and_the_network_comes_back():
    model = with_batch_norm()
    before = [np.zeros_like(weight) for weight in model.get_weights()]
    after = random_weights(model, 1)
    model.set_weights(after)
    found = averaging.by_share(model, before, lambda model: -abs(model.get_weights()[0][0, 0] / after[0][0, 0] - 0.7))
    assert list(found) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert max(found, key=found.get) == 0.7
    np.testing.assert_allclose(list(found.values()), -np.abs(np.linspace(0, 1, 11) - 0.7), atol=1e-6)
    for weight, expected in zip(model.get_weights(), after, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_the_network_comes_back_when_measuring_fails():
    model = with_batch_norm()
    after = random_weights(model, 1)
    model.set_weights(after)
    with pytest.raises(ZeroDivisionError):
        averaging.by_share(model, random_weights(model, 2), lambda model: 1 / 0)
    np.testing.assert_array_equal(model.get_weights()[0], after[0])


def test_other_weights_and_shares_are_refused():
    model = with_batch_norm()
    with pytest.raises(InputError, match=r"interpolation: expected a share from 0 to 1, received 1\.5; give"):
        averaging.interpolate(model, model.get_weights(), 1.5)
    for other in (model.get_weights()[:-1], [np.zeros(1), *model.get_weights()[1:]]):
        with pytest.raises(InputError, match=r"interpolation: expected the weights of .*, 8 arrays, received"):
            averaging.interpolate(model, other, 0.5)
