"""Augmentations one behind the other, and those that put two images of a batch together, with their labels.

A mixed image is partly of one class and partly of another, and its label says so: (B, classes) shares that sum to 1.
The partner of an image is the next one in its batch (the last one's is the first). The order of an epoch is a function
of (seed, epoch) and the share of (seed, view, image), so training resumes exactly. But what is made of an image is no
function of that image alone: it cannot be stored per view, as what frozen layers see is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol, cast

from tl_keras.data.augment import Augmentation, uniform
from tl_keras.data.distortions import inside
from tl_keras.errors import InputError
from tl_keras.quiet import tf

APART = 2**32  # between the seeds of chained augmentations: those that people give are smaller


class Mixing(Augmentation, Protocol):
    """An augmentation with a second step, on what its first step, `__call__`, made of each image alone."""

    def mix(self, images: tf.Tensor, labels: tf.Tensor, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Mix a batch (B, H, W, C) and its labels (B, classes), shares, by its rows (B, ...) of `draw`."""


@dataclass(frozen=True)
class MixUp:
    """Each image faded into the next of its batch: Zhang et al., "mixup" (ICLR 2018, arXiv:1710.09412).

    The share of the image itself is drawn from a Beta distribution with both parameters `alpha`, for each image
    anew; with 0.2, which served ImageNet well, most are near 0 or 1.

    Args:
        alpha: above 0; the larger, the more images are mixed half and half.

    Raises:
        InputError: the parameter is not above 0.

    >>> images, labels = tf.constant([[[[0]]], [[[200]]]], tf.uint8), tf.eye(2)
    >>> [part.numpy().tolist() for part in MixUp().mix(images, labels, tf.constant([[0.75], [1.0]]))]
    [[[[[50]]], [[[200]]]], [[0.75, 0.25], [0.0, 1.0]]]
    """

    alpha: float = 0.2
    crops: ClassVar[bool] = False
    mixes: ClassVar[bool] = True

    def __post_init__(self):
        _check_alpha("MixUp", self.alpha)

    def draw(self, count: int, seed: int, view: tf.Tensor) -> tf.Tensor:
        """Shares (count, 1) of each image in what it becomes."""
        return _shares(self.alpha, count, seed, view)

    def __call__(self, images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """The images (B, H, W, C) as they are: nothing is done to one alone."""
        return images

    def mix(self, images: tf.Tensor, labels: tf.Tensor, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Mix images (B, H, W, C), uint8, and labels (B, classes) by rows (B, 1) of `draw`."""
        share = numbers[:, :1, None, None]
        own, partner = (tf.cast(batch, tf.float32) for batch in (images, _partners(images)))
        mixed = tf.saturate_cast(tf.round(share * own + (1 - share) * partner), tf.uint8)
        return mixed, _mixed_labels(labels, numbers[:, 0])


@dataclass(frozen=True)
class CutMix:
    """A rectangle of each image replaced by that part of the next of its batch: Yun et al., "CutMix" (ICCV 2019).

    The rectangle has the proportions of the image and lies anywhere; what passes the border is lost. The label's shares
    are those of the pixels that are seen.

    Args:
        alpha: both parameters of the Beta distribution that draws the share of the image itself; 1, the paper's,
            makes all shares equally likely.

    Raises:
        InputError: the parameter is not above 0.

    >>> images, labels = tf.constant([[[[0]] * 4] * 4, [[[200]] * 4] * 4], tf.uint8), tf.eye(2)
    >>> CutMix().mix(images, labels, tf.constant([[0.75, 0.5, 0.5], [1.0, 0.5, 0.5]]))[1].numpy().tolist()
    [[0.75, 0.25], [0.0, 1.0]]
    """

    alpha: float = 1.0
    crops: ClassVar[bool] = False
    mixes: ClassVar[bool] = True

    def __post_init__(self):
        _check_alpha("CutMix", self.alpha)

    def draw(self, count: int, seed: int, view: tf.Tensor) -> tf.Tensor:
        """Shares of each image in what it becomes, and where the rectangle's centre lies: (count, 3)."""
        # Keyed apart from the shares, whose generator begins with the same bits.
        return tf.concat([_shares(self.alpha, count, seed, view), uniform((count, 2), -1 - seed, view)], axis=1)

    def __call__(self, images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """The images (B, H, W, C) as they are: nothing is done to one alone."""
        return images

    def mix(self, images: tf.Tensor, labels: tf.Tensor, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Mix images (B, H, W, C) of any dtype and labels (B, classes) by rows (B, 3) of `draw`."""
        replaced = self._replaced(numbers, images.shape[1], images.shape[2])
        mixed = tf.where(replaced[..., None], _partners(images), images)
        seen = 1 - tf.reduce_mean(tf.cast(replaced, tf.float32), axis=(1, 2))
        return mixed, _mixed_labels(labels, seen)

    def _replaced(self, numbers: tf.Tensor, height: int, width: int) -> tf.Tensor:
        """Which pixels are the partner's: (B, height, width)."""
        side = tf.sqrt(1 - numbers[:, 0])
        rows, columns = (tf.cast(tf.round(whole * side), tf.int32) for whole in (height, width))
        down, across = tf.cast(numbers[:, 1] * height, tf.int32), tf.cast(numbers[:, 2] * width, tf.int32)
        boxes = tf.stack([down - rows // 2, across - columns // 2, rows, columns], axis=1)
        return inside(boxes, height, width)


@dataclass(frozen=True)
class Chained:
    """Augmentations one behind the other, each with random numbers of its own.

    The first draws what it would draw alone: images are cut the same way with or without what follows.

    Args:
        parts: none but the first may crop, since the others see what it leaves; none but the last may mix.

    Raises:
        InputError: there are no parts, or they are in another order.

    >>> augment = Chained((RandomResizedCrop((24, 24)), Erasing()))
    >>> augment(tf.zeros((2, 32, 32, 3), tf.uint8), augment.draw(2, seed=0, view=0)).shape
    TensorShape([2, 24, 24, 3])
    """

    parts: tuple[Augmentation, ...]

    def __post_init__(self):
        if not self.parts or any(part.crops for part in self.parts[1:]) or any(p.mixes for p in self.parts[:-1]):
            raise InputError(
                f"Chained: expected parts of which none but the first crops and none but the last mixes, received "
                f"{self.parts}; put them in that order"
            )

    @property
    def crops(self) -> bool:
        """Whether the first part cuts its own part out of larger images."""
        return self.parts[0].crops

    @property
    def mixes(self) -> bool:
        """Whether the last part mixes images of a batch."""
        return self.parts[-1].mixes

    def draw(self, count: int, seed: int, view: tf.Tensor) -> tf.Tensor:
        """Numbers (count, K), float32: those of all parts side by side."""
        drawn = [part.draw(count, seed + APART * number, view) for number, part in enumerate(self.parts)]
        return tf.concat([tf.reshape(rows, (count, math.prod(rows.shape[1:]))) for rows in drawn], axis=1)

    def __call__(self, images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """Vary a batch (B, H, W, C), uint8, by its rows (B, K) of `draw`, part after part."""
        for part, rows in zip(self.parts, self._split(numbers), strict=True):
            images = part(images, rows)
        return images

    def mix(self, images: tf.Tensor, labels: tf.Tensor, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Mix what came out of `__call__`, and labels (B, classes), by its rows (B, K), as the last part does."""
        return cast(Mixing, self.parts[-1]).mix(images, labels, self._split(numbers)[-1])

    def _split(self, numbers: tf.Tensor) -> list[tf.Tensor]:
        """The numbers of each part, in the shape that it drew them."""
        shapes = [part.draw(1, 0, 0).shape[1:] for part in self.parts]
        rows = tf.split(numbers, [math.prod(shape) for shape in shapes], axis=1)
        return [tf.reshape(part, (-1, *shape)) for part, shape in zip(rows, shapes, strict=True)]


def _check_alpha(name: str, alpha: float) -> None:
    if not 0 < alpha < math.inf:
        raise InputError(f"{name}: expected alpha above 0, received {alpha}; give one such as 0.2")


def _shares(alpha: float, count: int, seed: int, view: tf.Tensor) -> tf.Tensor:
    """Numbers (count, 1) from the Beta distribution with both parameters `alpha`."""
    key = tf.stack([tf.cast(seed, tf.int64), tf.cast(view, tf.int64)])
    # A small alpha draws numbers that float32 would take for 0.
    drawn = tf.random.stateless_gamma((count, 2), key, tf.constant(alpha, tf.float64), dtype=tf.float64)
    return tf.cast(drawn[:, :1] / tf.reduce_sum(drawn, axis=1, keepdims=True), tf.float32)


def _partners(batch: tf.Tensor) -> tf.Tensor:
    """The next row of each, the first one for the last."""
    return tf.roll(batch, shift=-1, axis=0)


def _mixed_labels(labels: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    return share[:, None] * labels + (1 - share[:, None]) * _partners(labels)
