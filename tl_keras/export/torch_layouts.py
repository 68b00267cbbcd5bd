"""Which of torchvision's networks a Keras model is: its layers under torchvision's names, or the reason why it is none.

A model is known by its layers, whatever its own name is. What weights cannot express has to agree as well: strides,
padding, epsilon, activations, preprocessing. Where it does not, the model is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tl_keras.errors import InputError
from tl_keras.models.preprocessing import TORCH_OFFSET, TORCH_SCALE
from tl_keras.quiet import keras

KERNEL = {"kernel": "weight"}
BIASED = {"kernel": "weight", "bias": "bias"}
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
EPSILON = 1e-5  # in every BatchNorm of torchvision's networks here
CLASSES = None  # a width that the model decides


@dataclass(frozen=True)
class Part:
    """One layer with weights, and the module of torchvision that computes the same.

    Args:
        layer: its name in Keras.
        module: its name in torchvision, the prefix of its keys.
        weights: the names of its arrays in Keras, and in torchvision.
        shape: of the kernel with inputs and outputs last: (H, W, I, O) of a convolution and of the dense layer that
            reads a flat image, (I, O) of another dense layer; (C,) of BatchNorm.
        stride: of a convolution.
        activation: that the layer itself applies.
    """

    layer: str
    module: str
    weights: dict[str, str]
    shape: tuple[Any, ...]
    stride: int = 1
    activation: str = "linear"


@dataclass(frozen=True)
class Layout:
    """One of torchvision's networks.

    Args:
        name: of the function in `torchvision.models`.
        parts: in the order of torchvision's state_dict.
        plain: the kinds of layers without weights that it is made of.
        side: height and width that the images must have, or None where any will do.
    """

    name: str
    parts: tuple[Part, ...]
    plain: frozenset[str]
    side: int | None = None


def find(model: keras.Model) -> Layout:
    """The layout of a model that torchvision can compute to the last bit of its weights.

    Args:
        model: as `backbones.build` gives it (logits), or with `heads.with_softmax` behind it.

    Raises:
        InputError: it is none of these networks, or differs from torchvision's in what weights cannot express.

    >>> find(backbones.build("torch_resnet18", classes=5)).name
    'resnet18'
    """
    layers = {layer.name: layer for layer in getattr(model, "layers", ()) if layer.weights}
    found = [layout for layout in LAYOUTS if {part.layer for part in layout.parts} == set(layers)]
    if not found:
        reason = next((reason for name, reason in REFUSED.items() if name in layers), None)
        known = ", ".join(layout.name for layout in LAYOUTS)
        raise InputError(
            f"torchvision: expected the layers of {known}, as backbones.build gives them, received "
            f"{getattr(model, 'name', type(model).__name__)} of {len(layers)} layers with weights"
            + (f": {reason}; " if reason else "; ")
            + "use vgg16, vgg19, densenet121 or torch_resnet18, 34 or 50"
        )
    layout = found[0]
    _check_size(model, layout)
    for part in layout.parts:
        _check_part(layers[part.layer], part)
    _check_rest(model, layout)
    return layout


def _check_size(model: keras.Model, layout: Layout) -> None:
    received = tuple(model.input_shape[1:3])
    if layout.side and received != (layout.side, layout.side):
        raise InputError(
            f"{layout.name}: expected images of {layout.side} x {layout.side}, received {received[0]} x {received[1]}; "
            f"build the model with size={layout.side}, since torchvision pools what other sizes give to 7 x 7 first"
        )


def _check_part(layer: keras.Layer, part: Part) -> None:
    def expect(what: str, expected, received) -> None:
        if expected != received:
            raise InputError(
                f"{layer.name}: expected {what} {expected} as in torchvision, received {received}; "
                "build the model with backbones.build and change none of its layers"
            )

    expect("arrays", tuple(part.weights), tuple(weight.name for weight in layer.weights))
    expect("weights of type", {"float32"}, {weight.dtype for weight in layer.weights})
    received = tuple(layer.weights[0].shape)
    shape = part.shape[:-1] + received[-1:] if part.shape[-1] is CLASSES else part.shape
    # The layer that reads a flat image has its inputs in one axis.
    expect("shape", (math.prod(shape[:-1]), shape[-1]) if isinstance(layer, keras.layers.Dense) else shape, received)
    if part.weights is NORM:
        return expect("epsilon", EPSILON, layer.epsilon)
    expect("activation", part.activation, getattr(layer.activation, "__name__", layer.activation))
    if isinstance(layer, keras.layers.Conv2D):
        expect("strides", (part.stride, part.stride), tuple(layer.strides))
        expect("dilation", (1, 1), tuple(layer.dilation_rate))
        # "same" pads less at the top and left than at the bottom and right as soon as it has to skip pixels.
        if part.shape[0] > 1:
            expect("padding", "valid" if part.stride > 1 else "same", layer.padding)


def _check_rest(model: keras.Model, layout: Layout) -> None:
    rescale = [layer for layer in model.layers if isinstance(layer, keras.layers.Rescaling)]
    if len(rescale) != 1 or not _is_torchvisions(rescale[0]):
        raise InputError(
            f"{layout.name}: expected one Rescaling layer (x / 255 - mean) / deviation with torchvision's ImageNet "
            f"figures, received {[(layer.scale, layer.offset) for layer in rescale]}; use backbones.build"
        )
    for operation in model.operations:
        # Dropout does nothing in inference, and a softmax behind the logits changes no weight.
        if getattr(operation, "weights", ()) or isinstance(operation, keras.layers.Dropout):
            continue
        if type(operation).__name__ not in layout.plain or not _is_symmetric_or_relu(operation):
            raise InputError(
                f"{layout.name}: expected {', '.join(sorted(layout.plain))} with symmetric padding and ReLU beside the "
                f"layers with weights, received {type(operation).__name__} {operation.name}; use backbones.build"
            )


def _is_torchvisions(rescale: keras.layers.Rescaling) -> bool:
    given = np.broadcast_to(rescale.scale, 3), np.broadcast_to(rescale.offset, 3)
    return np.allclose(given, (TORCH_SCALE, TORCH_OFFSET), rtol=1e-7, atol=0)


def _is_symmetric_or_relu(operation) -> bool:
    if isinstance(operation, keras.layers.Activation):
        return operation.activation is keras.activations.relu
    if isinstance(operation, keras.layers.ZeroPadding2D):
        return len({side for axis in operation.padding for side in axis}) == 1
    return getattr(operation, "padding", "valid") == "valid"


def _vgg(blocks: tuple[int, ...]) -> Iterator[Part]:
    position, inputs = 0, 3
    for block, (count, width) in enumerate(zip(blocks, (64, 128, 256, 512, 512), strict=True), start=1):
        for number in range(1, count + 1):
            name = f"block{block}_conv{number}"
            yield Part(name, f"features.{position}", BIASED, (3, 3, inputs, width), activation="relu")
            position, inputs = position + 2, width  # ReLU is a module there
        position += 1  # and so is pooling
    # Keras flattens height, width and channels, torchvision channels, height and width.
    yield Part("fc1", "classifier.0", BIASED, (7, 7, 512, 4096), activation="relu")
    yield Part("fc2", "classifier.3", BIASED, (4096, 4096), activation="relu")
    yield Part("logits", "classifier.6", BIASED, (4096, CLASSES))


def _resnet(kernels: tuple[int, ...], expansion: int, blocks: tuple[int, ...]) -> Iterator[Part]:
    def pair(layer: str, modules: tuple[str, str], shape: tuple[int, ...], stride: int) -> Iterator[Part]:
        yield Part(f"{layer}_conv", modules[0], KERNEL, shape, stride)
        yield Part(f"{layer}_bn", modules[1], NORM, shape[-1:])

    yield from pair("conv1", ("conv1", "bn1"), (7, 7, 3, 64), 2)
    inputs = 64
    for stack, (count, width) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True)):
        for block in range(count):
            layer, module = f"stack{stack}_block{block}", f"layer{stack + 1}.{block}"
            stride, outputs = 2 if stack and not block else 1, width * expansion
            widths = [inputs, *[width] * (len(kernels) - 1), outputs]
            for number, side in enumerate(kernels, start=1):
                names = f"{module}.conv{number}", f"{module}.bn{number}"
                # The stride stands in the first 3x3 convolution: the second of three, or the first of two.
                own = stride if kernels.index(3) == number - 1 else 1
                yield from pair(f"{layer}_{number}", names, (side, side, *widths[number - 1 : number + 1]), own)
            if stride > 1 or inputs != outputs:
                names = f"{module}.downsample.0", f"{module}.downsample.1"
                yield from pair(f"{layer}_0", names, (1, 1, inputs, outputs), stride)
            inputs = outputs
    yield Part("logits", "fc", BIASED, (inputs, CLASSES))


def _densenet(blocks: tuple[int, ...], growth: int = 32) -> Iterator[Part]:
    yield Part("conv1_conv", "features.conv0", KERNEL, (7, 7, 3, 64), 2)
    yield Part("conv1_bn", "features.norm0", NORM, (64,))
    width = 64
    for number, count in enumerate(blocks, start=1):
        for block in range(1, count + 1):
            layer, module = f"conv{number + 1}_block{block}", f"features.denseblock{number}.denselayer{block}"
            yield Part(f"{layer}_0_bn", f"{module}.norm1", NORM, (width,))
            yield Part(f"{layer}_1_conv", f"{module}.conv1", KERNEL, (1, 1, width, 4 * growth))
            yield Part(f"{layer}_1_bn", f"{module}.norm2", NORM, (4 * growth,))
            yield Part(f"{layer}_2_conv", f"{module}.conv2", KERNEL, (3, 3, 4 * growth, growth))
            width += growth
        if number < len(blocks):
            layer, module = f"pool{number + 1}", f"features.transition{number}"
            yield Part(f"{layer}_bn", f"{module}.norm", NORM, (width,))
            yield Part(f"{layer}_conv", f"{module}.conv", KERNEL, (1, 1, width, width // 2))
            width //= 2
    yield Part("bn", "features.norm5", NORM, (width,))
    yield Part("logits", "classifier", BIASED, (width, CLASSES))


def _layout(name: str, parts: Callable[[], Iterator[Part]], plain: str, side: int | None = None) -> Layout:
    everywhere = {"InputLayer", "Rescaling", "MaxPooling2D", "Softmax"}
    return Layout(name, tuple(parts()), frozenset(everywhere.union(plain.split())), side)


_RESIDUAL = "ZeroPadding2D Activation Add GlobalAveragePooling2D"
_DENSE = "ZeroPadding2D Activation Concatenate AveragePooling2D GlobalAveragePooling2D"
LAYOUTS = (
    _layout("vgg16", partial(_vgg, (2, 2, 3, 3, 3)), "Flatten", 224),
    _layout("vgg19", partial(_vgg, (2, 2, 4, 4, 4)), "Flatten", 224),
    _layout("resnet18", partial(_resnet, (3, 3), 1, (2, 2, 2, 2)), _RESIDUAL),
    _layout("resnet34", partial(_resnet, (3, 3), 1, (3, 4, 6, 3)), _RESIDUAL),
    _layout("resnet50", partial(_resnet, (1, 3, 1), 4, (3, 4, 6, 3)), _RESIDUAL),
    _layout("densenet121", partial(_densenet, (6, 12, 24, 16)), _DENSE),
)

# By a layer that only this network has.
REFUSED = {
    "conv2_block1_3_conv": "the ResNet50 of keras.applications has its stride in the first 1x1 convolution of a block, "
    "torchvision's in the 3x3, so no weights make them equal",
    "expanded_conv_depthwise": "the MobileNetV2 of Keras pads at stride 2 below and to the right only, torchvision's "
    "on all sides, so no weights make them equal",
}
