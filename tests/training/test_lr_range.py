"""The learning-rate range test finds a rate and leaves no trace."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.conftest import made_up_split
from tl_keras.data.augment import FlipShift
from tl_keras.errors import InputError
from tl_keras.models import cnn
from tl_keras.training import lr_range, runtime
from tl_keras.training.lr_range import LearningRateRange
from tl_keras.training.schedules import Recipe
from tl_keras.transfer.strategies import Phase


@pytest.fixture
def model():
    runtime.prepare(seed=0)
    return cnn.build(2, (16, 16, 3), filters=(4, 4, 4, 4), units=8)


def test_the_suggestion_is_a_tenth_of_the_rate_with_the_lowest_loss():
    assert LearningRateRange(np.array([1e-4, 1e-3, 1e-2]), np.array([0.7, 0.2, 0.9])).suggestion == pytest.approx(1e-4)


def test_it_leaves_no_trace(model):
    model.get_layer("conv1").trainable = False
    before = [np.copy(variable.numpy()) for variable in model.variables]
    flags = [layer.trainable for layer in model.layers]
    lr_range.find(model, made_up_split(60), Recipe(1, 8, 1e-3), Phase(last_layers=2), augment=FlipShift(), steps=30)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert len(model.variables) > len(model.weights), "the state of random generators is among them"
    assert [layer.trainable for layer in model.layers] == flags
    assert not model.compiled and getattr(model, "optimizer", None) is None


def test_the_rates_found_are_those_that_learn(model):
    found = lr_range.find(model, made_up_split(200), Recipe(1, 16, 1e-3, label_smoothing=0.0), Phase(), steps=100)
    assert np.all(np.diff(found.rates) > 0) and len(found.rates) == len(found.losses) <= 100
    assert found.losses.min() < 0.8 * found.losses[0]
    assert 1e-4 < found.suggestion <= 0.1


def test_without_a_finite_loss(model):
    inputs = keras.Input((16, 16, 3))
    broken = keras.Model(inputs, layers.Dense(2, "softmax")(layers.Flatten()(layers.Rescaling(np.nan)(inputs))))
    with pytest.raises(InputError, match="--lr find: expected a loss that is a number, received none"):
        lr_range.find(broken, made_up_split(20), Recipe(1, 8, 1e-3), Phase(), steps=5)
