"""tf.data pipelines: read, shuffle, augment, batch, prefetch.

What a training epoch looks like is a pure function of (seed, epoch): no iterator state has to be saved to
resume. Evaluation batches are never shuffled and never augmented.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import cast

import numpy as np

from tl_keras.data.augment import Augmentation
from tl_keras.data.lazy import Rows
from tl_keras.data.mixing import Chained, Mixing
from tl_keras.errors import InputError
from tl_keras.quiet import tf

LARGE_BATCH = 32 * 224 * 224 * 3  # numbers: where images are large, this many are worked on at once


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Batches in an epoch of `count` images; the last one may be smaller."""
    return -(-count // batch_size)


def steps_per_execution(steps: int, batch_size: int, shape: Sequence[int]) -> int:
    """How many steps Python hands over in one call, which costs as much as a small step.

    A divisor of an epoch's `steps`, so that every epoch ends with a call; small enough that the steps of one call
    read no more than one batch of large images, and progress still shows.

    Args:
        shape: of one input of what trains, without the batch axis.

    >>> steps_per_execution(938, 64, (28, 28, 3)), steps_per_execution(157, 64, (28, 28, 3))
    (14, 1)
    """
    most = min(steps, LARGE_BATCH // (batch_size * math.prod(shape)))
    return max((count for count in range(1, most + 1) if steps % count == 0), default=1)


def training_batches(
    arrays: Sequence[Rows],
    labels: np.ndarray,
    *,
    batch_size: int,
    seed: int,
    epochs: int,
    start_epoch: int = 0,
    augment: Augmentation | None = None,
    views: int | None = None,
    classes: int | None = None,
) -> tf.data.Dataset:
    """Batches of all epochs from `start_epoch` on, one after the other, each epoch in its own order.

    Args:
        arrays: the model's inputs, one array each: images (N, H, W, C); or stored activations (V*N, ...) of V
            views, where row `v*N + i` belongs to view v of image i.
        labels: (N,) integers.
        augment: how images are varied; None for stored activations and for no augmentation.
        views: epochs e and e + views see the same view of every image; None gives each epoch a new one. What `augment`
            mixes into it is the next image of the epoch's order.
        classes: how many there are, for labels that are mixed; by default as many as `labels` tell.

    Returns:
        A dataset of (input or tuple of inputs, labels) with `steps_per_epoch` elements for each epoch. Labels are (B,)
        integers; where `augment` mixes, the shares (B, classes) of the classes in each image, float32.
    """
    count = len(labels)
    classes = classes or int(np.max(labels, initial=0)) + 1
    labels = tf.constant(labels, tf.int32)

    def epoch_batches(epoch):
        view = epoch % views if views else epoch
        # Keyed apart from the augmentation's draw, which uses the same seed.
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count, dtype=tf.int64), seed=tf.stack([tf.cast(seed, tf.int64), -1 - epoch])
        )
        batches = tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
        if augment is None:
            return batches.map(lambda rows: (rows, view, tf.zeros((tf.size(rows), 0))))
        numbers = augment.draw(count, seed, view)
        return batches.map(lambda rows: (rows, view, tf.gather(numbers, rows)))

    def read(rows, view, numbers):
        stored = [_gather(array, rows + view % (len(array) // count) * count) for array in arrays]
        inputs = [augment(images, numbers) for images in stored] if augment else stored
        truth = tf.gather(labels, rows)
        if augment and augment.mixes:
            return cast(Mixing, augment).mix(inputs[0], tf.one_hot(truth, classes), numbers)
        return _one_or_tuple(inputs), truth

    epochs_to_go = tf.data.Dataset.range(start_epoch, epochs)
    return _parallel(epochs_to_go.flat_map(epoch_batches), read)


def evaluation_batch_size(images: Rows) -> int:
    """Images in a batch that is not trained on: 500 small ones, fewer of the large, so that memory stays bounded.

    >>> evaluation_batch_size(np.zeros((1, 32, 32, 3))), evaluation_batch_size(np.zeros((1, 224, 224, 3)))
    (500, 32)
    """
    return max(1, min(500, LARGE_BATCH // math.prod(images.shape[1:])))


def evaluation_batches(arrays: Sequence[Rows], labels: np.ndarray) -> tf.data.Dataset:
    """Every image once, in order, as it is; elements as those of `training_batches`."""
    labels = tf.constant(labels, tf.int32)
    batches = tf.data.Dataset.range(len(labels)).batch(evaluation_batch_size(arrays[0]))

    def read(rows):
        return _one_or_tuple([_gather(array, rows) for array in arrays]), tf.gather(labels, rows)

    return _parallel(batches, read)


def view_batches(
    images: Rows, augment: Augmentation | None, seed: int, view: int, batch_size: int, start: int = 0
) -> tf.data.Dataset:
    """One view of the images from `start` on, in order, without labels: what frozen layers are fed once.

    Raises:
        InputError: `augment` mixes images, so that no view is of one alone.
    """
    check_each_alone(augment)
    numbers = augment.draw(len(images), seed, view) if augment else None

    def read(rows):
        batch = _gather(images, rows)
        return augment(batch, tf.gather(numbers, rows)) if augment else batch

    batches = tf.data.Dataset.range(start, len(images)).batch(batch_size)
    return _parallel(batches, read)


def check_each_alone(augment: Augmentation | None) -> None:
    """Refuse, where views of single images are stored, an augmentation that mixes those of a batch.

    Raises:
        InputError: `augment` mixes images.
    """
    if augment and augment.mixes:
        mixing = augment.parts[-1] if isinstance(augment, Chained) else augment
        raise InputError(
            "--augment: expected one that varies each image alone, since frozen layers run once for each, received "
            f"{type(mixing).__name__}, which mixes images while all layers train; name another policy or a strategy "
            "that trains all layers"
        )


def _parallel(batches: tf.data.Dataset, read) -> tf.data.Dataset:
    """Read ahead of the training step, in order."""
    # The autotuner's thread sleeps for up to a minute at a time, and the end of each `fit` waited for it.
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.map(read, num_parallel_calls=2, deterministic=True).prefetch(2).with_options(options)


def cause(error: Exception) -> Exception:
    """What was refused while images were read, in the place of what TensorFlow makes of it; else `error` itself.

    >>> cause(ValueError("another"))
    ValueError('another')
    """
    return next((refused for refused in _refused if str(refused) in str(error)), error)


_refused = deque[InputError](maxlen=8)  # batches are read ahead, several at a time


def _gather(array: Rows, rows: tf.Tensor) -> tf.Tensor:
    def read(indices: np.ndarray) -> np.ndarray:
        try:
            return array[indices]
        except InputError as error:
            _refused.append(error)
            raise

    # Through numpy, so that a memory-mapped array is read row by row and never copied whole into a graph.
    batch = tf.numpy_function(read, [rows], array.dtype)
    batch.set_shape((None, *array.shape[1:]))
    return batch


def _one_or_tuple(inputs: list[tf.Tensor]):
    return inputs[0] if len(inputs) == 1 else tuple(inputs)
