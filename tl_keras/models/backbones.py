"""The registry of networks to re-use: flat functional models, pixels from 0 to 255 in, logits out.

Every entry owns its preprocessing, which is part of the model. Keras itself is imported when the first is built.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path

from tl_keras.errors import InputError
from tl_keras.models import heads, model_file, preprocessing
from tl_keras.models import weights as weight_files
from tl_keras.quiet import keras

SMALLEST_SIDE = 32  # these networks halve the image five times
SMALLEST_MARGIN = 128  # smaller images have no margin to spare: all of them is seen
TOKENS = (0, 0)  # stands for height and width where there are none


@dataclass(frozen=True)
class Backbone:
    """One entry of the registry.

    Args:
        name: as on the command line.
        builder: called with (entry, side or None, weights), gives the images' tensor (B, H, W, 3) and the features
            (B, F) that the new output layer reads.
        source: where the published weights come from: keras.applications, a KerasHub preset, or the model file.
        top1: accuracy on the ImageNet validation images, as published for these weights; None where no figure is.
        input_size: height and width of the published network; None: a person's own model file says it.

    >>> find("resnet50").top1
    0.749
    """

    name: str
    builder: Callable[[Backbone, int | None, str], tuple[keras.KerasTensor, keras.KerasTensor]]
    source: str
    top1: float | None = None
    input_size: tuple[int, int] | None = (224, 224)


def names() -> list[str]:
    """The entries with published weights. MobileNets of any other width (`mobilenet_A`, `mobilenet_v2_A`) and model
    files are found by `find` and `build` as well.

    >>> "vgg16" in names()
    True
    """
    return list(_REGISTRY)


def find(name: str) -> Backbone:
    """The entry called `name`, a MobileNet of the width in the name, or the one of a .keras or .h5 model file.

    Raises:
        InputError: there is none.

    >>> find("mobilenet_v2_0.35").top1, find("mobilenet_0.3").top1
    (0.603, None)
    """
    if name in _REGISTRY:
        return _REGISTRY[name]
    width = re.fullmatch(r"(mobilenet|mobilenet_v2)_(\d+(?:\.\d+)?)", name)
    # Below 1/32 the first convolution of MobileNet has no filter left.
    if width and 1 / 32 <= float(width[2]) <= 4:
        return _mobilenet(name, width[1], float(width[2]))
    if model_file.is_one(name) and Path(name).is_file():
        return Backbone(name, _own, source=name, input_size=None)
    fixed = ", ".join(known for known in _REGISTRY if not known.startswith("mobilenet"))
    raise InputError(
        f"--backbone: expected {fixed}, mobilenet_A or mobilenet_v2_A (A from 0.03125 to 4), or an existing .keras or "
        f".h5 model file, received {name!r}; check the spelling"
    )


def input_shape(name: str) -> tuple[int, int, int]:
    """(height, width, channels) of the images that a network of the registry, or of a model file, sees.

    >>> input_shape("vgg16")
    (224, 224, 3)
    """
    entry = find(name)
    if entry.input_size is not None:
        return (*entry.input_size, 3)
    return heads.input_shape(model_file.load(Path(name)))


def build(name: str, classes: int, weights: str = "none", size: int | None = None) -> keras.Model:
    """A network with a new output layer: images (B, H, W, 3), RGB from 0 to 255, in; logits (B, classes) out.

    The model is flat: every layer stands at the top level, preprocessing first, "logits" last. Between the body and
    "logits" stands what was published there: fc1 and fc2, each with Dropout as in torchvision, in VGG; the class
    token in ViT; global average pooling elsewhere.

    Args:
        name: of a registry entry, or the path of a person's own functional or sequential model (.keras, .h5; a
            .keras file that would run code is refused). That model owns its preprocessing; "logits" takes the place
            of its last dense layer and of a softmax behind it; its other layers keep the weights of the file.
        weights: "none" (random), "imagenet" (the published ones, downloaded), or the path of a weight file of the
            network without its classification layer, as `keras.applications` publishes it. A VGG file with that layer
            gives fc1 and fc2 too; without it they stay new, and a warning says so; either way its first convolution is
            rewritten for the preprocessing of torchvision. An own model has its weights already: only "none" is
            allowed.
        size: height and width of the images; None is the entry's own.

    Raises:
        InputError: no such backbone, weights that cannot be had or do not fit, no KerasHub, a size too small.

    >>> build("mobilenet_0.25", classes=5).output_shape
    (None, 5)
    """
    entry = find(name)
    name = Path(name).stem if entry.builder is _own else name
    if size is not None and size < SMALLEST_SIDE:
        raise InputError(f"size: expected at least {SMALLEST_SIDE} pixels, received {size}; use larger images")
    images, features = entry.builder(entry, size, weights)
    return keras.Model(images, heads.logits(features, classes), name=name)


def stages(model: keras.Model) -> list[list[str]]:
    """The layers of the body by name, from shallow to deep, cut where the image gets smaller for good.

    A stage is a run of layers whose outputs have one height and width; what shrinks only for a moment, such as
    squeeze-and-excitation, or grows by padding, cuts nothing. Where layers work on tokens, a stage begins with what
    an attention layer reads: a transformer block is a stage, and the embedding before them one. A run without weights
    joins the next stage, or the last. Layers behind the last image or token map are the head and stand in no stage:
    fc1 and fc2 of VGG, "logits".

    >>> [len(stage) for stage in stages(build("vgg16", classes=5, size=32))]
    [3, 3, 4, 4, 5]
    """
    stages: list[list] = [[]]
    attention = [layer for layer in model.layers if isinstance(layer, keras.layers.MultiHeadAttention)]
    read = {id(keras.tree.flatten(layer.input)[0]) for layer in attention}
    previous = None
    for layer, size in _body(model):
        begins = id(layer.output) in read or (size != previous and TOKENS not in (size, previous))
        if begins and any(other.weights for other in stages[-1]):
            stages.append([])
        stages[-1].append(layer)
        previous = size
    if not any(layer.weights for layer in stages[-1]):
        rest = stages.pop()
        stages = [*stages[:-1], stages[-1] + rest] if stages else []
    return [[layer.name for layer in stage] for stage in stages]


def _body(model: keras.Model) -> list[tuple]:
    """Each layer up to the last image or token map, and the largest map (H, W) from there on."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    shapes = [keras.tree.flatten(layer.output)[0].shape for layer in layers]
    end = max((position + 1 for position, shape in enumerate(shapes) if len(shape) > 2), default=0)
    sizes = accumulate((shape[1:3] if len(shape) == 4 else TOKENS for shape in reversed(shapes[:end])), max)
    return list(zip(layers[:end], reversed(list(sizes)), strict=True))


