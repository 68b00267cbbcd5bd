"""Stacked features: what several networks at several sizes make of an image, side by side, one block for each.

A block is one network at one size: the features that its last layer would read and those of its middle stages, averaged
over the image, and over the image and its mirror image. Blocks are computed once and stored, each by itself; any set of
them can then be tried in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tl_keras.data import selection
from tl_keras.data.lazy import Mirrored
from tl_keras.data.splits import Split
from tl_keras.data.view import View
from tl_keras.models import backbones
from tl_keras.quiet import keras
from tl_keras.transfer import activations, early
from tl_keras.transfer.activations import Storage
from tl_keras.transfer.block import Block


def network(block: Block) -> keras.Model:
    """The features of a block without mirror images: images (B, size, size, 3) in, (B, F) out.

    Raises:
        InputError: as `backbones.build`, and where the network has no stages.

    >>> network(Block("mobilenet_0.25", "none", 64)).output_shape
    (None, 384)
    """
    own = backbones.find(block.backbone).input_size is None
    if block.weights == "none":  # random ones are drawn alike each time: what is stored is what is saved
        keras.utils.set_random_seed(0)
    model = backbones.build(block.backbone, 2, block.weights, size=None if own else block.size)
    images, maps = early.ends(model)
    *stages, read = maps
    middle = stages[:-1]  # the last stage's average is what networks with average pooling read
    taken = [*middle[max(0, len(middle) - block.stages) :], read]
    parts = [early.averaged(maps[layer], f"{layer}_averaged") for layer in taken]
    joined = keras.layers.Concatenate(name="features")(parts) if parts[1:] else parts[0]
    return keras.Model(images, joined, name=_safe(f"{block.name}_{block.size}"))


def features(block: Block, split: Split, mirror: bool, storage: Storage) -> np.ndarray:
    """What a block makes of the images of a split: (N, F), float32; stored, found again, taken up when stopped.

    Args:
        mirror: average over each image and its mirror image.

    Raises:
        InputError: as `network` and `activations.store`.
    """
    seen = selection.seen(split, View((block.size, block.size)))
    body = network(block)
    found = np.asarray(activations.store(body, seen, storage)[0][:], "float32")
    if mirror:
        other = replace(seen, images=Mirrored(seen.images))
        found = (found + activations.store(body, other, storage)[0][:]) / 2
    return found


def stacked(blocks: Sequence[Block], split: Split, mirror: bool, storage: Storage) -> np.ndarray:
    """The features of all blocks side by side, (N, F)."""
    return np.hstack([features(block, split, mirror, storage) for block in blocks])


def model(blocks: Sequence[Block], view: View) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The images' tensor, as `view` has them, and the stacked features (B, F) of it, as a network that can be saved.

    Each block scales the images itself, as Pillow does, to whole levels.
    """
    images = keras.Input(view.shape, name="images")
    layers, found, taken = keras.layers, list[keras.KerasTensor](), set[str]()
    for number, block in enumerate(blocks, start=1):
        body, size = network(block), (block.size, block.size)
        if body.name in taken:  # two files may have one name
            body.name = f"{body.name}_{number}"
        taken.add(body.name)
        scaled = images
        if view.size != size:
            scaled = covering(images, size, body.name)
        seen = body(scaled)
        if view.mirror:
            other = body(keras.ops.flip(scaled, axis=2))
            seen = layers.Average(dtype="float32", name=f"{body.name}_mirrored")([seen, other])
        found.append(seen)
    return images, layers.Concatenate(dtype="float32", name="stacked")(found) if found[1:] else found[0]


def covering(images: keras.KerasTensor, size: tuple[int, int], name: str) -> keras.KerasTensor:
    """Images (B, H, W, C) scaled as `decode.resize` does: to cover `size`, the centre cut out.

    As Pillow does, across first and then down, to whole levels each time, and of halves to the upper one.

    >>> covering(keras.Input((64, 48, 3)), (32, 32), name="small").shape
    (None, 32, 32, 3)
    """
    (height, width), (rows, columns) = images.shape[1:3], size
    tall, broad = min(height, round(width * rows / columns)), min(width, round(height * columns / rows))
    if (tall, broad) != (height, width):
        images = keras.layers.CenterCrop(tall, broad, dtype="float32", name=f"{name}_centre")(images)
    for way, to in (("across", (tall, columns)), ("down", (rows, columns))):
        layer = keras.layers.Resizing(to[0], to[1], antialias=True, dtype="float32", name=f"{name}_{way}")
        images = keras.ops.floor(layer(images) + 0.5001)
    return images


def _safe(name: str) -> str:
    """A name that Keras and TensorFlow take for a layer."""
    return re.sub(r"^[^A-Za-z0-9.]|[^A-Za-z0-9_.-]", ".", name)
