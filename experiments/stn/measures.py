"""What these studies ask of a network while it is at hand; numbers and pictures go to its record."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from experiments.stn import elastic_field as fields
from experiments.stn.affine import PARTS, decompose, deform
from experiments.stn.copies import THIRDS, ZOOM
from experiments.stn.deformations import DEFORMATIONS, recognised, undone
from tl_keras import models
from tl_keras.data.deform import Elastic, field
from tl_keras.data.image_data import ImageData
from tl_keras.data.splits import drawn
from tl_keras.evaluation.compare import mean_interval

PROBED = 2_000  # test images that are deformed, or whose fields are measured
Measured = tuple[dict[str, Any], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Undone:
    """How much of known deformations the transformer undoes: numbers, and curves (A, 3), by name of the deformation."""

    probed: int = PROBED
    name = "undone"

    def __call__(self, model, images: ImageData) -> Measured:
        seen, theta = (
            images.test.images[drawn(len(images.test), self.probed)],
            partial(models.stn_network.thetas, model),
        )
        found = [undone(theta, seen, kind) for kind in DEFORMATIONS]
        entries = {response.deformation.name: response.entry() for response in found}
        return entries, {response.deformation.name: response.curve() for response in found}


@dataclass(frozen=True)
class Deformed:
    """How many deformed test images are recognised: at each amount, by name of the deformation."""

    probed: int = PROBED
    name = "deformed"

    def __call__(self, model, images: ImageData) -> Measured:
        test = images.test.take(drawn(len(images.test), self.probed))
        return {"images": len(test), "right": {kind.name: recognised(model, test, kind) for kind in DEFORMATIONS}}, {}


@dataclass(frozen=True)
class Theta:
    """Theta's parts on the test images as they are; those with the lowest and the highest of each, before and after.

    Args:
        extremes: how many images from either end.
    """

    extremes: int = 2
    name = "theta"

    def __call__(self, model, images: ImageData) -> Measured:
        test = images.test
        theta = models.stn_network.thetas(model, test.images)
        parts = decompose(theta)
        order = np.argsort(parts, axis=0, kind="stable").T
        few = len(parts) <= 2 * self.extremes
        rows = order if few else np.concatenate([order[:, : self.extremes], order[:, -self.extremes :]], axis=1)
        before = test.images[rows.ravel()]
        pictures = {"before": before, "after": _shown(before, theta[rows.ravel()])}
        pictures = {name: made.reshape(*rows.shape, *made.shape[1:]) for name, made in pictures.items()}
        numbers = {part: _described(values, test.labels) for part, values in zip(PARTS, parts.T, strict=True)}
        return numbers, {"parts": parts.astype("float32"), "rows": rows, **pictures}


@dataclass(frozen=True)
class ElasticUndone:
    """What the transformer undoes of elastic fields and of the zoom-out of `copies.Copies`; and pictures of it.

    Only its response counts: its theta for a deformed image against its theta for the same image as it was. Beside it
    stands what centring undoes: bringing the centre of mass to the middle, which learns nothing.

    Args:
        elastic: what bent the test images.
        pictures: images shown before and after; arrows are drawn for half of them.
    """

    elastic: Elastic
    probed: int = PROBED
    pictures: int = 8
    name = "undone"

    def __call__(self, model, images: ImageData) -> Measured:
        rows = drawn(len(images.watched["original"]), self.probed)
        copies = {name: images.watched[name].images[rows] for name in THIRDS}
        theta = {name: models.stn_network.thetas(model, seen) for name, seen in copies.items()}
        size = copies["elastic"].shape[1:3]
        # A pixel counts by its brightness; black ones next to nothing, so that a blank image has an answer too.
        ink = {name: seen.mean(axis=-1) + 0.01 for name, seen in copies.items()}
        moved = np.stack([field(self.elastic.displacement(int(row), size), size) for row in rows])
        zoom = np.broadcast_to(fields.zoom_field(ZOOM, size), moved.shape)
        zoomed = fields.measure(theta["original"], theta["zoomed_out"], zoom, ink["zoomed_out"])
        bent = fields.measure(theta["original"], theta["elastic"], moved, ink["elastic"])
        scale = fields.scale_undone(theta["original"], theta["zoomed_out"], ZOOM)
        rule = {name: fields.centring(seen) for name, seen in ink.items()}
        centred = fields.measure(rule["original"], rule["elastic"], moved, ink["elastic"])
        numbers = {
            "images": len(rows),
            "scale_undone": fields.bounds(mean_interval(scale.tolist())),
            "zoom": zoomed.entry(),
            "elastic": bent.entry()
            | {"centring": fields.bounds(centred.undone)}
            | {"beyond_centring": fields.bounds(fields.gained(bent.before, centred.left, bent.left))}
            | {"slopes": {part: fields.bounds(bent.slope(part)) for part in PARTS}},
            "theta_spread_pixels": {name: fields.spread(maps, size) for name, maps in theta.items()},
        }
        return numbers, self._arrays(copies, theta, moved, bent)

    def _arrays(self, copies, theta, moved, bent: fields.Residuals) -> dict[str, np.ndarray]:
        """Parts of all maps, the first images of each kind before and after, and the first fields and what is left."""
        first, arrows = slice(self.pictures), slice(self.pictures // 2)
        maps = np.stack([np.broadcast_to(np.eye(2, 3), bent.done.shape), bent.wanted, bent.done])[:, arrows]
        return {
            "parts": np.stack([decompose(maps) for maps in theta.values()]).astype("float32"),
            "wanted": decompose(bent.wanted).astype("float32"),
            "done": decompose(bent.done).astype("float32"),
            "before": np.stack([seen[first] for seen in copies.values()]),
            "after": np.stack([_shown(copies[name][first], theta[name][first]) for name in THIRDS]),
            "fields": np.stack([fields.remaining(moved[arrows], each) for each in maps]).astype("float32"),
            "pixels": np.stack([bent.before, bent.best, bent.left]).astype("float32"),
        }


def between_classes(values: np.ndarray, labels: np.ndarray) -> float:
    """The share of the variance of values (N,) that lies between the classes of labels (N,); 0 where nothing varies.

    >>> between_classes(np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 1]))
    1.0
    """
    means = np.zeros(len(values))
    for label in np.unique(labels):
        means[labels == label] = values[labels == label].mean()
    return float(means.var() / values.var()) if values.var() else 0.0


def _described(values: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(values, (0.05, 0.95)).tolist()
    found = {"mean": float(values.mean()), "deviation": float(values.std()), "low": low, "high": high}
    return found | {"between_classes": between_classes(values, labels)}


def _shown(images: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """What the classifier sees of images (N, H, W, C): uint8."""
    return np.rint(deform(images, theta).clip(0, 255)).astype("uint8")
