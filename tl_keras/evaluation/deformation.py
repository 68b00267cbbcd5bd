"""Which deformations a spatial transformer undoes: theta taken apart, and a measurement with known deformations.

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

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from tl_keras.data.splits import Split
from tl_keras.errors import InputError
from tl_keras.evaluation.compare import Interval, mean_interval, proportion_interval
from tl_keras.models import stn

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

    Raises:
        InputError: another shape.

    >>> compose(np.array([[0.0, 2.0, 2.0, 0.0, 0.5, 0.0]])).tolist()
    [[[2.0, 0.0, 0.5], [0.0, 2.0, 0.0]]]
    """
    parts = np.asarray(parts, "float64")
    if parts.ndim != 2 or parts.shape[1] != len(PARTS):
        raise InputError(f"parts: expected shape (N, 6), received {parts.shape}; give {', '.join(PARTS)} of each map")
    rotation, scale_x, scale_y, shear, shift_x, shift_y = parts.T
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


def deform(images: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Images (N, H, W, C) resampled with one map (2, 3), or one each (N, 2, 3): float32, black where nothing is read.

    >>> deform(np.ones((2, 4, 4, 1)), np.array([[1.0, 0, 1], [0, 1, 0]]))[0, 0, :, 0].tolist()
    [1.0, 1.0, 0.0, 0.0]
    """
    theta = np.broadcast_to(np.asarray(theta, "float32"), (len(images), 2, 3))
    made = np.empty(images.shape, "float32")
    for start in range(0, len(images), BATCH):
        rows = slice(start, start + BATCH)
        grid = stn.affine_grid(theta[rows], images.shape[1:3])
        made[rows] = stn.grid_sample(np.asarray(images[rows], "float32"), grid)
    return made


@dataclass(frozen=True)
class Deformation:
    """A deformation of known size.

    Args:
        name: as in figures and results.json.
        parts: the parts of theta that it sets, all to one value; other parts stay those of the identity.
        amounts: the values, ascending, two at least.

    >>> Deformation("zoom", ("scale_x", "scale_y"), (1.0, 4.0)).theta(4.0).tolist()
    [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0]]
    """

    name: str
    parts: tuple[str, ...]
    amounts: tuple[float, ...]

    @property
    def is_scale(self) -> bool:
        """Whether amounts multiply: then they are measured by their logarithm, to base 2."""
        return self.parts[0].startswith("scale")

    def theta(self, amount: float) -> np.ndarray:
        """The map (2, 3) that deforms an image by `amount`."""
        parts = np.array(IDENTITY)
        parts[[PARTS.index(part) for part in self.parts]] = amount
        return compose(parts[None])[0]

    def size(self, theta: np.ndarray) -> np.ndarray:
        """How much of this deformation is in each map: (N,), 0 for none; octaves of a scale, else as in `PARTS`."""
        parts = decompose(theta)[:, [PARTS.index(part) for part in self.parts]]
        # Of a mirrored scale the size alone: where the window flips over, rotation and scale y share the blame.
        return (np.log2(np.abs(parts)) if self.is_scale else parts).mean(axis=1)


DEFORMATIONS = (
    Deformation("rotation", ("rotation",), (-60.0, -45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0, 60.0)),
    Deformation("scale", ("scale_x", "scale_y"), tuple(2.0 ** (step / 4) for step in range(-2, 5))),
    Deformation("shear", ("shear",), (-0.8, -0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8)),
    Deformation("shift x", ("shift_x",), (-0.4, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4)),
    Deformation("shift y", ("shift_y",), (-0.4, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4)),
)


@dataclass(frozen=True)
class Response:
    """What a transformer did about a deformation.

    Args:
        applied: size of the deformation (A,), as `Deformation.size` measures it.
        undone: how much of it the transformer undid, for each amount and image (A, N).
        displaced: how far points are moved on average, before the transformer's answer and after it (2, A, N).
    """

    deformation: Deformation
    applied: np.ndarray
    undone: np.ndarray
    displaced: np.ndarray

    @property
    def slopes(self) -> np.ndarray:
        """For each image (N,) the least-squares slope of what was undone on what was applied."""
        centred = self.applied - self.applied.mean()
        return centred @ self.undone / (centred @ centred)

    @property
    def slope(self) -> Interval:
        """Their mean, which is the slope of the regression over all images: 1 = fully undone, 0 = ignored.

        The interval is Student's, 95%, over images: each answers for itself at every amount, so the images, not their
        single deformations, are what is independent.
        """
        return mean_interval(self.slopes)

    @property
    def displacement(self) -> Interval:
        """The share of the displacement of points that the answer takes back, whatever parts it is made of.

        A transformer that answers a rotation with a shear undoes no rotation, by its parts, yet brings points nearer to
        where they were: this tells. The mean over all amounts but the identity; the interval as for `slope`.
        """
        before, after = self.displaced[:, self.applied != 0]
        return mean_interval((1 - after / before).mean(axis=0))

    def curve(self) -> np.ndarray:
        """The mean over images with its 95% interval at each amount: (A, 3)."""
        return np.array([(each.mean, each.low, each.high) for each in map(mean_interval, self.undone)])


def undone(theta_of: Callable[[np.ndarray], np.ndarray], images: np.ndarray, deformation: Deformation) -> Response:
    """How much of a deformation a transformer undoes, on each image.

    An image deformed by D and then resampled with the transformer's theta is the image resampled with D theta. Were
    D undone, that would be the theta_0 of the image as it was; so D theta theta_0^-1 is what remains of the
    deformation, and the undone part is what was applied less what remains. A transformer that always does the same
    undoes nothing: only its response counts.

    Args:
        theta_of: the maps (N, 2, 3) that the transformer takes for images (N, H, W, C).
        images: (N, H, W, C), undeformed, two at least.

    >>> undone(lambda images: np.tile(np.eye(2, 3), (len(images), 1, 1)), np.zeros((2, 8, 8, 1)), DEFORMATIONS[0]).slope
    Interval(mean=0.0, low=0.0, high=0.0, n=2)
    """
    if len(images) < 2:
        raise InputError(f"images: expected two at least, received {len(images)}; an interval needs several")
    back = inverse(theta_of(np.asarray(images, "float32")))
    applied, found, displaced = [], [], []
    for amount in deformation.amounts:
        theta = deformation.theta(amount)
        remaining = chain(chain(theta[None], theta_of(deform(images, theta))), back)
        applied.append(deformation.size(theta[None]).item())
        found.append(applied[-1] - deformation.size(remaining))
        displaced.append(np.broadcast_arrays(displacement(theta[None]), displacement(remaining)))
    return Response(deformation, np.array(applied), np.array(found), np.moveaxis(np.array(displaced), 1, 0))


def accuracies(model: keras.Model, split: Split, deformation: Deformation) -> list[Interval]:
    """The accuracy of `model` on images deformed by each amount, with Wilson's 95% interval for the finite split."""
    found = []
    for amount in deformation.amounts:
        deformed = deform(split.images, deformation.theta(amount))
        # Not through a tf.data pipeline: each would keep its copy of the images until Python's collector comes by.
        starts = range(0, len(split), BATCH)
        probabilities = [model.predict_on_batch(deformed[start : start + BATCH]) for start in starts]
        correct = np.concatenate(probabilities).argmax(axis=1) == split.labels
        found.append(proportion_interval(int(correct.sum()), len(split)))
    return found


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
