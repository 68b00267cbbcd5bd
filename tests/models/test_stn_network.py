"""The tutorial's network: PyTorch's own numbers, its parts, its files in a fresh process, and what it refuses."""

import json

import keras
import numpy as np
import pytest

from tests.conftest import made_up_split
from tests.fresh import python
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.export import saved_model
from tl_keras.models import model_file, stn, stn_network
from tl_keras.run_folder import RunFolder
from tl_keras.training import loop, runtime
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import frozen

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 28, 28, 3), "uint8")


def moved(model, amount=0.1, seed=0):
    """The network with random weights in its transformer, which then moves every image."""
    rng = np.random.default_rng(seed)
    layer = model.get_layer("transformer")
    for weight in layer.weights[-2:]:
        weight.assign(np.asarray(weight) + rng.normal(scale=amount, size=weight.shape))
    return model


def test_it_starts_as_the_classifier_without_a_transformer():
    with_transformer, plain = (stn_network.build((28, 28, 3), 10, transformer) for transformer in (True, False))
    plain.set_weights(with_transformer.get_weights()[-len(plain.get_weights()) :])
    np.testing.assert_allclose(with_transformer.predict(IMAGES, verbose=0), plain.predict(IMAGES, verbose=0), atol=1e-6)
    maps = stn_network.thetas(with_transformer, IMAGES)
    np.testing.assert_array_equal(maps, np.tile(np.eye(2, 3), (6, 1, 1)))


@pytest.mark.parametrize("transformer, parameters", [(True, 27_360), (False, 21_840)])
def test_it_has_the_tutorials_parameters(transformer, parameters):
    model = stn_network.build((28, 28, 1), 10, transformer)
    assert model.count_params() == sum(np.prod(weight.shape) for weight in model.trainable_weights) == parameters
    assert model.output_shape == (None, 10)
    np.testing.assert_allclose(model.predict(IMAGES[..., :1], verbose=0).sum(axis=1), 1, atol=1e-5)


def test_it_starts_with_pytorchs_weights():
    keras.utils.set_random_seed(0)
    model = stn_network.build((28, 28, 1), 10)
    layers = [*model.get_layer("transformer").localization.layers, *model.layers]
    weighted = {layer.name + str(layer.kernel.shape): layer for layer in layers if hasattr(layer, "kernel")}
    assert len(weighted) == 7
    for name, layer in weighted.items():
        limit = np.prod(layer.kernel.shape[:-1]) ** -0.5
        for weight in (np.asarray(layer.kernel), np.asarray(layer.bias)):
            assert 0.6 * limit < np.abs(weight).max() <= limit, name
        assert np.asarray(layer.kernel).std() == pytest.approx(limit / np.sqrt(3), rel=0.15), name


def torch_reference(weights, images):
    """The tutorial's network in PyTorch's functions, with these weights: probabilities and theta."""
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    given = iter([torch.from_numpy(weight) for weight in weights])

    def convolved(x):
        kernel, bias = next(given), next(given)
        return F.relu(F.max_pool2d(F.conv2d(x, kernel.permute(3, 2, 0, 1), bias), 2))

    def dense(x):
        kernel, bias = next(given), next(given)
        return x @ kernel + bias

    x = (torch.from_numpy(images[..., :1].astype("float32") / 255).permute(0, 3, 1, 2) - 0.1307) / 0.3081
    seen = convolved(convolved(x)).permute(0, 2, 3, 1).flatten(1)
    theta = dense(F.relu(dense(seen))).view(-1, 2, 3)
    x = F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), align_corners=False)
    x = convolved(convolved(x)).permute(0, 2, 3, 1).flatten(1)
    return F.softmax(dense(F.relu(dense(x))), dim=1).numpy(), theta.numpy()


def test_it_equals_the_tutorials_network():
    model = moved(stn_network.build((28, 28, 3), 10))
    grey = IMAGES[..., :1].repeat(3, axis=-1)
    probabilities, theta = torch_reference(model.get_weights(), grey)
    np.testing.assert_allclose(model.predict(grey, verbose=0), probabilities, atol=1e-5)
    np.testing.assert_allclose(stn_network.thetas(model, grey), theta, atol=1e-5)
    assert np.abs(theta - np.eye(2, 3)).max() > 0.05, "the transformer does something"