def _images(size: int | None) -> keras.KerasTensor:
    return keras.Input((size or 224, size or 224, 3), name="images")


def _application(factory: str, mode: str, entry: Backbone, size: int | None, weights: str, **options):
    images = _images(size)
    with weight_files.published(entry.name, weights, entry.source) as given:
        body = getattr(keras.applications, factory)(
            include_top=False,
            weights=given,
            input_tensor=preprocessing.scaled(images, mode),
            input_shape=tuple(images.shape[1:]),
            **options,
        )
    if weights not in ("none", "imagenet"):
        weight_files.load(entry.name, weights, body)
    return images, keras.layers.GlobalAveragePooling2D(name="pooled")(body.output)


def _densenet(factory: str, entry: Backbone, size: int | None, weights: str):
    # 1e-5 is torchvision's; the rest of the epsilon that the weights were made for goes into the variance.
    images, features = _application(factory, "torch", entry, size, weights)
    for layer in keras.Model(images, features).layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            variance = layer.variables[-1]
            variance.assign(variance + (layer.epsilon - 1e-5))
            layer.epsilon = 1e-5
    return images, features


def _vgg(factory: str, entry: Backbone, size: int | None, weights: str):
    images = _images(size)
    with weight_files.published(entry.name, weights, entry.source) as given:
        whole = getattr(keras.applications, factory)(
            weights=given, input_tensor=preprocessing.scaled(images, "torch"), input_shape=tuple(images.shape[1:])
        )
    body = keras.Model(images, whole.get_layer("block5_pool").output)
    if weights not in ("none", "imagenet") and weight_files.load(entry.name, weights, whole, body) is body:
        warnings.warn(f"{weights} holds no fc1 and fc2: these two layers of {entry.name} start at random", stacklevel=3)
    if weights != "none":
        preprocessing.caffe_to_torch(whole.get_layer("block1_conv1"))
    x = keras.layers.Dropout(0.5, name="fc1_dropout")(whole.get_layer("fc1").output)
    published = whole.get_layer("fc2")
    fc2 = keras.layers.Dense.from_config(published.get_config())  # anew: nothing stands before the published one
    x = keras.layers.Dropout(0.5, name="fc2_dropout")(fc2(x))
    fc2.set_weights(published.get_weights())
    return images, x


