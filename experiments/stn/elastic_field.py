"""How much of an elastic deformation an affine map can undo, and how much of it a spatial transformer does undo.

An elastic copy E of an image I reads it at p + F(p): F is the field (`data.deform.field`). A transformer that shows I
through theta_0 and E through theta puts what lies at p in E where it would put what lies at G p in I, with the map
G = theta_0 theta^-1. Had it undone the deformation, G p would be p + F(p) wherever there is ink. So p + F(p) - G p is
the field that remains: all of F where the transformer does to E what it does to I (G is the identity), and never less
than what the best affine map leaves, which is a problem of least squares.

Coordinates are those of theta (`affine`): x, y from -1 to 1. Residuals are in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from experiments.stn.affine import PARTS, chain, decompose, inverse
from tl_keras.evaluation.compare import Interval

RESAMPLES = 2_000


@dataclass(frozen=True)
class Residuals:
    """The fields of N images before anything is undone, and what remains of them: root mean squares in pixels.

    Args:
        before: the field itself (N,).
        best: what the best affine map leaves (N,).
        left: what the transformer leaves (N,).
        wanted: the best affine maps (N, 2, 3).
        done: those of the transformer (N, 2, 3), G above.
    """

    before: np.ndarray
    best: np.ndarray
    left: np.ndarray
    wanted: np.ndarray
    done: np.ndarray

    @property
    def possible(self) -> Interval:
        """The share of the fields' mean square that an affine map can undo."""
        return _share_gone(self.before, self.best)

    @property
    def undone(self) -> Interval:
        """The share of the fields' mean square that the transformer undoes: below 0 where it adds to them."""
        return _share_gone(self.before, self.left)

    def slope(self, part: str) -> Interval:
        """How the transformer's share of `part` (of `affine.PARTS`) follows that of the best affine map.

        The slope of a regression over images, with its 95% interval: 1 = that part is undone, 0 = it is ignored.
        """
        number = PARTS.index(part)
        wanted, done = (decompose(maps)[:, number] for maps in (self.wanted, self.done))
        line = stats.linregress(wanted, done)
        half = line.stderr * stats.t.ppf(0.975, len(done) - 2)
        return Interval(float(line.slope), float(line.slope - half), float(line.slope + half), len(done))

    def entry(self) -> dict[str, Any]:
        """The numbers, as results.json tells them."""
        pixels, best, left = (float(np.sqrt(np.mean(rms**2))) for rms in (self.before, self.best, self.left))
        return {
            "pixels": pixels,
            "pixels_after_best_affine": best,
            "pixels_after_transformer": left,
            "affine_share": bounds(self.possible),
            "undone": bounds(self.undone),
        }


def measure(
    theta_original: np.ndarray, theta_elastic: np.ndarray, fields: np.ndarray, weights: np.ndarray | None = None
) -> Residuals:
    """What a transformer leaves of elastic fields, beside what the best affine maps leave.

    Args:
        theta_original: the maps (N, 2, 3) that the transformer takes for the images as they were, 3 at least.
        theta_elastic: those for the elastic copies.
        fields: (N, H, W, 2), down and right, in pixels, as `data.deform.field` gives them.
        weights: how much each pixel of the copies counts (N, H, W), such as their ink; default all alike. Three pixels
            at least that are not in a line count in each image.

    Raises:
        InputError: theta is not finite.

    >>> stays = np.tile(np.eye(2, 3), (3, 1, 1))
    >>> shifted = measure(stays, stays, np.full((3, 28, 28, 2), 1.5))
    >>> shifted.before.round(3), shifted.best.round(3), shifted.left.round(3)
    (array([2.121, 2.121, 2.121]), array([0., 0., 0.]), array([2.121, 2.121, 2.121]))
    """
    weights = np.ones(fields.shape[:3]) if weights is None else weights
    wanted = best_affine(fields, weights)
    done = chain(theta_original, inverse(theta_elastic))
    stays = np.broadcast_to(np.eye(2, 3), wanted.shape)
    before, best, left = (_rms(remaining(fields, maps), weights) for maps in (stays, wanted, done))
    return Residuals(before, best, left, wanted, done)


def centring(weights: np.ndarray) -> np.ndarray:
    """The maps (N, 2, 3) that bring the centre of mass of weights (N, H, W) to the middle: a rule, nothing learned.

    >>> centring(np.eye(3)[None] * [[0, 0, 1]])[0].round(3).tolist()  # all mass in the lower right corner
    [[1.0, 0.0, 0.667], [0.0, 1.0, 0.667]]
    """
    flat = weights.reshape(len(weights), -1)
    centre = flat @ _points(weights.shape[1:])[:, :2] / flat.sum(axis=1, keepdims=True)
    return np.concatenate([np.broadcast_to(np.eye(2), (len(flat), 2, 2)), centre[:, :, None]], axis=2)


