"""How much of known deformations a transformer undoes, and what is still recognised of what they leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.stn.affine import BATCH, IDENTITY, PARTS, chain, compose, decompose, deform, displacement, inverse
from tl_keras.data.splits import Split
from tl_keras.errors import InputError
from tl_keras.evaluation.compare import Interval, mean_interval


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

    def theta(self, amount: float) -> np.ndarray:
        """The map (2, 3) that deforms an image by `amount`."""
        parts = np.array(IDENTITY)
        parts[[PARTS.index(part) for part in self.parts]] = amount
        return compose(parts[None])[0]

    def size(self, theta: np.ndarray) -> np.ndarray:
        """How much of this deformation is in each map: (N,), 0 for none; octaves of a scale, else as in `PARTS`."""
        parts = decompose(theta)[:, [PARTS.index(part) for part in self.parts]]
        # Of a mirrored scale the size alone: where the window flips over, rotation and scale y share the blame.
        return (np.log2(np.abs(parts)) if self.parts[0].startswith("scale") else parts).mean(axis=1)

    @property
    def applied(self) -> np.ndarray:
        """The size at each amount (A,)."""
        return np.concatenate([self.size(self.theta(amount)[None]) for amount in self.amounts])


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
        undone: how much of it the transformer undid, for each amount and image (A, N).
        displaced: how far points are moved on average, before the transformer's answer and after it (2, A, N).
    """

    deformation: Deformation
    undone: np.ndarray
    displaced: np.ndarray

    @property
    def slope(self) -> Interval:
        """The slope of what was undone on what was applied, over all images: 1 = fully undone, 0 = ignored.

        It is the mean of the images' own slopes. The interval is Student's, 95%, over images: each answers for itself
        at every amount, so the images, not their single deformations, are what is independent.
        """
        applied = self.deformation.applied
        centred = applied - applied.mean()
        return mean_interval(centred @ self.undone / (centred @ centred))

    @property
    def displacement(self) -> Interval:
        """The share of the displacement of points that the answer takes back, whatever parts it is made of.

        A transformer that answers a rotation with a shear undoes no rotation, by its parts, yet brings points nearer to
        where they were: this tells. The mean over all amounts but the identity; the interval as for `slope`.
        """
        before, after = self.displaced[:, self.deformation.applied != 0]
        return mean_interval((1 - after / before).mean(axis=0))

    def curve(self) -> np.ndarray:
        """What was undone: the mean over images with its 95% interval at each amount, (A, 3)."""
        return np.array([(each.mean, each.low, each.high) for each in map(mean_interval, self.undone)])

    def entry(self) -> dict[str, Any]:
        """The numbers, as results.json tells them."""
        slope = self.slope
        return {
            "deformation": self.deformation.name, "amounts": list(self.deformation.amounts), "slope": slope.mean,
            "interval_95": [slope.low, slope.high], "images": slope.n, "displacement_undone": self.displacement.mean,
            "undone": self.curve()[:, 0].tolist(), "applied": self.deformation.applied.tolist(),
        }  # fmt: skip


def undone(theta_of: Callable[[np.ndarray], np.ndarray], images: np.ndarray, deformation: Deformation) -> Response:
    """How much of a deformation a transformer undoes, on each image.

    An image deformed by D and then resampled with the transformer's theta is the image resampled with D theta. Were
    D undone, that would be the theta_0 of the image as it was; so D theta theta_0^-1 is what remains of the
    deformation, and the undone part is what was applied less what remains. A transformer that always does the same
    undoes nothing: only its response counts.

    Args:
        theta_of: the maps (N, 2, 3) that the transformer takes for images (N, H, W, C).
        images: (N, H, W, C), undeformed, two at least.

    >>> stays = lambda images: np.tile(np.eye(2, 3), (len(images), 1, 1))
    >>> undone(stays, np.zeros((2, 8, 8, 1)), DEFORMATIONS[0]).slope.mean
    0.0
    """
    if len(images) < 2:
        raise InputError(f"images: expected two at least, received {len(images)}; an interval needs several")
    back = inverse(theta_of(np.asarray(images, "float32")))
    found, displaced = [], []
    for amount, applied in zip(deformation.amounts, deformation.applied, strict=True):
        theta = deformation.theta(amount)
        remaining = chain(chain(theta[None], theta_of(deform(images, theta))), back)
        found.append(applied - deformation.size(remaining))
        displaced.append(np.broadcast_arrays(displacement(theta[None]), displacement(remaining)))
    return Response(deformation, np.array(found), np.moveaxis(np.array(displaced), 1, 0))


def recognised(model, split: Split, deformation: Deformation) -> list[int]:
    """How many images of a split a Keras model recognises when they are deformed by each amount."""
    found = []
    for amount in deformation.amounts:
        deformed = deform(split.images, deformation.theta(amount))
        # Not through a tf.data pipeline: each would keep its copy of the images until Python's collector comes by.
        starts = range(0, len(split), BATCH)
        probabilities = [model.predict_on_batch(deformed[start : start + BATCH]) for start in starts]
        found.append(int((np.concatenate(probabilities).argmax(axis=1) == split.labels).sum()))
    return found