def _keras_hub(entry: Backbone, weights: str, random: Callable) -> keras.Model:
    try:
        import keras_hub
    except ImportError as error:
        raise InputError(
            f"{entry.name}: expected the package keras-hub, received {weight_files.first_line(error)}; "
            "pip install 'tl-keras[kerashub]'"
        ) from error
    with weight_files.published(entry.name, weights, f"KerasHub's {entry.source}") as given:
        network = keras_hub.models.Backbone.from_preset(entry.source) if given else random(keras_hub.models)
    if weights not in ("none", "imagenet"):
        weight_files.load(entry.name, weights, network)
    return network


def _torch_resnet(block: str, blocks: tuple[int, ...], entry: Backbone, size: int | None, weights: str):
    # The stride stands in the 3x3 convolution, padding is symmetric, and epsilon is 1e-5: torchvision's layout.
    network = _keras_hub(
        entry,
        weights,
        lambda models: models.ResNetBackbone([64], [7], [64, 128, 256, 512], list(blocks), [1, 2, 2, 2], block),
    )
    images = _images(size)
    features = heads.flat(network, preprocessing.scaled(images, "torch"))
    return images, keras.layers.GlobalAveragePooling2D(name="pooled")(features)


def _vit(entry: Backbone, size: int | None, weights: str):
    images = _images(size)
    # Published position embeddings count the patches of one size.
    if images.shape[1] % 16 or (weights == "imagenet" and images.shape[1] != 224):
        raise InputError(
            f"size: expected 224 (or, untrained, a multiple of 16) for {entry.name}, received {size}; leave it out"
        )
    network = _keras_hub(
        entry, weights, lambda models: models.ViTBackbone(tuple(images.shape[1:]), 16, 12, 12, 768, 3072)
    )
    return images, heads.flat_vit(network, preprocessing.scaled(images, "tf"))


def _own(entry: Backbone, size: int | None, weights: str):
    if weights != "none":
        raise InputError(
            f"--weights: expected none with a model file, received {weights}; {entry.name} has its own weights"
        )
    return heads.cut(weight_files.finite(model_file.load(Path(entry.name)), entry.name), size)


def _mobilenet(name: str, version: str, width: float) -> Backbone:
    factory, figures = _MOBILENETS[version]
    builder = partial(_application, factory, "tf", alpha=width)
    return Backbone(name, builder, "keras.applications", figures.get(width))


# Width 1 from the table of keras.applications, the others from the authors: Howard et al., "MobileNets" (2017),
# table 6, and the table beside the published MobileNetV2 checkpoints. All at 224 x 224.
_MOBILENETS = {
    "mobilenet": ("MobileNet", {0.25: 0.506, 0.5: 0.637, 0.75: 0.684, 1.0: 0.704}),
    "mobilenet_v2": ("MobileNetV2", {0.35: 0.603, 0.5: 0.654, 0.75: 0.698, 1.0: 0.713, 1.3: 0.744, 1.4: 0.750}),
}

_ENTRIES = [
    # The table of keras.applications.
    Backbone("vgg16", partial(_vgg, "VGG16"), "keras.applications", 0.713),
    Backbone("vgg19", partial(_vgg, "VGG19"), "keras.applications", 0.713),
    Backbone("resnet50", partial(_application, "ResNet50", "caffe"), "keras.applications", 0.749),
    Backbone("densenet121", partial(_densenet, "DenseNet121"), "keras.applications", 0.750),
    *(
        _mobilenet(f"{version}_{width}", version, width)
        for version, (_, figures) in _MOBILENETS.items()
        for width in figures
    ),
    Backbone(
        "efficientnetv2b0",
        partial(_application, "EfficientNetV2B0", "torch", include_preprocessing=False),
        "keras.applications",
        0.787,
    ),
    # Torchvision's architecture with timm's A1 weights: Wightman et al., "ResNet strikes back" (2021).
    Backbone("torch_resnet18", partial(_torch_resnet, "basic_block", (2, 2, 2, 2)), "resnet_18_imagenet", 0.715),
    Backbone(
        "torch_resnet34", partial(_torch_resnet, "basic_block", (3, 4, 6, 3)), "hf://timm/resnet34.a1_in1k", 0.764
    ),
    Backbone("torch_resnet50", partial(_torch_resnet, "bottleneck_block", (3, 4, 6, 3)), "resnet_50_imagenet", 0.804),
    # No figure is published for this preset.
    Backbone("vit_base", _vit, "vit_base_patch16_224_imagenet"),
]
_REGISTRY = {entry.name: entry for entry in _ENTRIES}
