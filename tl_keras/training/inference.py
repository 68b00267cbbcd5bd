"""What a network says about images: one batch after the other, in inference mode, without augmentation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tl_keras.data import pipeline
from tl_keras.data.lazy import Rows
from tl_keras.quiet import keras
from tl_keras.transfer import engine


def outputs(model: keras.Model, inputs: Sequence[Rows], wanted: str = engine.TENSORFLOW) -> np.ndarray:
    """The only output of `model` for all rows of its inputs, in order.

    Args:
        inputs: one array (N, ...) for each input of the model: images, or stored activations.
        wanted: who runs it (`transfer.engine`).

    >>> outputs(model, [data.test.images]).shape  # doctest: +SKIP
    (10000, 10)
    """
    running = engine.choose(model, inputs, wanted)
    batches = pipeline.evaluation_batches(inputs, np.zeros(len(inputs[0]), "int64"))
    return np.concatenate([running.run(rows if isinstance(rows, tuple) else [rows])[0] for rows, _ in batches])


def probabilities(model: keras.Model, *inputs: Rows, wanted: str = engine.TENSORFLOW) -> np.ndarray:
    """Class probabilities (N, classes), float32, of images (N, H, W, C), or of the stored activations of them.

    >>> probabilities(model, data.test.images).argmax(axis=1)  # doctest: +SKIP
    array([3, 5, 3])
    """
    return np.asarray(outputs(model, inputs, wanted), "float32")
