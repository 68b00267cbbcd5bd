"""Augmentation for training batches, as pure functions of the images and of random numbers given to them.

Each image draws its numbers from (seed, view, image index) alone. So a view of an image is the same whatever
the batch, the order or the epoch it appears in: training resumes exactly, and the activations of frozen layers
can be stored per view (`transfer.frozen`). Augmentation lives in tf.data only; never inside a model.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from tl_keras.errors import InputError
from tl_keras.quiet import tf


class Augmentation(Protocol):
    """What varies training images: random numbers for each of them, and what is done with those.

    One that `crops` cuts its own part out of images that are larger than what the network sees. One that `mixes` puts
    images of a batch together, and their labels (`mixing.Mixing`).
    """

    @property
    def crops(self) -> bool:
        """Whether it cuts its own part out of larger images."""

    @property
    def mixes(self) -> bool:
        """Whether what it makes of an image depends on others in the batch."""

    def draw(self, count: int, seed: int, view: tf.Tensor) -> tf.Tensor:
        """Numbers in [0, 1], one row for each of `count` images: the same for the same (seed, view)."""

    def __call__(self, images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """Vary a batch (B, H, W, C) by its rows (B, ...) of `draw`."""


@dataclass(frozen=True)
class FlipShift:
    """Mirror half of the images and shift each by up to `shift` of its side, the border reflected.

    Args:
        flip: mirror left-right with probability 1/2; off for digits and letters, whose mirror images are no digits.
        shift: largest shift as a fraction of height and width.

    >>> FlipShift()(tf.zeros((2, 32, 32, 3)), FlipShift().draw(2, seed=0, view=0)).shape
    TensorShape([2, 32, 32, 3])
    """

    flip: bool = True
    shift: float = 0.125
    crops: ClassVar[bool] = False
    mixes: ClassVar[bool] = False

    def draw(self, count: int, seed: int, view: tf.Tensor) -> tf.Tensor:
        """Uniform numbers (count, 3) in [0, 1): one row per image, the same for the same (seed, view)."""
        return uniform((count, 3), seed, view)

    def __call__(self, images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """Augment a batch (B, H, W, C) of any dtype with its rows (B, 3) of `draw`."""
        height, width = images.shape[1], images.shape[2]
        rows = self._source(numbers[:, 0], height)
        columns = self._source(numbers[:, 1], width)
        if self.flip:
            columns = tf.where(numbers[:, 2:] < 0.5, columns[:, ::-1], columns)
        images = tf.gather(images, rows, axis=1, batch_dims=1)
        return tf.gather(images, columns, axis=2, batch_dims=1)

    def _source(self, numbers: tf.Tensor, side: int) -> tf.Tensor:
        """The source index (B, side) of each output row or column, reflected at the border."""
        largest = int(side * self.shift)
        offset = tf.cast(tf.floor(numbers * (2 * largest + 1)), tf.int32) - largest
        index = tf.abs(tf.range(side)[None] + offset[:, None])
        return tf.minimum(index, 2 * (side - 1) - index)


@dataclass(frozen=True)
class RandomResizedCrop:
    """Cut a random part out of each image and scale it to `size`: torchvision's transform of that name, and a flip.

    Of ten random areas and aspect ratios the first that fits the image is cut, at a random place; if none fits, as
    in a panorama, the largest part with an allowed aspect ratio. Scaling is bilinear and antialiased when it reduces,
    however far, as Pillow's and so torchvision's is. Some 800 crops/s of 224x224 on two cores.

    Args:
        size: (height, width) of what comes out.
        area: smallest and largest part of the image's area.
        aspect: smallest and largest width per height; the logarithm is drawn evenly.
        flip: mirror left-right with probability 1/2.

    >>> augment = RandomResizedCrop()
    >>> augment(tf.zeros((2, 256, 256, 3), tf.uint8), augment.draw(2, seed=0, view=0)).shape
    TensorShape([2, 224, 224, 3])
    """

    size: tuple[int, int] = (224, 224)
    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = True
    crops: ClassVar[bool] = True
    mixes: ClassVar[bool] = False

    def draw(self, count: int, seed: int, view: tf.Tensor) -> tf.Tensor:
        """Uniform numbers (count, 23) in [0, 1): ten areas, ten aspect ratios, top, left, flip."""
        return uniform((count, 23), seed, view)

    def __call__(self, images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """Augment a batch (B, H, W, C), uint8, with its rows (B, 23) of `draw`; (B, *size, C), uint8, comes out."""

        def cropped(one):
            image, (top, left, height, width), mirrored = one
            # Flipped before scaling: the same result, since the filter is symmetric, on what are mostly fewer pixels.
            part = image[top : top + height, left : left + width]
            part = tf.cond(mirrored, lambda: part[:, ::-1], lambda: part)
            return tf.cast(tf.round(tf.image.resize(part, self.size, antialias=True)), tf.uint8)

        boxes = self.boxes(numbers, images.shape[1], images.shape[2])
        mirrored = (numbers[:, 22] < 0.5) & self.flip
        made = tf.TensorSpec((*self.size, images.shape[3]), tf.uint8)
        return tf.map_fn(cropped, (images, tf.unstack(boxes, axis=1), mirrored), fn_output_signature=made)

    def boxes(self, numbers: tf.Tensor, height: int, width: int) -> tf.Tensor:
        """Top, left, height and width (B, 4), integers, of what is cut out of images of `height` x `width`."""
        area = height * width * between(self.area, numbers[:, :10])
        aspect = tf.exp(between([math.log(ratio) for ratio in self.aspect], numbers[:, 10:20]))
        last_resort = tf.ones_like(area[:, :1])
        rows = tf.concat([tf.sqrt(area / aspect), last_resort * min(height, width / self.aspect[0])], axis=1)
        columns = tf.concat([tf.sqrt(area * aspect), last_resort * min(width, height * self.aspect[1])], axis=1)
        rows, columns = (tf.maximum(tf.round(sides), 1) for sides in (rows, columns))
        fits = (rows <= height) & (columns <= width)
        first = tf.reduce_min(tf.where(fits, tf.range(11), 10), axis=1)
        rows, columns = (tf.gather(sides, first, axis=1, batch_dims=1) for sides in (rows, columns))
        top = tf.floor(numbers[:, 20] * (height - rows + 1))
        left = tf.floor(numbers[:, 21] * (width - columns + 1))
        return tf.cast(tf.stack([top, left, rows, columns], axis=1), tf.int32)


@dataclass(frozen=True)
class RandAugment:
    """RandAugment (Cubuk et al., arXiv:1909.13719) with the operations and strengths of keras-cv's layer.

    Each image goes through `layers` operations, each drawn from eleven: none, contrast stretched, equalised,
    solarised, grey mixed in, contrast, brightness, sheared and shifted in x or y. The operations are keras-cv's layers;
    their random parameters are not drawn by these (their generators cannot be set to an image and a view) but from
    the numbers given, by the same distributions. Some 140 images/s of 224x224 on one core, keras-cv's own 85.

    Args:
        magnitude: mean strength of the operations, from 0 to 1.
        layers: operations per image.

    >>> augment = RandAugment(magnitude=0.3)
    >>> augment(tf.zeros((2, 32, 32, 3), tf.uint8), augment.draw(2, seed=0, view=0)).shape
    TensorShape([2, 32, 32, 3])
    """

    magnitude: float = 0.5
    layers: int = 3
    crops: ClassVar[bool] = False
    mixes: ClassVar[bool] = False

    def __post_init__(self):
        if not 0 <= self.magnitude <= 1:
            raise InputError(
                f"RandAugment: expected a magnitude from 0 to 1, received {self.magnitude}; divide levels by their "
                "maximum (10 or 30)"
            )

    def draw(self, count: int, seed: int, view: tf.Tensor) -> tf.Tensor:
        """Uniform numbers (count, layers, 4) in [0, 1): the operation, its sign or deviation, and two strengths."""
        return uniform((count, self.layers, 4), seed, view)

    def __call__(self, images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """Augment a batch (B, H, W, 3), uint8, with its rows (B, layers, 4) of `draw`."""

        def augmented(one):
            image, layers = one
            image = tf.cast(image, tf.float32)[None]
            for number in range(self.layers):
                choice, *parameters = tf.unstack(layers[number])
                operations = [functools.partial(operation, image) for operation in self._operations(*parameters)]
                image = tf.switch_case(tf.cast(choice * len(operations), tf.int32), operations)
                image = tf.ensure_shape(image, (1, *images.shape[1:]))
            return tf.saturate_cast(tf.round(image[0]), tf.uint8)

        # One by one, so that no arithmetic depends on what else is in the batch.
        return tf.map_fn(augmented, (images, numbers), fn_output_signature=tf.TensorSpec(images.shape[1:], tf.uint8))

    def _operations(self, spread: tf.Tensor, strength: tf.Tensor, threshold: tf.Tensor) -> list[Callable]:
        """Functions of an image (1, H, W, 3), float32 from 0 to 255: the policy of `keras_cv.layers.RandAugment`."""
        layer = _keras_cv_layers()
        spread = 2 * spread - 1
        strength, threshold = (  # normal, by the inverse of its distribution function
            tf.clip_by_value(self.magnitude + 0.15 * tf.math.ndtri(number), 0, 1) for number in (strength, threshold)
        )
        evenly, signed, zero = self.magnitude * spread, tf.sign(spread) * strength, tf.zeros((1, 1))

        def with_parameters(name, parameters):
            return lambda image: layer[name].augment_images(image, transformations=parameters)

        solarization = {"additions": 110 * strength, "thresholds": 255 * (1 - threshold)}
        return [
            tf.identity,
            with_parameters("AutoContrast", None),
            with_parameters("Equalization", None),
            with_parameters("Solarization", solarization),
            with_parameters("RandomColorDegeneration", strength),
            with_parameters("RandomContrast", 1 + evenly),
            with_parameters("RandomBrightness", 255 * evenly),
            with_parameters("RandomShear", {"shear_x": signed[None, None], "shear_y": None}),
            with_parameters("RandomShear", {"shear_x": None, "shear_y": signed[None, None]}),
            with_parameters("RandomTranslation", {"height_translations": zero, "width_translations": zero + evenly}),
            with_parameters("RandomTranslation", {"height_translations": zero + evenly, "width_translations": zero}),
        ]


@functools.cache
def _keras_cv_layers() -> dict:
    """The layers whose arithmetic is used; the ranges given here are those of parameters that they never draw."""
    with tf.init_scope():  # made once, outside the graph that happens to be traced first
        from keras_cv import layers

        # Layers ask for it when they are made, and where TensorFlow is deterministic it makes none. It stays unused.
        tf.random.set_global_generator(tf.random.Generator.from_seed(0))
        made = [
            *(kind(value_range=(0, 255)) for kind in (layers.AutoContrast, layers.Equalization, layers.Solarization)),
            layers.RandomColorDegeneration(1.0),
            layers.RandomContrast(value_range=(0, 255), factor=1.0),
            layers.RandomBrightness(1.0),
            layers.RandomShear(1.0, 1.0),
            layers.RandomTranslation(1.0, 1.0),
        ]
    return {type(layer).__name__: layer for layer in made}


def uniform(shape: tuple[int, ...], seed: int, view: tf.Tensor) -> tf.Tensor:
    """Evenly drawn numbers in [0, 1), float32: the same for the same (seed, view).

    >>> uniform((2, 3), seed=0, view=0).shape
    TensorShape([2, 3])
    """
    return tf.random.stateless_uniform(shape, seed=tf.stack([tf.cast(seed, tf.int64), tf.cast(view, tf.int64)]))


def between(bounds: Sequence[float], numbers: tf.Tensor) -> tf.Tensor:
    """From the lower of two bounds, for 0, to the upper one, for 1.

    >>> float(between((2.0, 4.0), tf.constant(0.5)))
    3.0
    """
    return bounds[0] + (bounds[1] - bounds[0]) * numbers
