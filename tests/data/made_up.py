"""Made-up data sets on the disk, and the check that a mistake is one clear line."""

from pathlib import Path

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


def values(split):
    return split.images[:, 0, 0, 0].tolist()


def fails(match, *arguments, **options):
    with pytest.raises(InputError, match=match) as caught:
        load(*map(str, arguments), **options)
    assert "\n" not in str(caught.value) and "received" in str(caught.value)
