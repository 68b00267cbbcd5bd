"""What a network says about images: one batch after the other, in inference mode, without augmentation."""

from __future__ import annotations

import keras
import numpy as np

from tl_keras.data import pipeline
from tl_keras.data.splits import Split


def probabilities(model: keras.Model, split: Split) -> np.ndarray:
    """Class probabilities (N, classes) of the images of `split`, float32.

    >>> probabilities(model, data.test).argmax(axis=1)  # doctest: +SKIP
    array([3, 5, 3])
    """
    batches = pipeline.evaluation_batches([split.images], split.labels)
    return np.concatenate([np.asarray(model.predict_on_batch(images), "float32") for images, _ in batches])
