"""Activations of frozen layers on disk: computed once per image and view, found again, taken up when stopped."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tl_keras.data import pipeline
from tl_keras.data.augment import Augmentation
from tl_keras.data.lazy import LazyImages, Part
from tl_keras.data.splits import Split, fingerprint
from tl_keras.errors import InputError
from tl_keras.files import locked, write_json
from tl_keras.quiet import keras

SYNC_SECONDS = 5.0


@dataclass(frozen=True)
class Storage:
    """Where and how activations of frozen layers are kept.

    Args:
        folder: holds `<fingerprint>.<output>.npy` for each output of a prefix, found again by a later run.
        dtype: float32, or float16 for half the disk and about three digits.
        limit_gb: the most that `folder` may come to hold, in 10^9 bytes.
    """

    folder: Path
    dtype: str = "float32"
    limit_gb: float = 50.0


def store(
    prefix: keras.Model, split: Split, storage: Storage, *, augment: Augmentation | None = None, seed: int = 0, views=1
) -> list[Stored]:
    """Run the prefix once per image and view; keep its outputs on disk.

    An extraction that was stopped goes on where it stood.

    Args:
        storage: the fingerprint that names the files changes with the prefix and its weights, the images, the
            augmentation and the precision.
        views: augmented copies of each image; view v is the one that `pipeline.training_batches` would draw.

    Returns:
        One array (views * N, ...) on disk for each output of the prefix.

    Raises:
        InputError: the activations would pass the limit, or the free space of the disk.
    """
    images, rows = _whole(split.images, augment)
    how = storage.dtype, augment, seed, views
    key = _fingerprint(prefix, images, *how)
    paths = _paths(prefix, key, storage)
    # Another process may be at it: what it stores is then found here, and never written twice.
    with locked(Path(storage.folder) / f"{key}.lock"):
        if not all(path.exists() for path in paths):
            shapes = [(views * len(images), *output.shape[1:]) for output in prefix.outputs]
            extraction = _Extraction(paths, shapes, storage.dtype)
            _check_room(storage, extraction)
            begun = _begun(prefix, shapes[0][0], storage, lambda part: _fingerprint(part, images, *how))
            if begun:
                rest, stored = begun
                _extract(rest, stored, extraction, None, seed, 1)
            else:
                _extract(prefix, images, extraction, augment, seed, views)
    return [Stored(path, rows) for path in paths]


def find(prefix: keras.Model, split: Split, storage: Storage) -> list[Stored] | None:
    """What `store` would answer for images as they are, if it lies there already, in full precision.

    >>> find(prefix, data.test, Storage(Path("nowhere"))) is None  # doctest: +SKIP
    True
    """
    images, rows = _whole(split.images, None)
    paths = _paths(prefix, _fingerprint(prefix, images, storage.dtype, None, 0, 1), storage)
    there = storage.dtype == "float32" and all(path.exists() for path in paths)
    return [Stored(path, rows) for path in paths] if there else None


def _whole(images, augment: Augmentation | None) -> tuple[np.ndarray | LazyImages, np.ndarray | None]:
    """What is stored for images: of a part of a whole the whole, once for all its parts, and which rows are meant."""
    # Augmented views are drawn by the row of an image, which in a part is another one than in the whole.
    return (images.whole, images.rows) if isinstance(images, Part) and augment is None else (images, None)


def _paths(prefix: keras.Model, key: str, storage: Storage) -> list[Path]:
    return [Path(storage.folder) / f"{key}.{number}.npy" for number in range(len(prefix.outputs))]


def _begun(prefix: keras.Model, rows: int, storage: Storage, key_of) -> tuple[keras.Model, Stored] | None:
    """What is left of `prefix` behind the longest beginning of it that is stored already, and that beginning's output.

    So the network that trains one layer starts from what was stored for the one that trains two.
    """
    shapes = {Stored(path).shape for path in Path(storage.folder).glob("*.0.npy")}
    if not shapes:
        return None
    tensors = []

    def call(operation, *args, **kwargs):
        tensors.append(operation(*args, **kwargs))
        return tensors[-1]

    graph = keras.models.clone_model(prefix, clone_function=lambda layer: layer, call_function=call)
    for tensor in reversed(tensors[:-1]):
        # Hashing the weights of each beginning would take long: first see whether anything of that shape is there.
        if not isinstance(tensor, keras.KerasTensor) or (rows, *tensor.shape[1:]) not in shapes:
            continue
        path = Path(storage.folder) / f"{key_of(keras.Model(graph.inputs, tensor))}.0.npy"
        if path.exists():
            try:
                return keras.Model(tensor, graph.outputs), Stored(path)
            except ValueError:  # a branch passes this tensor by
                continue
    return None


def _check_room(storage: Storage, extraction: _Extraction) -> None:
    """Refuse before anything is computed what would not fit in the end."""
    folder = Path(storage.folder)
    folder.mkdir(parents=True, exist_ok=True)
    begun = sum(part.stat().st_size for part in extraction.parts if part.exists())
    needed = sum(math.prod(shape) for shape in extraction.shapes) * extraction.dtype.itemsize - begun
    held = sum(_size(file) for file in folder.iterdir())
    free = shutil.disk_usage(folder).free
    for room, what in ((storage.limit_gb * 1e9 - held, "the limit leaves"), (free, "the disk has")):
        if needed > room:
            raise InputError(
                f"stored activations: expected at most {room / 1e9:.2f} GB, which {what}, received {needed / 1e9:.2f} "
                "GB to store; take fewer views or images, or float16, or raise the limit"
            )


def _size(file: Path) -> int:
    """Its bytes; none where another process has taken it away meanwhile."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


