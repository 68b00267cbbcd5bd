"""What a record keeps for TensorBoard's projector: what the last layer reads of some test images, with pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from tl_keras.data import splits
from tl_keras.data.splits import Split
from tl_keras.errors import InputError

DRAWN, WIDEST, SIDE = 500, 64, 32  # images at most, numbers of each, and the longest side of its picture
AT_A_TIME = 50  # images as they are, in memory

Kept = tuple[dict[str, Any], dict[str, np.ndarray]]


def of(test: Split, features: Callable[[Split, np.ndarray], np.ndarray]) -> Kept:
    """The parts of a record, `measured` and `arrays`; nothing where the last layer is not a dense one, or reads no
    numbers.

    Of wide features the principal components are kept that vary most: `width` is what they had, `variance` the share
    that is kept.

    Args:
        features: of the images of a split at some rows, (rows, F), as `training.loop.Training.features`.

    >>> measured, arrays = of(images.test, fitted.features)  # doctest: +SKIP
    >>> measured["projector"], arrays["projector.features"].shape  # doctest: +SKIP
    ({'width': 1280, 'variance': 0.9312}, (500, 64))
    """
    rows = splits.drawn(len(test), DRAWN)
    try:
        found = features(test, rows)
    except InputError:
        return {}, {}
    if not np.isfinite(found).all():  # training diverged
        return {}, {}
    kept, variance = reduced(found)
    parts = [rows[start : start + AT_A_TIME] for start in range(0, len(rows), AT_A_TIME)]
    images = np.concatenate([[small(image, SIDE) for image in test.images[part]] for part in parts])
    measured = {"width": found.shape[1], "variance": round(variance, 4)}
    arrays = {"rows": rows, "features": kept, "images": images}
    return {"projector": measured}, {f"projector.{name}": array for name, array in arrays.items()}


def reduced(features: np.ndarray) -> tuple[np.ndarray, float]:
    """At most `WIDEST` numbers of each row, and the share of the variance that these hold.

    >>> reduced(np.eye(3, dtype="float32"))[1]
    1.0
    """
    if features.shape[1] <= WIDEST:
        return features.astype("float32"), 1.0
    centred = features - features.mean(axis=0, dtype="float64")
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    total = (sizes**2).sum()
    share = (sizes[:WIDEST] ** 2).sum() / total if total else 1.0
    return (left * sizes)[:, :WIDEST].astype("float32"), float(share)


def small(image: np.ndarray, side: int) -> np.ndarray:
    """`image` (H, W, C), uint8, no larger than `side`.

    >>> small(np.zeros((64, 32, 1), "uint8"), 32).shape
    (32, 16, 1)
    """
    picture = Image.fromarray(image.squeeze())
    picture.thumbnail((side, side))
    return np.asarray(picture).reshape(picture.height, picture.width, -1)
