"""What torchvision cannot compute to the last bit is refused with the reason."""

import keras
import pytest

from tl_keras.errors import InputError
from tl_keras.export import torch_layouts
from tl_keras.models import backbones


@pytest.mark.parametrize(
    "name, reason",
    [
        ("resnet50", "stride in the first 1x1 convolution .* torchvision's in the 3x3"),
        ("mobilenet_v2_1.0", "pads at stride 2 below and to the right only"),
        ("mobilenet_0.25", "received mobilenet_0.25 of 55 layers with weights; use vgg16"),
    ],
)
def test_other_networks(name, reason):
    with pytest.raises(InputError, match=f"expected the layers of vgg16, .*{reason}") as error:
        torch_layouts.find(backbones.build(name, classes=5, size=64))
    assert "\n" not in str(error.value)


def test_what_is_no_network():
    dense = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="logits")])
    for model in (dense, dense.layers[0], None):
        with pytest.raises(InputError, match="expected the layers of vgg16"):
            torch_layouts.find(model)


def test_vgg_of_another_size():
    with pytest.raises(InputError, match=r"vgg16: expected images of 224 x 224, received 64 x 64; .*size=224"):
        torch_layouts.find(backbones.build("vgg16", classes=5, size=64))


@pytest.fixture(scope="module")
def densenet():
    return backbones.build("densenet121", classes=5, size=32)


@pytest.mark.parametrize(
    "kind, name, attribute, value, message",
    [
        ("BatchNormalization", "bn", "epsilon", 1.001e-5, "bn: expected epsilon 1e-05 .*received 1.001e-05"),
        ("Conv2D", "conv1_conv", "strides", (1, 1), r"conv1_conv: expected strides \(2, 2\) .*received \(1, 1\)"),
        ("Conv2D", "conv1_conv", "padding", "same", "conv1_conv: expected padding valid .*received same"),
        ("Conv2D", "conv2_block1_2_conv", "dilation_rate", (2, 2), "expected dilation"),
        ("Activation", "conv1_relu", "activation", "gelu", "and ReLU .*received Activation conv1_relu"),
        ("ZeroPadding2D", "", "padding", ((2, 4), (3, 3)), "symmetric padding .*received ZeroPadding2D"),
        ("Dense", "logits", "activation", "softmax", "logits: expected activation linear .*received softmax"),
        ("Rescaling", "rescale", "scale", 1 / 127.5, "expected one Rescaling layer"),
    ],
)
def test_what_weights_cannot_express(densenet, monkeypatch, kind, name, attribute, value, message):
    assert torch_layouts.find(densenet).name == "densenet121"
    layer = next(layer for layer in densenet.layers if type(layer).__name__ == kind and name in ("", layer.name))
    monkeypatch.setattr(layer, attribute, keras.activations.get(value) if attribute == "activation" else value)
    with pytest.raises(InputError, match=message) as error:
        torch_layouts.find(densenet)
    assert "\n" not in str(error.value)


def test_layers_between(densenet):
    noisy = keras.layers.GaussianNoise(0.1)(densenet.get_layer("pooled").output)
    with pytest.raises(InputError, match="received GaussianNoise"):
        torch_layouts.find(keras.Model(densenet.input, densenet.get_layer("logits")(noisy)))
    images = keras.Input((32, 32, 3))
    with pytest.raises(InputError, match="of 1 layers with weights"):
        torch_layouts.find(keras.Model(images, densenet(images)))


def test_weights_besides():
    model = backbones.build("densenet121", classes=5, size=32)
    model.get_layer("logits").enable_lora(2)
    with pytest.raises(InputError, match=r"logits: expected arrays \('kernel', 'bias'\)"):
        torch_layouts.find(model)
