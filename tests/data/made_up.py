"""Made-up data sets on the disk, and the check that a mistake is one clear line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tl_keras.data.sources import load
from tl_keras.errors import InputError


def paint(path: Path, value: int, size=(6, 6)) -> Path:
    """A PNG of one grey value, by which tests recognise it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value,) * 3).save(path, "PNG")
    return path


def class_folders(root: Path, classes=("dog", "cat"), count=10, start=0) -> Path:
    for number, name in enumerate(classes):
        for index in range(count):
            paint(root / name / f"{index:02}.png", start + 20 * number + index)
    return root


def arrays(shape=(8, 8, 3), **others) -> dict:
    """What an .npz of three classes holds."""
    rng = np.random.default_rng(0)
    made = {}
    for part, count in (("train", 12), ("test", 6)):
        made[f"x_{part}"] = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        made[f"y_{part}"] = np.arange(count) % 3
    return {**made, **others}


def values(split):
    return split.images[:, 0, 0, 0].tolist()


def fails(match, *arguments, **options):
    with pytest.raises(InputError, match=match) as caught:
        load(*map(str, arguments), **options)
    assert "\n" not in str(caught.value) and "received" in str(caught.value)
