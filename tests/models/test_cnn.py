"""The network of the practical: its layers, its outputs, its file."""

import keras
import numpy as np
import pytest
from keras import layers

from tl_keras.models import cnn


def count(model, kind):
    return sum(isinstance(layer, kind) for layer in model.layers)


def random_images(number, dtype="uint8"):
    return np.random.default_rng(0).integers(0, 256, (number, 32, 32, 3)).astype(dtype)


def test_layers():
    model = cnn.build(8)
    kinds = (layers.Conv2D, layers.MaxPooling2D, layers.Dense, layers.Dropout, layers.BatchNormalization)
    assert [count(model, kind) for kind in kinds] == [4, 2, 2, 3, 4]
    assert [layer for layer in model.layers if layer.weights][-2:] == [layer for layer in model.layers
                                                                       if isinstance(layer, layers.Dense)]  # fmt: skip
    first, last = model.get_layer("dense1"), model.get_layer("dense2")
    assert (first.activation, last.activation) == (keras.activations.relu, keras.activations.softmax)
    assert model.layers[-1] is last and model.output_shape == (None, 8)


def test_batch_norm_and_relu_follow_every_convolution_and_its_pooling():
    model = cnn.build(8)
    for position, layer in enumerate(model.layers):
        if isinstance(layer, layers.Conv2D):
            after = [other for other in model.layers[position + 1 :] if not isinstance(other, layers.MaxPooling2D)]
            assert layer.activation is keras.activations.linear and not layer.use_bias
            assert isinstance(after[0], layers.BatchNormalization) and isinstance(after[1], layers.ReLU)


def test_probabilities():
    outputs = cnn.build(3).predict(random_images(5), verbose=0)
    assert outputs.shape == (5, 3) and outputs.min() >= 0
    np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=1e-6)


def test_bytes_and_floats_are_the_same_images():
    model = cnn.build(2)
    np.testing.assert_array_equal(
        model.predict(random_images(3), verbose=0), model.predict(random_images(3, "float32"), verbose=0)
    )


def test_dropout_acts_in_training_only():
    model, images = cnn.build(2), random_images(4)
    np.testing.assert_array_equal(model(images), model(images, training=False))
    assert not np.array_equal(model(images, training=True), model(images, training=True))


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_gives_exact_probabilities(precision):
    keras.config.set_dtype_policy(precision)
    model = cnn.build(3)
    assert model.get_layer("conv3").compute_dtype == precision.removeprefix("mixed_")
    outputs = model.predict(random_images(4), verbose=0)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=1e-6)
    assert {weight.dtype for weight in model.weights} == {"float32"}


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_keras_file_round_trip(tmp_path, precision):
    keras.config.set_dtype_policy(precision)
    model = cnn.build(3)
    model.save(tmp_path / "net.keras")
    keras.config.set_dtype_policy("float32")
    loaded = keras.models.load_model(tmp_path / "net.keras", safe_mode=True)
    images = random_images(4)
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), model.predict(images, verbose=0))


def test_other_sizes():
    model = cnn.build(5, (16, 24, 3), filters=(4, 6, 8, 10), units=7)
    assert [layer.filters for layer in model.layers if isinstance(layer, layers.Conv2D)] == [4, 6, 8, 10]
    assert model.get_layer("flatten").output.shape == (None, 4 * 6 * 10)
    assert model.get_layer("dense1").units == 7 and model.output_shape == (None, 5)
