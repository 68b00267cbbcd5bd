"""Small changes to training images that leave their class as it is: turned, brighter or darker, a part painted over.

Each does one thing and mirrors nothing; `mixing.Chained` puts several one behind the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from tl_keras.data.augment import RandomResizedCrop, between, uniform
from tl_keras.errors import InputError
from tl_keras.quiet import tf


@dataclass(frozen=True)
class Rotate:
    """Turn each image about its centre, by up to `degrees` either way; what comes in from outside is reflected.

    Bilinear, by TensorFlow's projective transform.

    Args:
        degrees: the largest angle, from 0 to 180.

    Raises:
        InputError: the angle is outside its bounds.

    >>> Rotate(15)(tf.zeros((2, 32, 32, 3), tf.uint8), Rotate(15).draw(2, seed=0, view=0)).shape
    TensorShape([2, 32, 32, 3])
    """

    degrees: float = 15.0
    crops: ClassVar[bool] = False
    mixes: ClassVar[bool] = False

    def __post_init__(self):
        if not 0 <= self.degrees <= 180:
            raise InputError(f"Rotate: expected degrees from 0 to 180, received {self.degrees}; give some such as 15")

    def draw(self, count: int, seed: int, view: tf.Tensor) -> tf.Tensor:
        """Uniform numbers (count, 1) in [0, 1): 0 turns all the way clockwise, 1 all the way anticlockwise."""
        return uniform((count, 1), seed, view)

    def __call__(self, images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """Turn a batch (B, H, W, C), uint8, by its rows (B, 1) of `draw`."""
        height, width = images.shape[1], images.shape[2]
        angle = between((-math.radians(self.degrees), math.radians(self.degrees)), numbers[:, 0])
        cos, sin, zero = tf.cos(angle), tf.sin(angle), tf.zeros_like(angle)
        # From a pixel of what comes out, seen from the centre, to its place in the image.
        x, y = (width - 1) / 2, (height - 1) / 2
        across, down = [cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y]
        turned = tf.raw_ops.ImageProjectiveTransformV3(
            images=tf.cast(images, tf.float32),
            transforms=tf.stack([*across, *down, zero, zero], axis=1),
            output_shape=[height, width],
            interpolation="BILINEAR",
            fill_mode="REFLECT",
            fill_value=0.0,
        )
        return tf.saturate_cast(tf.round(tf.ensure_shape(turned, images.shape)), tf.uint8)


@dataclass(frozen=True)
class Brightness:
    """Stretch or flatten each image about the means of its channels, and make it brighter or darker.

    Args:
        brightness: the most that is added or taken away, as a share of 255.
        contrast: differences to the mean grow or shrink by up to this share of themselves.

    Raises:
        InputError: a share is outside its bounds.

    >>> Brightness()(tf.zeros((2, 32, 32, 3), tf.uint8), Brightness().draw(2, seed=0, view=0)).shape
    TensorShape([2, 32, 32, 3])
    """

    brightness: float = 0.2
    contrast: float = 0.25
    crops: ClassVar[bool] = False
    mixes: ClassVar[bool] = False

    def __post_init__(self):
        if not (0 <= self.brightness <= 1 and 0 <= self.contrast <= 1):
            raise InputError(
                f"Brightness: expected shares from 0 to 1, received {self.brightness} and {self.contrast}; give some "
                "such as 0.2"
            )

    def draw(self, count: int, seed: int, view: tf.Tensor) -> tf.Tensor:
        """Uniform numbers (count, 2) in [0, 1): brightness and contrast; 1/2 leaves an image as it is."""
        return uniform((count, 2), seed, view)

    def __call__(self, images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """Change a batch (B, H, W, C), uint8, by its rows (B, 2) of `draw`."""
        added = 255 * between((-self.brightness, self.brightness), numbers[:, 0])
        factors = between((1 - self.contrast, 1 + self.contrast), numbers[:, 1])

        def changed(one):
            image, delta, factor = one
            image = tf.image.adjust_contrast(tf.cast(image, tf.float32), factor)
            return tf.saturate_cast(tf.round(tf.image.adjust_brightness(image, delta)), tf.uint8)

        # One by one, so that no mean depends on what else is in the batch.
        made = tf.TensorSpec(images.shape[1:], tf.uint8)
        return tf.map_fn(changed, (images, added, factors), fn_output_signature=made)


@dataclass(frozen=True)
class Erasing:
    """Paint noise over a random rectangle of some images: random erasing (Zhong et al., AAAI 2020, arXiv:1708.04896).

    Every pixel of the rectangle has random values of its own, which served best in the paper.

    Args:
        share: how many of the images lose a part.
        area: smallest and largest part of the image's area.
        aspect: smallest and largest width per height; the logarithm is drawn evenly.

    Raises:
        InputError: the share or the area is outside its bounds.

    >>> Erasing()(tf.zeros((2, 32, 32, 3), tf.uint8), Erasing().draw(2, seed=0, view=0)).shape
    TensorShape([2, 32, 32, 3])
    """

    share: float = 0.5
    area: tuple[float, float] = (0.02, 1 / 3)
    aspect: tuple[float, float] = (0.3, 1 / 0.3)
    crops: ClassVar[bool] = False
    mixes: ClassVar[bool] = False

    def __post_init__(self):
        if not (0 <= self.share <= 1 and 0 < self.area[0] <= self.area[1] <= 1):
            raise InputError(
                f"Erasing: expected a share from 0 to 1 and areas above 0, no larger than 1 and in order, received "
                f"{self.share} and {self.area}; give 0.5 and (0.02, 0.33)"
            )

    def draw(self, count: int, seed: int, view: tf.Tensor) -> tf.Tensor:
        """Uniform numbers (count, 25) in [0, 1): those of a crop without its flip, whether to erase, two for noise."""
        return uniform((count, 25), seed, view)

    def __call__(self, images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """Erase in a batch (B, H, W, C), uint8, by its rows (B, 25) of `draw`."""
        height, width = images.shape[1], images.shape[2]
        # A part to erase is found as a part to cut out is.
        boxes = RandomResizedCrop(area=self.area, aspect=self.aspect).boxes(numbers, height, width)
        erased = inside(boxes, height, width) & (numbers[:, 22] < self.share)[:, None, None]

        def noise(bits):
            drawn = tf.random.stateless_uniform(images.shape[1:], bits, minval=0, maxval=256, dtype=tf.int32)
            return tf.cast(drawn, tf.uint8)

        made = tf.TensorSpec(images.shape[1:], tf.uint8)
        seeds = tf.bitcast(numbers[:, 23:], tf.int32)
        return tf.where(erased[..., None], tf.map_fn(noise, seeds, fn_output_signature=made), images)


def inside(boxes: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Which pixels lie in boxes (B, 4), integers, of top, left, height and width: (B, height, width), booleans.

    >>> int(tf.reduce_sum(tf.cast(inside(tf.constant([[1, 2, 3, 4]]), 8, 8), tf.int32)))
    12
    """
    top, left, rows, columns = (side[:, None] for side in tf.unstack(boxes, axis=1))
    down, across = tf.range(height)[None], tf.range(width)[None]
    in_rows, in_columns = (down >= top) & (down < top + rows), (across >= left) & (across < left + columns)
    return in_rows[:, :, None] & in_columns[:, None, :]
