"""What all tests share: made-up images that a network can learn, and one seed."""

import os
import signal
import sys

# A shell leaves Ctrl-C ignored in what it starts in the background, and so would each process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

from tests.isolation import isolate
from tl_keras.data.splits import Split


def made_up_split(count: int, classes: int = 2, side: int = 16, seed: int = 0) -> Split:
    """Noisy images whose brightness tells the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = rng.integers(0, 60, (count, side, side, 3)) + (labels * 180 // max(classes - 1, 1))[:, None, None, None]
    return Split(images.astype("uint8"), labels, tuple(f"class {number}" for number in range(classes)))


@pytest.fixture
def split():
    return made_up_split(60)


@pytest.fixture(autouse=True)
def seeded():
    keras = sys.modules.get("keras")  # rooms that do without it need not wait for its import
    if keras:
        keras.utils.set_random_seed(0)
        keras.config.set_dtype_policy("float32")


@pytest.fixture
def isolated_place(tmp_path, monkeypatch):
    """A working directory of one's own where no data set, no Keras cache and no network are to be had."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    isolate(monkeypatch, tmp_path / "nothing")
    return place
