"""A network is asked about every image, in order, whatever the images lie in."""

import keras
import numpy as np
import pytest

from tests.conftest import made_up_split
from tl_keras.data.lazy import CenterCrop, Part
from tl_keras.models import cnn
from tl_keras.training import inference


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return cnn.build(3, (16, 16, 3), filters=(4, 4, 4, 4), units=8)


@pytest.mark.parametrize("count", [1, 500, 510])
def test_a_network_is_asked_about_every_image_in_order(model, count):
    images = made_up_split(count, 3).images
    seen = inference.probabilities(model, images)
    assert seen.shape == (count, 3) and seen.dtype == np.float32
    np.testing.assert_allclose(seen, model.predict(images, verbose=0), atol=1e-6)


@pytest.mark.parametrize("rows", [slice(0, 510), slice(3, 8), slice(490, 600)])
def test_outputs_that_are_computed_when_they_are_read(model, rows):
    images = made_up_split(510, 3).images
    found = inference.Outputs(model, [CenterCrop(images, (16, 16))])
    assert found.shape == (510, 3) and len(found) == 510 and found.dtype == np.float32
    np.testing.assert_allclose(found[rows], inference.outputs(model, [images])[rows], atol=1e-6)
    maps = keras.Model(model.input, model.layers[3].output)
    flat = inference.Outputs(maps, [images])[:3]
    assert flat.dtype == np.float32
    np.testing.assert_allclose(flat, inference.outputs(maps, [images[:3]]).reshape(3, -1), atol=1e-6)


def test_images_that_are_made_when_they_are_read(model):
    large = made_up_split(40, 3, side=20).images
    lazy = Part(CenterCrop(large, (16, 16)), slice(None, None, -1))
    expected = inference.probabilities(model, large[::-1, 2:18, 2:18])
    np.testing.assert_array_equal(inference.probabilities(model, lazy), expected)


def test_a_network_of_two_inputs_reads_both_in_step():
    inputs = [keras.Input((2,)), keras.Input((3,))]
    model = keras.Model(inputs, keras.layers.Concatenate()(inputs))
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(700, 2)).astype("float32"), rng.normal(size=(700, 3)).astype("float32")
    np.testing.assert_array_equal(inference.probabilities(model, first, second), np.concatenate([first, second], 1))
    np.testing.assert_array_equal(inference.outputs(model, [first, second]), np.concatenate([first, second], 1))


def test_mixed_precision_gives_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    assert inference.probabilities(model, np.zeros((3, 4), "float32")).dtype == np.float32


def test_dropout_rests(model):
    images = made_up_split(6, 3).images
    np.testing.assert_array_equal(inference.probabilities(model, images), inference.probabilities(model, images))
