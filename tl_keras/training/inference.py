"""What a network says about images: one batch after the other, in inference mode, without augmentation."""

from __future__ import annotations

import math
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


class Outputs:
    """The only output of `model`, flat and in float32, (N, F), computed when rows of it are read; nothing is kept.

    Args:
        inputs: as `outputs` takes them.

    >>> Outputs(model, [stored])[8192:16384].shape  # doctest: +SKIP
    (8192, 1280)
    """

    def __init__(self, model: keras.Model, inputs: Sequence[Rows]):
        self._inputs, self._running = inputs, engine.choose(model, inputs, engine.TENSORFLOW)
        self.shape, self.dtype = (len(inputs[0]), math.prod(model.output_shape[1:])), np.dtype("float32")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        made, size = np.empty((stop - start, self.shape[1]), self.dtype), _size(self._inputs)
        for first in range(start, stop, size):
            part = slice(first, min(first + size, stop))
            output = self._running.run([array[part] for array in self._inputs])[0]
            made[part.start - start : part.stop - start] = output.reshape(len(output), -1)
        return made


def _batches(inputs: Sequence[Rows]) -> Iterator[Sequence[np.ndarray]]:
    """A batch of each input after the other; what has to be made first is made while the one before is looked at."""
    count = len(inputs[0])
    if any(isinstance(array, LazyImages) for array in inputs):
        for rows, _ in pipeline.evaluation_batches(inputs, np.zeros(count, "int64")):
            yield rows if isinstance(rows, tuple) else [rows]
        return
    # A tf.data pipeline would cost more than to look at the few numbers that are stored of an image.
    size = _size(inputs)
    for start in range(0, count, size):
        yield [array[start : start + size] for array in inputs]


def _size(inputs: Sequence[Rows]) -> int:
    """Rows in a batch."""
    return FEATURES_AT_A_TIME if len(inputs[0].shape) == 2 else pipeline.evaluation_batch_size(inputs[0])


def probabilities(model: keras.Model, *inputs: Rows, wanted: str = engine.TENSORFLOW) -> np.ndarray:
    """Class probabilities (N, classes), float32, of images (N, H, W, C), or of the stored activations of them.

    >>> probabilities(model, data.test.images).argmax(axis=1)  # doctest: +SKIP
    array([3, 5, 3])
    """
    return np.asarray(outputs(model, inputs, wanted), "float32")
