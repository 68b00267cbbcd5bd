"""Published weights under torchvision's conventions: the same numbers, but for the border of VGG's images."""

import keras
import numpy as np
import pytest

from tl_keras.models import backbones, preprocessing


def pixels(side=32):
    return np.random.default_rng(0).integers(0, 256, (2, side, side, 3)).astype("uint8")


def outputs(model, layer):
    return np.array(keras.Model(model.input, model.get_layer(layer).output)(pixels()))


def randomised(network):
    rng = np.random.default_rng(0)
    for weight in network.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(10 ** rng.uniform(-6, 0, weight.shape))  # a dead channel has next to no variance
        elif weight.name != "kernel":
            weight.assign(rng.normal(0, 1, weight.shape))
    return network


@pytest.mark.parametrize("mode", ["caffe", "torch", "tf"])
def test_layers_do_what_preprocess_input_does(mode):
    images = keras.Input((32, 32, 3))
    expected = keras.applications.imagenet_utils.preprocess_input(pixels().astype("float32"), mode=mode)
    found = keras.Model(images, preprocessing.scaled(images, mode))(pixels())
    np.testing.assert_allclose(found, expected, atol=3e-5)


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    """The network of keras.applications on Caffe's images, and the backbone that loads its file."""
    images = keras.Input((32, 32, 3), name="images")
    network = keras.applications.VGG16(weights=None, input_tensor=preprocessing.scaled(images, "caffe"))
    path = str(tmp_path_factory.mktemp("weights") / "whole.weights.h5")
    randomised(network).save_weights(path)
    return network, backbones.build("vgg16", classes=2, weights=path, size=32)


def test_vgg_computes_the_same_inside_of_the_image(vgg):
    expected, found = (outputs(model, "block1_conv1")[:, 1:-1, 1:-1] for model in vgg)
    assert expected.std() > 10
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_vgg_pads_with_half_a_level_less(vgg):
    """At the border the two differ by what torchvision's mean colour, in place of Caffe's, makes of the padding."""
    network, ours = vgg
    kernel = network.get_layer("block1_conv1").kernel[:, :, ::-1]
    shift = 255 * np.array(preprocessing.TORCH_MEAN) - preprocessing.CAFFE_MEAN
    np.testing.assert_allclose(shift, (-0.005, -0.499, -0.409), atol=1e-9)
    padding = np.pad(np.zeros((32, 32)), 1, constant_values=1)[None, :, :, None] * shift
    moved = np.array(keras.ops.conv(padding.astype("float32"), kernel, padding="valid"))
    images = keras.Input((32, 32, 3))
    linear = []
    for model in vgg:
        layer = keras.layers.Conv2D.from_config({**model.get_layer("block1_conv1").get_config(), "activation": None})
        mode = "caffe" if model is network else "torch"
        linear.append(keras.Model(images, layer(preprocessing.scaled(images, mode))))
        layer.set_weights(model.get_layer("block1_conv1").get_weights())
    np.testing.assert_allclose(linear[1](pixels()) - linear[0](pixels()), moved.repeat(2, axis=0), atol=2e-4)
    expected, found = (outputs(model, "fc2") for model in (network, ours))
    assert 0 < np.abs(found - expected).max() < 0.01 * expected.std()


def test_densenet_takes_torchvisions_epsilon_without_a_change(tmp_path):
    images = keras.Input((32, 32, 3), name="images")
    network = keras.applications.DenseNet121(
        include_top=False, weights=None, input_tensor=preprocessing.scaled(images, "torch"), pooling="avg"
    )
    randomised(network).save_weights(tmp_path / "body.weights.h5")
    ours = backbones.build("densenet121", classes=2, weights=str(tmp_path / "body.weights.h5"), size=32)
    layers = [layer for layer in ours.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {layer.epsilon for layer in layers} == {1e-5} and network.get_layer("bn").epsilon == 1.001e-5
    expected, found = np.array(network(pixels())), outputs(ours, "pooled")
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    expected, found = outputs(network, "conv1_bn"), outputs(ours, "conv1_bn")
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
