"""Heads on and off: softmax behind logits, flat copies of nested networks, KerasHub's ViT in Keras' own layers."""

import keras
import numpy as np
import pytest
from keras import layers

from tl_keras.errors import InputError
from tl_keras.models import heads


def images(side=8):
    return np.random.default_rng(0).uniform(0, 255, (2, side, side, 3)).astype("float32")


def tiny():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, heads.logits(layers.Flatten()(inputs), classes=3), name="tiny")


def test_softmax_stands_behind_the_same_layers():
    model = tiny()
    whole = heads.with_softmax(model)
    assert whole.layers[:-1] == model.layers and whole.name == "tiny"
    outputs = np.array(whole(images()))
    np.testing.assert_allclose(outputs, keras.ops.softmax(model(images())), atol=1e-6)
    assert whole.layers[-1].name == "probabilities" and whole.output_shape == (None, 3)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_probabilities_are_exact_in_mixed_precision(precision):
    keras.config.set_dtype_policy(precision)
    assert {tensor.dtype for tensor in (tiny().output, heads.with_softmax(tiny()).output)} == {"float32"}


def nested():
    """A layer shared by two branches, in a network in a network, behind another layer."""
    shared = layers.Dense(5, name="dense")
    inner_input = keras.Input((4,))
    inner = keras.Model(inner_input, layers.Add()([shared(inner_input), shared(layers.ReLU()(inner_input))]))
    middle = keras.Sequential([keras.Input((4,)), inner, layers.BatchNormalization()])
    inputs = keras.Input((6,))
    return keras.Model(inputs, layers.Dense(2, name="dense")(middle(layers.Dense(4, name="first")(inputs) * 2)))


def test_flat_computes_the_same_with_top_level_layers():
    network, inputs = nested(), keras.Input((6,))
    flat = keras.Model(inputs, heads.flat(network, layers.Rescaling(1.0)(inputs)))
    x = np.random.default_rng(0).normal(size=(3, 6)).astype("float32")
    np.testing.assert_allclose(flat(x), network(x), atol=1e-6)
    assert not any(isinstance(layer, keras.Model) for layer in flat.layers)
    assert len(flat.weights) == len(network.weights) and len({layer.name for layer in flat.layers}) == len(flat.layers)
    # Copies: training one leaves the other.
    flat.layers[-1].kernel.assign(flat.layers[-1].kernel * 0)
    assert np.abs(network.layers[-1].kernel).max() > 0


def test_flat_keeps_a_network_of_two_outputs():
    inner_input = keras.Input((4,))
    inner = keras.Model(inner_input, [layers.Dense(2)(inner_input), layers.Dense(2)(inner_input)])
    inputs = keras.Input((4,))
    network = keras.Model(inputs, layers.Subtract()(inner(inputs)))
    flat = keras.Model(inputs, heads.flat(network, inputs))
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    np.testing.assert_allclose(flat(x), network(x), atol=1e-6)


@pytest.mark.parametrize("tail", [[], [layers.Softmax], [lambda: layers.Activation("softmax")]])
def test_cut_takes_off_the_last_dense_layer(tail):
    body = [keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(4, activation="tanh"), layers.Dense(3)]
    network = keras.Sequential([*body, *(layer() for layer in tail)])
    inputs, features = heads.cut(network)
    expected = keras.Model(network.inputs[0], network.layers[1].output)(images())
    np.testing.assert_allclose(keras.Model(inputs, features)(images()), expected, atol=1e-6)


def test_cut_of_a_network_of_any_size():
    network = keras.Sequential([keras.Input((None, None, 3)), layers.GlobalMaxPooling2D(), layers.Dense(3)])
    assert heads.cut(network)[0].shape == (None, 224, 224, 3)
    assert heads.cut(network, size=40)[0].shape == (None, 40, 40, 3)


def test_cut_refuses_what_is_no_image_classifier():
    two = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    segments = keras.Sequential([keras.Input((8, 8, 3)), layers.Dense(3)])
    for network, message in (
        (keras.Model(two, layers.Dense(2)(layers.Flatten()(layers.Add()(two)))), "one input"),
        (segments, "ends in Dense"),
    ):
        with pytest.raises(InputError, match=message):
            heads.cut(network)


def fitted(*given, **options):
    """Preprocessing whose statistics were learned from images."""
    layer = layers.Normalization(*given, **options)
    layer.adapt(np.random.default_rng(1).normal([120, 90, 60], [30, 50, 70], (40, 8, 8, 3)).astype("float32"))
    return layer


def behind(*first, pixels="float32"):
    """A small classifier that reads what the layers `first` make of the images."""
    rest = layers.Conv2D(4, 3), layers.BatchNormalization(), layers.GlobalAveragePooling2D(), layers.Dropout(0.5)
    return keras.Sequential([keras.Input((8, 8, 3), dtype=pixels), *first, *rest, layers.Dense(3)])


