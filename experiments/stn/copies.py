"""A data set three times as large: every image as it is, elastically deformed, and zoomed out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tl_keras.data import deform
from tl_keras.data.chunks import Maker
from tl_keras.data.image_data import ImageData
from tl_keras.data.selection import Selection
from tl_keras.data.splits import Split

THIRDS = ("original", "elastic", "zoomed_out")
ZOOM = 4


@dataclass(frozen=True)
class Copies(Selection):
    """Every image three times, first all as they are, then all elastic ones, then all that are zoomed out.

    The accuracy on each kind of test images is followed through the training. `limit` counts images before they are
    deformed.

    Args:
        learned: the kinds of copies among the training images, beside the images as they are.
    """

    learned: tuple[str, ...] = THIRDS[1:]

    def cut(self, images: ImageData) -> ImageData:
        images = super().cut(images)
        train, test = self.grown(images.train, "train", self.learned), self.grown(images.test, "test", THIRDS[1:])
        watched = {name: test.take(rows) for name, rows in thirds(len(test)).items()}
        return replace(images, train=train, test=test, validation=None, unlabelled=None, watched=watched)

    def elastic(self, part: str) -> deform.Elastic:
        """What bends the images of `train` or `test`: no field of one comes in the other."""
        return deform.Elastic(2 * self.seed + (part == "test"))

    def grown(self, split: Split, part: str, kinds: Sequence[str]) -> Split:
        """`split` with its copies of these kinds."""
        # The network reads the mean of the channels: one of them is deformed and stored, and stands for three.
        grey = split.images[:].sum(axis=-1, keepdims=True, dtype="uint16") // split.images.shape[-1]
        makers: dict[str, Maker] = {"elastic": self.elastic(part), "zoomed_out": deform.ZoomOut(ZOOM)}
        grown = deform.grow(replace(split, images=grey.astype("uint8")), tuple(makers[kind] for kind in kinds))
        return replace(grown, images=np.broadcast_to(grown.images[:], (len(grown), *split.images.shape[1:])))


def thirds(count: int) -> dict[str, slice]:
    """Where the images as they were, the elastic and the zoomed-out ones stand among `count`.

    >>> thirds(30)["elastic"]
    slice(10, 20, None)
    """
    third = count // 3
    return {name: slice(number * third, (number + 1) * third) for number, name in enumerate(THIRDS)}
