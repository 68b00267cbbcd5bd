"""Leakage: nothing is measured on an image that was learned or chosen by, and no image is learned as two classes."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np

from tl_keras.data.image_data import Quarantined
from tl_keras.data.splits import Split

PARTS = ("train", "validation", "test")


def cleaned(name: str, splits: Mapping[str, Split]) -> tuple[dict[str, Split], list[Quarantined]]:
    """The splits without images that stand in another one or, in training, under two labels; and what was left out.

    Images are told by their pixels. One that is held out too is left out of `train`, and one to measure on out of
    `validation`, so that figures stay comparable with those that others measured on the same test images. Of an image
    under two labels nobody knows which is right: all copies go. A loud line tells of each.

    Args:
        name: of the set.
        splits: by name; those of `PARTS` are looked at.

    >>> images = np.arange(4, dtype="uint8").reshape(4, 1, 1, 1)
    >>> splits = {"train": Split(images, [0, 1, 0, 1], ("a", "b")), "test": Split(images[:1], [0], ("a", "b"))}
    >>> kept, left_out = cleaned("made up", splits)
    >>> kept["train"].ids.tolist(), left_out
    (['1', '2', '3'], [Quarantined(id='0', reason='also in the test images')])
    """
    kept, left_out = dict(splits), list[Quarantined]()
    contents = {part: kept[part].contents for part in PARTS if part in kept}

    def leave_out(part: str, rows: np.ndarray, reason: str) -> None:
        if not rows.any():  # nothing is copied
            return
        print(
            f"WARNING: {name}: {rows.sum()} images of the {part} split are {reason}; they are left out and listed in "
            "the quarantine.",
            file=sys.stderr,
        )
        left_out.extend(Quarantined(str(id), reason) for id in kept[part].ids[rows])
        kept[part], contents[part] = kept[part].take(~rows), contents[part][~rows]

    for part, held_out in (("train", "test"), ("train", "validation"), ("validation", "test")):
        if part in kept and held_out in kept:
            leave_out(part, np.isin(contents[part], contents[held_out]), f"also in the {held_out} images")
    leave_out("train", _under_two_labels(contents["train"], kept["train"].labels), "also there under another label")
    return kept, left_out


def _under_two_labels(contents: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether a copy of each image has another label."""
    _, first, content = np.unique(contents, return_index=True, return_inverse=True)
    return np.isin(content, content[labels != labels[first][content]])
