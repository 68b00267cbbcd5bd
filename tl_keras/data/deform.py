"""Deformed copies of a data set: elastic ones and smaller ones, made once, in parallel, and kept on the disk.

A copy is a pure function of (image, index in its split, deformation): the same whatever the number of processes and
wherever its making was stopped. What was done to an image can be asked for afterwards (`Elastic.displacement`,
`field`), for those who measure how much of it a network undoes.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tl_keras.data import chunks
from tl_keras.data.splits import Split
from tl_keras.errors import InputError


@dataclass(frozen=True)
class Elastic:
    """A random smooth field: the displacements of a square grid of control points, joined by cubic splines.

    It is the first example of the `elasticdeform` package, `deform_random_grid(X, sigma=25, points=3)`, whose X has
    200x300 pixels. There sigma is 1/8 of the shorter side and 1/12 of the longer one. Here it is 1/14 of the shorter
    side, 2 pixels of 28: the fields move a pixel by 2.3 pixels (root mean square), as wide as a stroke, so that digits
    are bent beyond what people write. Fields that fold (a piece of the image comes twice, mirrored in between) were 1
    in 130 at that sigma, 1 in 20 at 2.5 pixels and 1 in 3 at 3.5, where some digits can no longer be read.

    Ronneberger et al., "U-Net" (MICCAI 2015), section 3.1, deforms its training images this way.

    Args:
        seed: with the index of an image it fixes its field; give train and test images different ones.
        sigma: standard deviation of the control points' displacements, as a share of the shorter side.
        points: control points along each side, the outermost on the border.

    Raises:
        InputError: a value is outside its bounds.

    >>> Elastic(seed=1).displacement(index=7, size=(28, 28)).shape
    (2, 3, 3)
    """

    seed: int = 0
    sigma: float = 1 / 14
    points: int = 3
    name = "elastic"

    def __post_init__(self):
        if not (isinstance(self.seed, int) and self.seed >= 0):
            raise InputError(f"seed: expected a whole number of at least 0, received {self.seed!r}; give one such as 0")
        if not 0 <= self.sigma < math.inf:
            raise InputError(
                f"sigma: expected a share of the side of at least 0, received {self.sigma}; give one such as 0.07"
            )
        if not (isinstance(self.points, int) and self.points >= 2):
            raise InputError(f"points: expected a whole number of at least 2, received {self.points!r}; give 3")

    def displacement(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """What moves image `index` of size (H, W): (2, points, points), down and right, in pixels."""
        drawn = np.random.default_rng((self.seed, index)).standard_normal((2, self.points, self.points))
        return drawn * self.sigma * min(size)

    def __call__(self, images: np.ndarray, first: int) -> np.ndarray:
        """Each image by its own field, with cubic interpolation; black comes in from outside."""
        from elasticdeform import deform_grid

        height, width = images.shape[1:3]
        if min(height, width) < self.points:
            raise InputError(
                f"elastic deformation: expected images of at least {self.points}x{self.points}, received "
                f"{height}x{width}; load them larger"
            )
        deformed = np.empty(images.shape, "float32")
        for row, image in enumerate(images.astype("float32")):
            deformed[row] = deform_grid(image, self.displacement(first + row, (height, width)), axis=(0, 1))
        return _to_uint8(deformed)


@dataclass(frozen=True)
class ZoomOut:
    """The whole image at 1/factor of its size, in the middle of a black one.

    The geometry is that of `elasticdeform`'s `zoom=1 / factor`. But a pixel is the mean of the pixels that it stands
    for, not a sample of them: every fourth pixel of a digit misses strokes three pixels wide. (Five nearest neighbours
    among 15,000 MNIST digits read 0.77 of those that the package zoomed out by 4, and 0.91 of these.)

    Args:
        factor: how many times smaller.

    Raises:
        InputError: the factor is below 1.

    >>> ZoomOut(4)(np.full((1, 8, 8, 1), 255, "uint8"), first=0)[0, 2:6, 2:6, 0]
    array([[  0,   0,   0,   0],
           [  0, 255, 255,   0],
           [  0, 255, 255,   0],
           [  0,   0,   0,   0]], dtype=uint8)
    """

    factor: float = 4.0
    name = "zoomed_out"

    def __post_init__(self):
        if not 1 <= self.factor < math.inf:
            raise InputError(f"zoom-out: expected a factor of at least 1, received {self.factor}; give one such as 4")

    def __call__(self, images: np.ndarray, first: int) -> np.ndarray:
        """Each image in the same way."""
        height, width = images.shape[1:3]
        if min(height, width) < self.factor:
            raise InputError(
                f"zoom-out by {self.factor:g}: expected images of at least {math.ceil(self.factor)} pixels a side, "
                f"received {height}x{width}; load them larger"
            )
        down, across = self._means(height), self._means(width)
        return _to_uint8(np.einsum("ih,bhwc,jw->bijc", down, images.astype("float32"), across, optimize=True))

    def _means(self, side: int) -> np.ndarray:
        """(side, side): the share of each old pixel in each new one."""
        old = np.arange(side)
        start = (old[:, None] - side / 2) * self.factor + side / 2
        shared = np.minimum(start + self.factor, old + 1) - np.maximum(start, old)
        return np.maximum(shared, 0).astype("float32") / self.factor


def field(displacement: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The dense field of `displacement`: the deformed image at (y, x) is the image at (y, x) + field[y, x].

    Args:
        displacement: (2, rows, columns) control points, down and right, in pixels.
        size: (H, W) of the image.

    Returns:
        (H, W, 2), down and right, in pixels: what `elasticdeform.deform_grid` applies, to float64 rounding.

    >>> field(np.ones((2, 3, 3)), (28, 28))[5, 9].round(6)
    array([1., 1.])
    """
    from scipy.ndimage import map_coordinates

    places = [np.linspace(0, points - 1, side) for points, side in zip(displacement.shape[1:], size, strict=True)]
    grid = np.meshgrid(*places, indexing="ij")
    return np.stack([map_coordinates(part, grid, order=3, mode="mirror") for part in displacement], axis=-1)


