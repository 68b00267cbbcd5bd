"""Stacked features: what several networks at several sizes make of an image, side by side, one block for each.

A block is one network at one size: the features that its last layer would read and those of its middle stages, averaged
over the image, and over the image and its mirror image. Blocks are computed once and stored, each by itself; any set of
them can then be tried in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tl_keras.data import selection
from tl_keras.data.lazy import Mirrored
from tl_keras.data.splits import Split
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.models import backbones
from tl_keras.quiet import keras
from tl_keras.transfer import activations, early
from tl_keras.transfer.activations import Storage

TIMES_SMALLER = 32  # these networks halve an image five times


@dataclass(frozen=True)
class Block:
    """One network at one size.

    Args:
        backbone: of the registry, or a model file.
        weights: as for `backbones.build`.
        size: height and width in pixels.
        stages: how many middle stages are read beside the last features, from the last one backwards.

    >>> Block("mobilenet_0.25", "none", 160).title
    'mobilenet_0.25 at 160'
    """

    backbone: str
    weights: str
    size: int
    stages: int = 1

    @property
    def title(self) -> str:
        """As tables call it."""
        return f"{self.name} at {self.size}"

    @property
    def name(self) -> str:
        """The network's, without a folder."""
        return Path(self.backbone).stem if backbones.find(self.backbone).input_size is None else self.backbone


def parse(text: str) -> list[tuple[str, int]]:
    """The network and the size of each block in a list such as `mobilenet_0.25@160,vgg16@224`.

    Raises:
        InputError: an entry is none, or is there twice.

    >>> parse("mobilenet_0.25@160, vgg16@224")
    [('mobilenet_0.25', 160), ('vgg16', 224)]
    """
    found = [re.fullmatch(r"(.+)@([1-9]\d{0,3})", entry.strip()) for entry in text.split(",")]
    blocks = [(match[1], int(match[2])) for match in found if match]
    if len(blocks) < len(found) or len(set(blocks)) < len(blocks):
        raise InputError(
            f"--blocks: expected different entries NAME@SIZE, separated by commas, received {text!r}; give one such as "
            "mobilenet_0.25@160"
        )
    return blocks


def network(block: Block) -> keras.Model:
    """The features of a block without mirror images: images (B, size, size, 3) in, (B, F) out.

    Raises:
        InputError: as `backbones.build`, and where the network has no stages.

    >>> network(Block("mobilenet_0.25", "none", 64)).output_shape
    (None, 384)
    """
    own = backbones.find(block.backbone).input_size is None
    model = backbones.build(block.backbone, 2, block.weights, size=None if own else block.size)
    images, maps = early.ends(model)
    *middle, _, read = maps  # the last stage's average is what networks with average pooling read
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
    found = activations.store(body, seen, storage)[0][:]
    if mirror:
        other = replace(seen, images=Mirrored(seen.images))
        found = (found + activations.store(body, other, storage)[0][:]) / 2
    return np.asarray(found, "float32")


def stacked(blocks: Sequence[Block], split: Split, mirror: bool, storage: Storage) -> np.ndarray:
    """The features of all blocks side by side, (N, F)."""
    return np.hstack([features(block, split, mirror, storage) for block in blocks])


def model(blocks: Sequence[Block], view: View) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The images' tensor, as `view` has them, and the stacked features (B, F) of it, as a network that can be saved.

    Each block scales the images itself, as Pillow does, to whole levels.
    """
    images = keras.Input(view.shape, name="images")
    found = []
    for block in blocks:
        body, size = network(block), (block.size, block.size)
        scaled = images
        if view.size != size:
            scaled = keras.layers.Resizing(*size, antialias=True, name=f"{body.name}_scaled")(images)
            scaled = keras.ops.round(scaled)
        seen = body(scaled)
        if view.mirror:
            seen = keras.layers.Average(name=f"{body.name}_mirrored")([seen, body(keras.ops.flip(scaled, axis=2))])
        found.append(seen)
    return images, keras.layers.Concatenate(name="stacked")(found) if found[1:] else found[0]


def sizes(side: int) -> list[int]:
    """The sizes that are worth a block where images are loaded at `side` x `side`: multiples of 32.

    >>> sizes(256), sizes(64)
    ([224, 160, 192, 128, 256], [64])
    """
    usual = [size for size in (224, 160, 192, 128, 256, 320) if size <= side]
    return usual or [max(TIMES_SMALLER, side // TIMES_SMALLER * TIMES_SMALLER)]


def _safe(name: str) -> str:
    """A name that Keras and TensorFlow take for a layer."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)
