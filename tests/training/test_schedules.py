"""Loss, learning rates and optimizers: by hand, and against PyTorch."""

import math

import keras
import numpy as np
import pytest
from keras import layers

from tl_keras.training import loop
from tl_keras.training.schedules import Recipe, cross_entropy


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


def test_a_network_that_is_sure_and_wrong_is_not_flattered():
    probabilities = np.float32([[1.0, 0.0], [1.0, 1e-10], [0.25, 0.75]])
    found = np.asarray(cross_entropy(np.array([1, 1, 1]), probabilities))
    np.testing.assert_allclose(found, [52 * np.log(2), 10 * np.log(10), np.log(4 / 3)], rtol=1e-5)


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