def grow(
    split: Split, deformations: Sequence[chunks.Maker], folder: Path | None = None, processes: int | None = None
) -> Split:
    """The images of `split`, then those of each deformation of it, in the same order: three times as many with two.

    Args and errors are those of `deformed`.

    >>> data = sources.load("digits", size=(28, 28))
    >>> len(data.train), len(grow(data.train, [Elastic(), ZoomOut()]))
    (1437, 4311)
    """
    parts = [split, *(deformed(split, deformation, folder, processes) for deformation in deformations)]
    return Split(
        np.concatenate([part.images[:] for part in parts]),
        np.concatenate([part.labels for part in parts]),
        split.class_names,
        np.concatenate([part.ids for part in parts]),
    )


def deformed(
    split: Split, deformation: chunks.Maker, folder: Path | None = None, processes: int | None = None
) -> Split:
    """`split` with every image deformed, made on the first call and read from the disk ever after.

    As with all processes, a script needs `if __name__ == "__main__":` around what calls this.

    Args:
        split: uint8 images (N, H, W, C).
        deformation: `Elastic()`, `ZoomOut()`, or anything like them whose `repr` tells it from every other one.
        folder: holds a folder for each fingerprint of images and deformation; default a cache of the user's.
        processes: how many make them; default one for each core that this process may use.

    Returns:
        The deformed images with the labels; their ids are `<id>-<name of the deformation>`.

    Raises:
        InputError: no images, too small ones, or no room on the disk. What is whole is kept: the next call goes on.

    >>> elastic = deformed(sources.load("digits").train, Elastic(seed=1))
    >>> elastic.ids[:2].tolist(), elastic.images.shape
    (['0-elastic', '1-elastic'], (1437, 8, 8, 3))
    """
    if not len(split):
        raise InputError(f"{deformation.name} images: expected images to deform, received none; give some")
    key = hashlib.sha256(repr((split.fingerprint(), deformation)).encode()).hexdigest()[:32]
    images = chunks.stored(split.images, deformation, Path(folder or _cache()) / key, processes)
    return replace(split, images=images, ids=np.char.add(split.ids.astype(str), f"-{deformation.name}"))


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tl_keras" / "deformed"


def _to_uint8(images: np.ndarray) -> np.ndarray:
    return np.rint(images.clip(0, 255)).astype("uint8")