def scale_undone(theta_original: np.ndarray, theta_zoomed: np.ndarray, factor: float) -> np.ndarray:
    """The share of a zoom-out, in octaves, that a transformer undoes on each image: (N,), 1 = all, 0 = ignored.

    Args:
        theta_original: the maps (N, 2, 3) that the transformer takes for the images as they were.
        theta_zoomed: those for the images at 1/factor of their size.

    >>> stays = np.tile(np.eye(2, 3), (2, 1, 1))
    >>> scale_undone(stays, stays * 0.5, factor=4)  # twice as large as without the transformer: one octave of two
    array([0.5, 0.5])
    """
    octaves = [np.log2(np.abs(decompose(theta)[:, 1:3])).mean(axis=1) for theta in (theta_original, theta_zoomed)]
    return (octaves[0] - octaves[1]) / np.log2(factor)


def zoom_field(factor: float, size: tuple[int, int]) -> np.ndarray:
    """A zoom-out about the middle as a field (H, W, 2): down and right, in pixels.

    >>> zoom_field(4, (3, 3))[0, 1].tolist()  # the upper middle pixel shows what was 3 pixels above it
    [-3.0, 0.0]
    """
    return (factor - 1) * np.moveaxis(np.indices(size), 0, -1) - (factor - 1) * (np.array(size) - 1) / 2


def spread(theta: np.ndarray, size: tuple[int, int]) -> float:
    """How far apart maps (N, 2, 3) put a pixel of images (H, W): root mean square around their mean, in pixels.

    >>> spread(np.array([[[1.0, 0, 0.1], [0, 1, 0]], [[1.0, 0, -0.1], [0, 1, 0]]]), (28, 28))
    1.4...
    """
    moved = remaining(np.zeros((len(theta), *size, 2)), theta - theta.mean(axis=0) + np.eye(2, 3))
    return float(np.sqrt((moved**2).sum(axis=-1).mean()))


def best_affine(fields: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The affine maps (N, 2, 3) nearest to p + F(p): weighted least squares, in closed form; `weights` as in `measure`.

    >>> (best_affine(np.full((1, 28, 28, 2), 1.4)).round(3) + 0).tolist()
    [[[1.0, 0.0, 0.1], [0.0, 1.0, 0.1]]]
    """
    points = _points(fields.shape[1:3])
    target = points[:, :2] + _normalised(fields)
    weights = np.ones(target.shape[:2]) if weights is None else weights.reshape(len(fields), -1)
    normal = np.einsum("np,pi,pj->nij", weights, points, points, optimize=True)
    right = np.einsum("np,pi,npj->nij", weights, points, target, optimize=True)
    return np.linalg.solve(normal, right).transpose(0, 2, 1)


def remaining(fields: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """What remains of fields (N, H, W, 2) when affine maps G (N, 2, 3) are taken for them: p + F(p) - G p.

    Returns:
        (N, H, W, 2), down and right, in pixels.

    >>> remaining(np.full((1, 2, 2, 2), 1.0), np.array([[[1.0, 0, 1], [0, 1, 0]]]))[0, 0, 0].tolist()
    [1.0, 0.0]
    """
    height, width = fields.shape[1:3]
    points = _points((height, width))
    moved = np.einsum("nij,pj->npi", maps, points, optimize=True) - points[:, :2]
    rest = (_normalised(fields) - moved) * (width / 2, height / 2)
    return rest[..., ::-1].reshape(fields.shape)


def _points(size: tuple[int, int]) -> np.ndarray:
    """x, y, 1 of every pixel: (H*W, 3)."""
    y, x = ((2 * np.arange(side) + 1) / side - 1 for side in size)
    x, y = np.meshgrid(x, y)
    return np.stack([x.ravel(), y.ravel(), np.ones(x.size)], axis=1)


def _normalised(fields: np.ndarray) -> np.ndarray:
    """Down and right in pixels as x and y: (N, H*W, 2)."""
    count, height, width, _ = fields.shape
    return fields.reshape(count, -1, 2)[..., ::-1] / (width / 2, height / 2)


def bounds(interval: Interval) -> dict[str, float]:
    """An interval, as results.json tells it."""
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def _rms(fields: np.ndarray, weights: np.ndarray) -> np.ndarray:
    squares = (fields**2).sum(axis=-1)
    return np.sqrt((squares * weights).sum(axis=(1, 2)) / weights.sum(axis=(1, 2)))


def _share_gone(before: np.ndarray, after: np.ndarray) -> Interval:
    """Of the mean square over images."""
    return gained(before, before, after)


def gained(before: np.ndarray, control: np.ndarray, left: np.ndarray) -> Interval:
    """How much more of the fields' mean square is undone than a control undoes, with a 95% interval.

    The interval is a bootstrap over images, with one seed.

    Args:
        before: root mean squares of the fields (N,), `control` and `left` of what remains of them.

    >>> gained(np.array([2.0, 2.0]), np.array([2.0, 2.0]), np.array([1.0, 1.0])).mean
    0.75
    """

    def share(before, control, left, axis=-1):
        return np.mean(control**2 - left**2, axis=axis) / np.mean(before**2, axis=axis)

    found = stats.bootstrap(
        (before, control, left), share, paired=True, n_resamples=RESAMPLES, batch=200, method="percentile", rng=0
    ).confidence_interval
    return Interval(float(share(before, control, left)), float(found.low), float(found.high), len(before))