class Stored:
    """An array in a .npy file, or some rows of it; `stored[indices]` reads those and keeps nothing in memory."""

    def __init__(self, path: Path, rows: np.ndarray | None = None):
        self.path, self.rows = Path(path), rows
        array = np.load(self.path, mmap_mode="r")
        self.shape = array.shape if rows is None else (len(rows), *array.shape[1:])
        self.dtype = array.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices) -> np.ndarray:
        # Mapped for one read only: pages of a lasting map pile up in the process until all of the file is there.
        indices = indices if self.rows is None else self.rows[indices]
        return np.asarray(np.load(self.path, mmap_mode="r")[indices])


def _extract(prefix: keras.Model, images, extraction: _Extraction, augment, seed: int, views: int) -> None:
    count, batch_size = len(images), pipeline.evaluation_batch_size(images)
    first, row = divmod(extraction.rows, count)
    # Whole batches, so that those to come are the ones an uninterrupted extraction would see.
    row = row // batch_size * batch_size
    with (
        extraction.writing(first * count + row),
        tqdm(total=views * count, desc="frozen layers", unit="image", disable=None, leave=False) as progress,
    ):
        progress.update(extraction.rows)
        for view in range(first, views):
            for batch in pipeline.view_batches(images, augment, seed, view, batch_size, start=row):
                extraction.append(keras.tree.flatten(prefix.predict_on_batch(batch)))
                progress.update(len(batch))
            row = 0


class _Extraction:
    """Rows on their way to .npy files; a stopped extraction keeps those that it wrote.

    How many rows are known to be on the disk is written beside them, after a sync, every few seconds.
    """

    def __init__(self, paths: list[Path], shapes: list[tuple[int, ...]], dtype: str):
        self.paths, self.shapes, self.dtype = paths, shapes, np.dtype(dtype).newbyteorder("<")
        self.parts = [path.with_suffix(".part") for path in paths]
        self.progress, self.rows = paths[0].with_suffix(".json"), 0
        if self.progress.exists() and all(part.exists() for part in self.parts):
            self.rows = json.loads(self.progress.read_text(encoding="utf-8"))["rows"]

    @contextmanager
    def writing(self, rows: int) -> Iterator[None]:
        """Go on behind the first `rows` rows; after the block the files are whole and get their names."""
        with ExitStack() as opened:
            self.files = [opened.enter_context(open(part, "r+b" if rows else "w+b")) for part in self.parts]
            for file, shape in zip(self.files, self.shapes, strict=True):
                header = {"descr": self.dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                file.seek(rows * math.prod(shape[1:]) * self.dtype.itemsize, os.SEEK_CUR)
                file.truncate()
            self.rows, self.synced = rows, time.monotonic()
            yield
            self._sync()
        for part, path in zip(self.parts, self.paths, strict=True):
            part.replace(path)
        self.progress.unlink()

    def append(self, outputs: list[np.ndarray]) -> None:
        """Write the next rows of each output."""
        for file, output in zip(self.files, outputs, strict=True):
            file.write(np.ascontiguousarray(output, self.dtype).data)
        self.rows += len(outputs[0])
        if time.monotonic() - self.synced > SYNC_SECONDS:
            self._sync()

    def _sync(self) -> None:
        for file in self.files:
            file.flush()
            os.fsync(file.fileno())
        write_json(self.progress, {"rows": self.rows})
        self.synced = time.monotonic()


def _fingerprint(prefix: keras.Model, images, dtype: str, augment, seed: int, views: int) -> str:
    # Without the layers' names, which Keras counts up: the same network built again finds what it stored.
    layers = [
        (type(layer).__name__, {**layer.get_config(), "name": None}, layer.output.shape) for layer in prefix.layers
    ]
    digest = hashlib.sha256(repr(layers).encode())
    for weight in prefix.weights:
        digest.update(np.ascontiguousarray(weight.numpy()).data)
    digest.update(repr((fingerprint(images), dtype, augment, seed, views)).encode())
    return digest.hexdigest()[:32]
