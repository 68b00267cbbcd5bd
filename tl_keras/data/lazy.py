"""Images that are cut, scaled or made grey when they are read: thousands that never lie in memory together.

All kinds stand in for an array wherever a `Split` does: `images[rows]` makes those rows and keeps nothing, while
`Split.take` and all that cuts by it cut what the images are made from. They may be stacked.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from PIL import Image

from tl_keras.data.decode import in_threads, resize
from tl_keras.errors import InputError


class Rows(Protocol):
    """What `rows[indices]` answers with an array: one in memory, images made when they are read, stored activations."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Any, /) -> Any: ...


class LazyImages:
    """Images (N, height, width, channels), each made from one of `source` when it is asked for.

    Args:
        source: uint8 images, an array or lazy themselves.
        size: (height, width) of what is made.
        channels: of what is made; 3 by default.
    """

    def __init__(self, source: np.ndarray | LazyImages, size: tuple[int, int], channels: int = 3):
        self.source: Any = source
        self.size = (size[0], size[1])
        self.shape, self.dtype = (len(source), *self.size, channels), np.dtype("uint8")

    def __repr__(self) -> str:
        """What is made of each image, but not which they are: a part of the fingerprint of a split."""
        return f"{type(self).__name__}(size={self.size})"

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, rows) -> np.ndarray:
        """The images at an index, indices, slice or mask, as a numpy array."""
        images = self.source[rows]
        return self.made(images) if np.ndim(images) == np.ndim(self.source[:0]) else self.made(images[None])[0]

    @functools.cached_property
    def fingerprint(self) -> str:
        """As the function of this name, found once."""
        return _fingerprint(self)

    @property
    def contents(self) -> np.ndarray:
        """As the function of this name."""
        return contents(self.source)

    def joined(self, others: Sequence[np.ndarray | LazyImages]) -> LazyImages | None:
        """These images and those of others as one that is still lazy; None where they have to be made for that."""
        return None

    def take(self, rows) -> LazyImages:
        """The images at indices, slice or mask, still to be made."""
        return type(self)(taken(self.source, rows), self.size)

    def made(self, images: np.ndarray) -> np.ndarray:
        """(B, height, width, 3) from a batch of the source."""
        raise NotImplementedError


class CenterCrop(LazyImages):
    """The centre of each image. `load(name, size=(256, 256))` and a crop of 224 is how ImageNet networks are tested.

    Raises:
        InputError: the images are smaller than `size`.

    >>> CenterCrop(np.zeros((5, 256, 256, 3), "uint8"), (224, 224))[[0, 3]].shape
    (2, 224, 224, 3)
    """

    def __init__(self, source, size: tuple[int, int]):
        super().__init__(source, size, source.shape[3])
        (height, width), (rows, columns) = source.shape[1:3], self.size
        if rows > height or columns > width:
            raise InputError(
                f"centre crop: expected images of at least {rows}x{columns}, received {height}x{width}; "
                "load them larger"
            )
        top, left = (height - rows) // 2, (width - columns) // 2
        self._window = (slice(None), slice(top, top + rows), slice(left, left + columns))

    def made(self, images: np.ndarray) -> np.ndarray:
        return images[self._window]


class Resized(LazyImages):
    """Each image scaled by `decode.resize`: to cover `size`, the centre cut out. Grey images become RGB.

    One core made 3,700 images/s of 28x28 and 1,800 of 256x256 into 224x224; threads of its own gained nothing.

    Args:
        source: uint8 (N, H, W, 3), (N, H, W, 1) or (N, H, W).
        size: (height, width).

    >>> Resized(np.zeros((60_000, 28, 28), "uint8"), (224, 224))[:2].shape
    (2, 224, 224, 3)
    """

    def made(self, images: np.ndarray) -> np.ndarray:
        if images.shape[3:] == (1,):
            images = images[..., 0]
        made = np.empty((len(images), *self.size, 3), np.uint8)
        for row, image in zip(made, images, strict=True):
            row[...] = np.asarray(resize(Image.fromarray(image), self.size).convert("RGB"))
        return made


class Grey(LazyImages):
    """Each image with one channel, its luminance by ITU-R BT.601, as Pillow's mode L has it.

    >>> Grey(np.full((2, 4, 4, 3), 200, "uint8"))[:].shape
    (2, 4, 4, 1)
    """

    def __init__(self, source, size: tuple[int, int] | None = None):
        super().__init__(source, size or (source.shape[1], source.shape[2]), channels=1)

    def made(self, images: np.ndarray) -> np.ndarray:
        # Pillow's own fixed-point weights, so that a file read by Pillow gives the same pixels.
        weighted = images.astype("uint32") @ np.array([19595, 38470, 7471], "uint32")
        return ((weighted + 0x8000) >> 16).astype("uint8")[..., None]


class Mirrored(LazyImages):
    """Each image mirrored left-right.

    >>> Mirrored(np.arange(4, dtype="uint8").reshape(1, 1, 4, 1))[0].ravel().tolist()
    [3, 2, 1, 0]
    """

    def __init__(self, source, size: tuple[int, int] | None = None):
        super().__init__(source, size or (source.shape[1], source.shape[2]), source.shape[3])

    def made(self, images: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(images[:, :, ::-1])


class Part(LazyImages):
    """Some images of a whole. What is computed for each image of the whole, such as features, serves all its parts.

    >>> Part(np.zeros((5, 8, 8, 3), "uint8"), [0, 3]).shape
    (2, 8, 8, 3)
    """

    def __init__(self, whole: np.ndarray | LazyImages, rows):
        super().__init__(taken(whole, rows), (whole.shape[1], whole.shape[2]), whole.shape[3])
        self.whole, self.rows = whole, np.arange(len(whole))[rows]

    def __repr__(self) -> str:
        return "Part()"  # made from these very pixels: nothing is done to them

    def take(self, rows) -> LazyImages:
        return Part(self.whole, self.rows[rows])

    def made(self, images: np.ndarray) -> np.ndarray:
        return images


def taken(images: np.ndarray | LazyImages, rows) -> np.ndarray | LazyImages:
    """The images at indices, slice or mask; lazy ones stay lazy."""
    return images.take(rows) if isinstance(images, LazyImages) else images[rows]


def contents(images: np.ndarray | LazyImages) -> np.ndarray:
    """A text for each image (N,): equal for images with the same pixels, and for them alone.

    Of lazy images it tells what they are made from.

    >>> len(set(contents(np.zeros((3, 4, 4, 3), "uint8"))))
    1
    """
    if isinstance(images, LazyImages):
        return images.contents

    def digests(rows: range) -> list[str]:
        return [hashlib.blake2b(np.ascontiguousarray(images[row]).data).hexdigest() for row in rows]

    return np.array([each for found in in_threads(digests, len(images)) for each in found], dtype="U128")


def fingerprint(images: np.ndarray | LazyImages) -> str:
    """SHA-256 of images; lazy ones are told by what they are made from and by what is made of it.

    >>> fingerprint(np.zeros((2, 4, 4, 3), "uint8"))[:8]
    '25c18f3e'
    """
    return images.fingerprint if isinstance(images, LazyImages) else _fingerprint(images)


def _fingerprint(images: np.ndarray | LazyImages) -> str:
    digest = hashlib.sha256(repr(np.shape(images)).encode())
    while isinstance(images, LazyImages):
        digest.update(repr(images).encode())
        images = images.source
    for start in range(0, len(images), 4096):
        digest.update(np.ascontiguousarray(images[start : start + 4096]).data)
    return digest.hexdigest()
