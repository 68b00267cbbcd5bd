"""Affine maps: theta taken apart into rotation, scales, shear and shifts, put together, chained, turned back.

theta, (2, 3), maps where a pixel goes, (x, y) from -1 to 1 and y downwards, to where it is read (Jaderberg et al.,
"Spatial Transformer Networks", 2015, equation 1). So theta moves a window over the image, and what the window shows
moves the other way. The six parts describe the window:

    theta = [R K S | t],  R = [[cos r, -sin r], [sin r, cos r]],  K = [[1, k], [0, 1]],  S = diag(s_x, s_y)

    rotation r   degrees; above 0 the window turns clockwise and the image anticlockwise
    scale s      above 1 the window is larger than the image, which is shown smaller
    shear k      above 0 the lower half of the window moves right, that of the image left
    shift t      in halves of the side; above 0 the image moves left (x) or up (y)
"""

from __future__ import annotations

import numpy as np

from tl_keras import models
from tl_keras.data.lazy import LazyImages
from tl_keras.errors import InputError

PARTS = ("rotation", "scale_x", "scale_y", "shear", "shift_x", "shift_y")
IDENTITY = (0.0, 1.0, 1.0, 0.0, 0.0, 0.0)
BATCH = 500


def decompose(theta: np.ndarray) -> np.ndarray:
    """The parts (N, 6) of affine maps (N, 2, 3), in the order of `PARTS`; scale y is below 0 where one mirrors.

    Raises:
        InputError: another shape, values that are not finite, a map onto a line or a point.

    >>> decompose(np.array([[[0.0, -2.0, 0.5], [2.0, 0.0, 0.0]]])).round(6).tolist()
    [[90.0, 2.0, 2.0, 0.0, 0.5, 0.0]]
    """
    theta, determinant = _invertible(theta)
    (a, b, shift_x), (c, d, shift_y) = np.moveaxis(theta, 0, -1)
    scale_x = np.hypot(a, c)
    shear = (a * b + c * d) / determinant
    rotation = np.degrees(np.arctan2(c, a))
    return np.stack([rotation, scale_x, determinant / scale_x, shear, shift_x, shift_y], axis=1)


def compose(parts: np.ndarray) -> np.ndarray:
    """The affine maps (N, 2, 3) that have these parts (N, 6): the inverse of `decompose`.

    >>> compose(np.array([[0.0, 2.0, 2.0, 0.0, 0.5, 0.0]])).tolist()
    [[[2.0, 0.0, 0.5], [0.0, 2.0, 0.0]]]
    """
    rotation, scale_x, scale_y, shear, shift_x, shift_y = np.asarray(parts, "float64").T
    cos, sin = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    rows = [
        [scale_x * cos, scale_y * (shear * cos - sin), shift_x],
        [scale_x * sin, scale_y * (shear * sin + cos), shift_y],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def chain(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The map (N, 2, 3) that applies `inner` first and `outer` to what came of it; one map serves all.

    An image resampled with `outer`, and what came of it with `inner`, is the image resampled with this.

    >>> zoom, shift = compose(np.array([[0, 2.0, 2, 0, 0, 0], [0, 1, 1, 0, 0.5, 0]]))
    >>> chain(zoom[None], shift[None])[0].tolist()
    [[2.0, 0.0, 1.0], [0.0, 2.0, 0.0]]
    """
    return (_square(outer) @ _square(inner))[:, :2]


def inverse(theta: np.ndarray) -> np.ndarray:
    """The maps (N, 2, 3) that take these back.

    Raises:
        InputError: as `decompose`.

    >>> inverse(np.array([[[2.0, 0.0, 1.0], [0.0, 2.0, 0.0]]])).tolist()
    [[[0.5, 0.0, -0.5], [0.0, 0.5, 0.0]]]
    """
    return np.linalg.inv(_square(_invertible(theta)[0]))[:, :2]


def displacement(theta: np.ndarray) -> np.ndarray:
    """How far maps (N, 2, 3) move the points of an image, (N,): their root mean square, in halves of the side.

    >>> displacement(compose(np.array([[0, 1.0, 1, 0, 0.3, 0.4], [0, 2, 1, 0, 0, 0]]))).round(3).tolist()
    [0.5, 0.577]
    """
    moved = _checked(theta) - np.eye(2, 3)
    return np.sqrt((moved[:, :, :2] ** 2).sum(axis=(1, 2)) / 3 + (moved[:, :, 2] ** 2).sum(axis=1))


def deform(images: np.ndarray | LazyImages, theta: np.ndarray) -> np.ndarray:
    """Images (N, H, W, C) resampled with one map (2, 3), or one each (N, 2, 3): float32, black where nothing is read.

    >>> deform(np.ones((2, 4, 4, 1)), np.array([[1.0, 0, 1], [0, 1, 0]]))[0, 0, :, 0].tolist()
    [1.0, 1.0, 0.0, 0.0]
    """
    theta = np.broadcast_to(np.asarray(theta, "float32"), (len(images), 2, 3))
    made = np.empty(images.shape, "float32")
    for start in range(0, len(images), BATCH):
        rows = slice(start, start + BATCH)
        grid = models.stn.affine_grid(theta[rows], images.shape[1:3])
        made[rows] = models.stn.grid_sample(np.asarray(images[rows], "float32"), grid)
    return made


def _checked(theta: np.ndarray) -> np.ndarray:
    theta = np.asarray(theta, "float64")
    if theta.ndim != 3 or theta.shape[1:] != (2, 3):
        raise InputError(f"theta: expected shape (N, 2, 3), received {theta.shape}; give one 2 x 3 matrix for each map")
    if not np.isfinite(theta).all():
        raise InputError(
            f"theta: expected finite numbers, received {int((~np.isfinite(theta)).sum())} NaN or infinite values; "
            "check the training"
        )
    return theta


def _invertible(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The maps and the determinants (N,) of their linear parts."""
    theta = _checked(theta)
    (a, b), (c, d) = np.moveaxis(theta[:, :, :2], 0, -1)
    determinant = a * d - b * c
    if not determinant.all():
        raise InputError(
            f"theta: expected maps of the plane onto itself, received {int((determinant == 0).sum())} onto a line or a "
            "point; check the training"
        )
    return theta, determinant


def _square(theta: np.ndarray) -> np.ndarray:
    theta = _checked(theta)
    return np.concatenate([theta, np.broadcast_to([[[0.0, 0.0, 1.0]]], (len(theta), 1, 3))], axis=1)
