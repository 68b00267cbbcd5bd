"""Augmentation for training batches, as pure functions of the images and of random numbers given to them.

Each image draws its numbers from (seed, view, image index) alone. So a view of an image is the same whatever
the batch, the order or the epoch it appears in: training resumes exactly, and the activations of frozen layers
can be stored per view (`transfer.frozen`). Augmentation lives in tf.data only; never inside a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf


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

    def draw(self, count: int, seed: int, view: tf.Tensor) -> tf.Tensor:
        """Uniform numbers (count, 3) in [0, 1): one row per image, the same for the same (seed, view)."""
        key = tf.stack([tf.cast(seed, tf.int64), tf.cast(view, tf.int64)])
        return tf.random.stateless_uniform((count, 3), seed=key)

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
