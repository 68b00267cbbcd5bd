"""Features that were extracted in shards, read back: a few rows at a time, in the place of running the network."""

from __future__ import annotations

import functools
import io
import json

import numpy as np

from tl_keras.data import selection, sources
from tl_keras.data.lazy import LazyImages, Part
from tl_keras.data.listed import ListedImages
from tl_keras.data.splits import Split
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.folders import Folder
from tl_keras.quiet import keras
from tl_keras.transfer import engine, shards
from tl_keras.transfer.shards import Plan

AGAIN = "run the same extract command again"
LACKING = "none of some that quarantine.csv does not name"


class Features:
    """Features (N, F) of some images of a store; `features[indices]` reads those and keeps nothing in memory.

    Args:
        folder: of the store, and `plan` its plan.
        rows: of its manifest, one for each image; all of them have features.
    """

    def __init__(self, folder: Folder, plan: Plan, rows: np.ndarray):
        self.folder, self.plan, self.rows, self.engine = folder, plan, rows, plan.versions[-1]
        self.shape, self.dtype = (len(rows), plan.width), np.dtype("float32")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices) -> np.ndarray:
        asked = self.rows[indices]
        found = np.empty((*np.shape(asked), self.plan.width), "float32")
        numbers, within = np.divmod(asked, self.plan.shard_size)
        for number in np.unique(numbers):
            here = numbers == number
            features, places = _shard(self.folder, self.plan, int(number))
            rows = places[within[here]]
            if (rows < 0).any():
                raise InputError(f"{self.folder.url}: expected features of all images, received {LACKING}; {AGAIN}")
            found[here] = features[rows]
        return found


def of(prefix: keras.Model, images: object) -> Features | None:
    """What a store holds of `images`, if these are of one, and `prefix` is the network of it, which sees them alike.

    >>> of(prefix, np.zeros((1, 224, 224, 3), "uint8")) is None  # doctest: +SKIP
    True
    """
    steps, root = _steps(images)
    if not isinstance(root, ListedImages):
        return None
    plan = _plan(root.folder)
    if steps != _steps(_seen(root, plan))[0] or engine.fingerprint(prefix) != plan.layers:
        return None
    return Features(root.folder, plan, root.rows)


def view_of(data: str, data_dir: str | None = None) -> View | None:
    """How the network saw the images of a store of features; None where `data` is no store.

    >>> view_of("digits") is None
    True
    """
    folder = sources.store(data, data_dir)
    plan = shards.plan_of(folder) if folder else None
    return plan.view if plan else None


def plan_behind(images: object) -> tuple[Folder, Plan] | None:
    """The store that images come from, and its plan; None for other images.

    >>> plan_behind(np.zeros((1, 224, 224, 3), "uint8")) is None
    True
    """
    root = _steps(images)[1]
    return (root.folder, _plan(root.folder)) if isinstance(root, ListedImages) else None


def _plan(folder: Folder) -> Plan:
    plan = shards.plan_of(folder)
    if plan is None:
        raise InputError(f"{folder.url}: expected a store of features, received one without {shards.PLAN}; {AGAIN}")
    return plan


def _steps(images: object) -> tuple[list[str], object]:
    """What is made of images on their way, and what they come from; parts are these very images."""
    steps = []
    while isinstance(images, LazyImages):
        if not isinstance(images, Part):
            steps.append(repr(images))
        if isinstance(images, ListedImages):
            break
        images = images.source
    return steps, images


def _seen(root: ListedImages, plan: Plan) -> LazyImages | np.ndarray:
    """The images as the network of a store saw them."""
    first = ListedImages(root.folder, plan.view.loaded, root.rows[:1])
    return selection.seen(Split(first, np.zeros(len(first)), ("",)), plan.view).images


@functools.lru_cache(maxsize=4)
def _shard(folder: Folder, plan: Plan, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The features of a shard, and for each of its images which of them are its own; -1 where it has none."""
    path, end = shards.names(number)
    try:
        left_out = [row for row, _ in json.loads(folder.read(end))["left_out"]]
        features = np.load(folder.local / path, mmap_mode="r") if folder.local else _loaded(folder.read(path))
        kept = np.ones(min(plan.shard_size, plan.images - number * plan.shard_size), bool)
        kept[left_out] = False
        if features.shape != (kept.sum(), plan.width):
            raise ValueError(f"shape {features.shape}")
    except (FileNotFoundError, ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"{folder.url}/{path}: expected the features of a shard, received {error}; {AGAIN}") from error
    return features, np.where(kept, np.cumsum(kept) - 1, -1)


def _loaded(content: bytes) -> np.ndarray:
    return np.load(io.BytesIO(content), allow_pickle=False)