def two_outputs():
    """Kept as it is in a flat network."""
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, [fitted()(inputs), layers.Rescaling(1 / 255)(inputs)])


def features(network):
    x = np.random.default_rng(2).integers(0, 256, (5, 8, 8, 3)).astype("float32")
    expected = keras.Model(network.inputs[0], network.layers[-1].input)(x, training=False)
    return [np.asarray(each, "float32") for each in (keras.Model(*heads.cut(network))(x, training=False), expected)]


POLICIES = ["float32", "mixed_float16", "mixed_bfloat16", "float16", "bfloat16"]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("where", ["at the top", "in a network", "in a network of two outputs"])
def test_fitted_preprocessing_is_copied(tmp_path, policy, where):
    keras.config.set_dtype_policy(policy)
    inputs = keras.Input((8, 8, 3))
    if where == "in a network of two outputs":
        seen = layers.GlobalAveragePooling2D()(layers.Add()(two_outputs()(inputs)))
        network = keras.Model(inputs, layers.Dense(3)(seen))
    else:
        network = behind(keras.Sequential([inputs, fitted()]) if where == "in a network" else fitted())
    network.save(tmp_path / "net.keras")
    found, expected = features(keras.models.load_model(tmp_path / "net.keras"))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.abs(expected).max() < 20, "the images were standardised"


@pytest.mark.parametrize("policy", ["float16", "bfloat16"])
def test_weights_in_half_precision_become_float32_ones(policy):
    keras.config.set_dtype_policy(policy)
    network = behind(layers.Rescaling(1 / 255), layers.Conv2D(3, 1))
    np.testing.assert_array_equal(*features(network))
    copy = keras.Model(*heads.cut(network))
    assert {weight.dtype for weight in copy.weights} == {"float32"} and {
        weight.dtype for weight in network.weights
    } == {policy}
    assert copy.output.dtype == policy


def test_what_is_random_in_training_alone_or_fitted_otherwise_is_copied():
    bins = layers.Discretization(num_bins=4)
    bins.adapt(np.arange(256))
    known = layers.Normalization(mean=[1, 2, 3], variance=[4, 5, 6])
    resting = layers.RandomFlip(), layers.GaussianNoise(1.0), layers.SpatialDropout2D(0.5)
    for first in (bins, known, fitted(axis=None), fitted(invert=True), *resting):
        np.testing.assert_allclose(*features(behind(first, layers.Rescaling(0.1))), rtol=1e-5, err_msg=first.name)
    np.testing.assert_allclose(*features(behind(layers.Rescaling(0.1), pixels="uint8")), rtol=1e-5)


class Remembers(layers.Layer):
    """It computes with a number that neither its configuration nor its weights hold."""

    scale = 1.0

    def call(self, x):
        return x * self.scale


def remembering():
    layer = Remembers()
    layer.scale = 2.0
    return layer


class AlwaysRandom(layers.Layer):
    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x), stddev=50.0, dtype=x.dtype)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("layer", [remembering, AlwaysRandom])
def test_cut_refuses_a_layer_whose_copy_computes_something_else(policy, layer):
    keras.config.set_dtype_policy(policy)
    network = behind(layer())
    with pytest.raises(InputError, match="give the features that they give, received others; leave out the layer"):
        heads.cut(network)
    assert network(np.zeros((1, 8, 8, 3))).shape == (1, 3), "it is as it was"


def test_renewed_draws_weights_and_keeps_fitted_preprocessing():
    network = behind(fitted())
    new = heads.renewed(network)
    x = np.random.default_rng(2).integers(0, 256, (5, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(new.layers[0](x), network.layers[0](x))
    assert np.abs(new.layers[1].kernel - network.layers[1].kernel).max() > 0.1


def test_flat_vit_is_kerashubs(tmp_path):
    keras_hub = pytest.importorskip("keras_hub", reason="the extra kerashub is not installed")
    network = keras_hub.models.ViTBackbone((32, 32, 3), 16, 3, 4, 24, 48)
    for weight in network.weights:
        weight.assign(weight + keras.random.uniform(weight.shape, -0.2, 0.2, seed=1))
    expected = np.array(network(images(32) / 255))[:, 0]
    inputs = keras.Input((32, 32, 3))
    flat = keras.Model(inputs, heads.flat_vit(network, layers.Rescaling(1 / 255)(inputs)))
    np.testing.assert_allclose(flat(images(32)), expected, atol=1e-5)
    flat.save(tmp_path / "vit.keras")
    loaded = keras.models.load_model(tmp_path / "vit.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(images(32)), flat(images(32)))
