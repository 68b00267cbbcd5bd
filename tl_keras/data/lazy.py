"""Images that are cut or scaled when they are read: thousands at network size that never lie in memory together.

Both kinds stand in for an array wherever a `Split` does: `images[rows]` makes those rows and keeps nothing, while
`Split.take` and all that cuts by it cut what the images are made from. They may be stacked.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from tl_keras.data.decode import resize
from tl_keras.errors import InputError


class LazyImages:
    """Images (N, height, width, 3), each made from one of `source` when it is asked for.

    Args:
        source: uint8 images, an array or lazy themselves.
        size: (height, width) of what is made.
    """

    def __init__(self, source: np.ndarray | LazyImages, size: tuple[int, int]):
        self.source, self.size = source, tuple(size)
        self.shape, self.dtype = (len(source), *self.size, 3), np.dtype("uint8")

    def __repr__(self) -> str:
        """What is made of each image, but not which they are: a part of the fingerprint of a split."""
        return f"{type(self).__name__}(size={self.size})"

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, rows) -> np.ndarray:
        """The images at an index, indices, slice or mask, as a numpy array."""
        images = self.source[rows]
        return self.made(images) if np.ndim(images) == np.ndim(self.source[:0]) else self.made(images[None])[0]

    def take(self, rows) -> LazyImages:
        """The images at indices, slice or mask, still to be made."""
        source = self.source.take(rows) if isinstance(self.source, LazyImages) else self.source[rows]
        return type(self)(source, self.size)

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
        super().__init__(source, size)
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
            row[...] = resize(Image.fromarray(image), self.size).convert("RGB")
        return made
