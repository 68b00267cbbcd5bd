"""What a network says about images: one batch after the other, in inference mode, without augmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tl_keras.data import pipeline
from tl_keras.data.lazy import LazyImages, Rows
from tl_keras.quiet import keras
from tl_keras.transfer import engine

FEATURES_AT_A_TIME = 4096  # rows of stored features


def outputs(model: keras.Model, inputs: Sequence[Rows], wanted: str = engine.TENSORFLOW) -> np.ndarray:
    """The only output of `model` for all rows of its inputs, in order.

    Args:
        inputs: one array (N, ...) for each input of the model: images, or stored activations.
        wanted: who runs it (`transfer.engine`).

    >>> outputs(model, [data.test.images]).shape  # doctest: +SKIP
    (10000, 10)
    """
    running = engine.choose(model, inputs, wanted)
    return np.concatenate([running.run(batch)[0] for batch in _batches(inputs)])


def _batches(inputs: Sequence[Rows]) -> Iterator[Sequence[np.ndarray]]:
    """A batch of each input after the other; what has to be made first is made while the one before is looked at."""
    count = len(inputs[0])
    if any(isinstance(array, LazyImages) for array in inputs):
        for rows, _ in pipeline.evaluation_batches(inputs, np.zeros(count, "int64")):
            yield rows if isinstance(rows, tuple) else [rows]
        return
    # A tf.data pipeline would cost more than to look at the few numbers that are stored of an image.
    size = FEATURES_AT_A_TIME if len(inputs[0].shape) == 2 else pipeline.evaluation_batch_size(inputs[0])
    for start in range(0, count, size):
        yield [array[start : start + size] for array in inputs]


def probabilities(model: keras.Model, *inputs: Rows, wanted: str = engine.TENSORFLOW) -> np.ndarray:
    """Class probabilities (N, classes), float32, of images (N, H, W, C), or of the stored activations of them.

    >>> probabilities(model, data.test.images).argmax(axis=1)  # doctest: +SKIP
    array([3, 5, 3])
    """
    return np.asarray(outputs(model, inputs, wanted), "float32")
