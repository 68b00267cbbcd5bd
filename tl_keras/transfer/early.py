"""A linear classifier on earlier features: cut a network behind the stage whose features suit the images best.

What the first layers of a network see is general, what the last ones see belongs to the images that it was trained on
(Yosinski et al., "How transferable are features in deep neural networks?", 2014). Where the images at hand differ from
those, earlier features may tell their classes apart better (Alain and Bengio, "Understanding intermediate layers using
linear classifier probes", 2016).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tl_keras.data.splits import Split
from tl_keras.errors import InputError
from tl_keras.models import backbones, heads
from tl_keras.quiet import keras
from tl_keras.transfer import activations, frozen, probe, strategies


@dataclass(frozen=True)
class Stage:
    """How a linear classifier does on the features of one stage, or on those that the last layer reads.

    Args:
        layer: whose output is averaged over the image, or read as it is.
        features: how many numbers that gives.
        log_loss, accuracy: of training images that were held out, under the penalty of least log loss; None where no
            image can be held out, and where the features are the same for all images.
    """

    layer: str
    features: int
    log_loss: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Choice:
    """The stages from shallow to deep, the layer of the one that is taken, and the seconds that it took to choose.

    Where the last layer reads something else than the average of the last stage, that is one more: behind fully
    connected layers, for example.

    >>> str(Choice((Stage("conv1", 8, 0.4, 0.9), Stage("conv2", 16, 0.5, 0.9)), "conv1"))
    'features of conv1, number 1 of 2 from shallow to deep'
    """

    stages: tuple[Stage, ...]
    taken: str
    seconds: float = field(default=0.0, compare=False)

    def __str__(self) -> str:
        layers = [stage.layer for stage in self.stages]
        return f"features of {self.taken}, number {layers.index(self.taken) + 1} of {len(layers)} from shallow to deep"


def choose(model: keras.Model, train: Split, storage: activations.Storage, seed: int = 0) -> Choice:
    """The stage of least cross-validated log loss, or the last one where no image can be held out.

    All stages are seen in one run over the images. The same images, network and seed give the same choice.

    Args:
        model: flat, functional; maps images (B, H, W, C) to classes by a last dense layer.
        train: the training images as they are.
        seed: draws the folds.

    Raises:
        InputError: the model has no stage, or as `activations.store` and `probe.solve`.

    >>> choose(model, data.train, Storage(Path("stored"))).taken  # doctest: +SKIP
    'conv4_block6_out'
    """
    started = time.perf_counter()
    images, maps = ends(model)
    prefix = keras.Model(images, [averaged(tensor, f"{layer}_averaged") for layer, tensor in maps.items()])
    stored = activations.store(prefix, train, storage)
    features = {layer: found[:] for layer, found in zip(maps, stored, strict=True)}
    *ends_of_stages, read = features
    if ends_of_stages and np.array_equal(features[ends_of_stages[-1]], features[read]):
        del features[read]
    stages = tuple(_stage(layer, found, train, seed) for layer, found in features.items())
    losses = [(stage.log_loss, number) for number, stage in enumerate(stages) if stage.log_loss is not None]
    taken = stages[min(losses)[1] if losses else -1]
    return Choice(stages, taken.layer, time.perf_counter() - started)


def cut(model: keras.Model, layer: str, classes: int) -> keras.Model:
    """The network up to `layer`, one that could be chosen: its output averaged over the image, new logits, a softmax.

    It shares its layers with `model`.

    >>> cut(networks.build("cnn", 10, View((32, 32))), "relu3", classes=2).output_shape  # doctest: +SKIP
    (None, 2)
    """
    images, maps = ends(model)
    features = averaged(maps[layer], "pooled")
    return heads.with_softmax(keras.Model(images, heads.logits(features, classes), name=model.name))


def _stage(layer: str, features: np.ndarray, train: Split, seed: int) -> Stage:
    scores: tuple[probe.Score, ...] = ()
    if np.ptp(features, axis=0).any():
        scores = probe.solve(features, train.labels, len(train.class_names), seed=seed).scores
    best = min(scores, key=lambda score: score.log_loss, default=None)
    return Stage(layer, features.shape[1], best and best.log_loss, best and best.accuracy)


def ends(model: keras.Model) -> tuple[keras.KerasTensor, dict[str, keras.KerasTensor]]:
    """The images, and under its operation's name the last output of each stage that all behind it comes from.

    And what the last dense layer reads.

    >>> list(ends(backbones.build("mobilenet_0.25", classes=2))[1])[-2:]  # doctest: +SKIP
    ['conv_pw_13_relu', 'pooled']
    """
    first = {names[0]: number for number, names in enumerate(backbones.stages(model), start=1)}
    if not first:
        raise InputError(
            f"{model.name}: expected a network with layers that see images, convolutions for example, received none; "
            "take the strategy probe"
        )
    images, called = frozen.calls(model)
    number, last_of = 0, dict[int, frozen.Call]()
    for call, is_narrow in zip(called, _narrow(images, called), strict=True):
        number = max(number, first.get(call.operation.name, 0))
        is_map = is_narrow and len(call.output.shape) > 2
        # The same features without the zeros around them stand before it.
        if number and is_map and not isinstance(call.operation, keras.layers.ZeroPadding2D):
            last_of[number] = call
    head = strategies.last_dense(model)
    read = next(call.read[0] for call in called if call.operation is head)
    last = next(call for call in called if call.output is read)
    return images, {call.operation.name: call.output for call in (*last_of.values(), last)}


def _narrow(images: keras.KerasTensor, called: list[frozen.Call]) -> Iterator[bool]:
    """For each call whether those behind it read nothing from before it but its output."""
    last = {id(tensor): position for position, call in enumerate(called) for tensor in call.read}
    open_until = last[id(images)]
    for position, call in enumerate(called):
        yield open_until <= position and isinstance(call.output, keras.KerasTensor)
        outputs = keras.tree.flatten(call.output)
        open_until = max(open_until, *(last.get(id(tensor), position) for tensor in outputs))


def averaged(tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """A map (B, H, W, C) or tokens (B, T, C) averaged over their places: (B, C). What has none is as it is.

    >>> averaged(keras.Input((7, 7, 1280)), "pooled").shape  # doctest: +SKIP
    (None, 1280)
    """
    if len(tensor.shape) == 2:
        return tensor
    pooling = keras.layers.GlobalAveragePooling2D if len(tensor.shape) == 4 else keras.layers.GlobalAveragePooling1D
    return pooling(dtype="float32", name=name)(tensor)  # the sum over a large map passes float16