def test_colours_are_averaged():
    model = moved(stn_network.build((28, 28, 3), 10))
    grey = IMAGES.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), model.predict(grey, verbose=0), atol=1e-5)


def test_theta_of_many_images_comes_in_order():
    model = moved(stn_network.build((28, 28, 1), 10))
    images = np.random.default_rng(1).integers(0, 256, (501, 28, 28, 1), "uint8")
    maps = stn_network.thetas(model, images)
    assert maps.shape == (501, 2, 3)
    np.testing.assert_allclose(maps[[0, 250, 500]], stn_network.thetas(model, images[[0, 250, 500]]), atol=1e-5)


def test_its_loop_trains_the_transformer_too(tmp_path):
    split = made_up_split(96, 2, side=28)
    runtime.prepare(seed=0)
    model = stn_network.build((28, 28, 3), 2)
    recipe = Recipe(3, 16, 0.01, optimizer="sgd", momentum=0.0, schedule="constant", weight_decay=0.0)
    before = [np.asarray(weight) for weight in model.trainable_weights]
    trained = loop.fit("stn", model, split, split, recipe, RunFolder(tmp_path))
    assert trained.trainable_parameters == model.count_params()
    assert all(
        (np.asarray(now) != old).any() for now, old in zip(model.trainable_weights[-8:], before[-8:], strict=True)
    )
    assert np.abs(stn_network.thetas(model, split.images) - np.eye(2, 3)).max() > 0
    assert trained.history["loss"][-1] < trained.history["loss"][0]


def test_a_frozen_transformer_is_run_once():
    model = moved(stn_network.build((28, 28, 3), 10))
    model.trainable = True
    for layer in model.layers[:-5]:
        layer.trainable = False
    prefix, suffix = frozen.split_frozen(model)
    assert any(isinstance(layer, stn.SpatialTransformer) for layer in prefix.layers)
    expected = model(IMAGES.astype("float32"), training=False)
    np.testing.assert_allclose(suffix(prefix(IMAGES.astype("float32")), training=False), expected, atol=1e-5)


FRESH = """
import json, sys
import numpy as np, tensorflow as tf
images = np.load("images.npy")
served = tf.saved_model.load(sys.argv[1])
answers = [served.pixels(images.astype("float32"))["probabilities"].numpy()]
ours = [name for name in sys.modules if name.startswith("tl_keras")]
import keras
import tl_keras.models.stn
model = keras.models.load_model("stn.keras", safe_mode=True)
answers += [model.predict(images, verbose=0), served.pixels(images.astype("float32"))["probabilities"].numpy()]
print(json.dumps([[probabilities.tolist() for probabilities in answers], ours]))
"""


def test_a_fresh_process_loads_it_from_both_files(tmp_path):
    model = moved(stn_network.build((28, 28, 3), 10))
    model_file.save(model, tmp_path / "stn.keras", View((28, 28)), tuple("0123456789"))
    version = saved_model.export(model, View((28, 28)), tuple("0123456789"), tmp_path / "served")
    np.save(tmp_path / "images.npy", IMAGES)
    expected = model.predict(IMAGES, verbose=0)
    done = python("-c", FRESH, version, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    answers, ours = json.loads(done.stdout.splitlines()[-1])
    for found in answers:
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert ours == [], "a SavedModel needs none of our code"


def test_mixed_precision_gives_float32_probabilities():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = moved(stn_network.build((28, 28, 3), 10))
    probabilities = model.predict(IMAGES, verbose=0)
    assert probabilities.dtype == "float32" and np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert stn_network.thetas(model, IMAGES).shape == (6, 2, 3)


@pytest.mark.parametrize("shape", [(8, 8, 3), (28, 17, 1), (28, 28, 2), (28, 28)])
def test_shapes_that_it_cannot_read(shape):
    with pytest.raises(InputError, match=r"input_shape: expected \(height, width, 1 or 3\) of 18 at least, received"):
        stn_network.build(shape, 10)


def test_the_smallest_images_it_reads():
    assert stn_network.build((18, 18, 1), 2).output_shape == (None, 2)


def test_a_network_without_a_transformer_has_no_theta():
    with pytest.raises(InputError, match="stn_classifier: expected a network with one SpatialTransformer, received 0"):
        stn_network.thetas(stn_network.build((28, 28, 1), 10, transformer=False), IMAGES[..., :1])
