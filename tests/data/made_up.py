"""Made-up data sets on the disk, and the check that a mistake is one clear line."""

import functools
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


@functools.cache  # TensorFlow Datasets takes a name once in a process
def greys():
    """The builder of a TFDS set of greys, heights differ: 0 to 5 to train, 50 to 53 to validate, b even, a odd."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class Greys(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": tfds.features.Image(shape=(None, 6, 1)), "label": tfds.features.ClassLabel(names="ba")}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, _):
            return {"train": self._generate_examples(0, 6), "validation": self._generate_examples(50, 54)}

        def _generate_examples(self, first, last):
            for value in range(first, last):
                image = np.full((6 + value % 3, 6, 1), value, np.uint8)
                yield value, {"image": image, "label": value % 2}

    return Greys


def values(split):
    return split.images[:, 0, 0, 0].tolist()


def fails(match, *arguments, **options):
    with pytest.raises(InputError, match=match) as caught:
        load(*map(str, arguments), **options)
    assert "\n" not in str(caught.value) and "received" in str(caught.value)
