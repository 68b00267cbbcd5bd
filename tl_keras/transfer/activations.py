"""Activations of frozen layers on disk: computed once per image and view, found again, taken up when stopped."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tl_keras.data import pipeline
from tl_keras.data.augment import Augmentation
from tl_keras.data.lazy import LazyImages, Part, Rows, fingerprint
from tl_keras.data.splits import Split
from tl_keras.errors import InputError
from tl_keras.files import locked
from tl_keras.quiet import keras, tf
from tl_keras.transfer import engine, feature_store, row_files
from tl_keras.transfer.feature_store import Features


@dataclass(frozen=True)
class Storage:
    """Where and how activations of frozen layers are kept.

    Args:
        folder: holds `<fingerprint>.<output>.npy` for each output of a prefix, found again by a later run.
        dtype: float32, or float16 for half the disk and about three digits.
        limit_gb: the most that `folder` may come to hold, in 10^9 bytes.
        engine: who runs the layers: tensorflow, onnxruntime, or auto for the faster one (`transfer.engine`).
    """

    folder: Path
    dtype: str = "float32"
    limit_gb: float = 50.0
    engine: str = engine.TENSORFLOW


def store(
    prefix: keras.Model, split: Split, storage: Storage, *, augment: Augmentation | None = None, seed: int = 0, views=1
) -> Sequence[Stored | Features]:
    """Run the prefix once per image and view; keep its outputs on disk.

    An extraction that was stopped goes on where it stood, on the engine that began it.

    Args:
        storage: the fingerprint that names the files changes with the prefix and its weights, the images, the
            augmentation, the precision and the engine.
        views: augmented copies of each image; view v is the one that `pipeline.training_batches` would draw.

    Returns:
        One array (views * N, ...) on disk for each output of the prefix; of images whose features a store holds, these.

    Raises:
        InputError: the activations would pass the limit, or the free space of the disk.
    """
    extracted = feature_store.of(prefix, split.images) if augment is None else None
    if extracted:
        return [extracted]
    images, rows = _whole(split.images, augment)

    def place_of(network: keras.Model) -> _Place:
        key = _fingerprint(network, images, storage, augment, seed, views)
        return _Place(network, key, views * len(images), storage)

    place = place_of(prefix)
    # Another process may be at it: what it stores is then found here, and never written twice.
    with locked(Path(storage.folder) / f"{place.key}.lock"):
        name = place.whole
        if not name:
            begun = _begun(prefix, place, place_of)
            if begun:
                rest, stored = begun
                name = _extract(place, rest, stored, engine.kind(stored.engine), None, seed, 1)
            else:
                name = _extract(place, prefix, images, place.wanted, augment, seed, views)
        return place.stored(name, rows)


def find(prefix: keras.Model, split: Split, storage: Storage) -> Sequence[Stored | Features] | None:
    """What `store` would answer for images as they are, if it lies there already, in full precision.

    >>> find(prefix, data.test, Storage(Path("nowhere"))) is None  # doctest: +SKIP
    True
    """
    extracted = feature_store.of(prefix, split.images)
    if extracted:
        return [extracted]
    images, rows = _whole(split.images, None)
    place = _Place(prefix, _fingerprint(prefix, images, storage, None, 0, 1), len(images), storage)
    name = place.whole if storage.dtype == "float32" else None
    return place.stored(name, rows) if name else None


class _Place:
    """Where the outputs of a prefix for some images lie, whichever of the engines that may be used computes them."""

    def __init__(self, prefix: keras.Model, key: str, rows: int, storage: Storage):
        self.key, self.storage = key, storage
        self.shapes = [(rows, *output.shape[1:]) for output in prefix.outputs]

    def paths(self, name: str) -> list[Path]:
        """The file of each output, as an engine of that name computes it."""
        key = hashlib.sha256(f"{self.key}, {name}".encode()).hexdigest()[:32]
        return [Path(self.storage.folder) / f"{key}.{number}.npy" for number in range(len(self.shapes))]

    @property
    def whole(self) -> str | None:
        """The engine that computed all of them."""
        names = engine.names()
        are_whole = (row_files.are_whole(self.paths(name), self.shapes, self.storage.dtype) for name in names)
        return next((name for name, found in zip(names, are_whole, strict=True) if found), None)

    @property
    def wanted(self) -> str:
        """The engine that computed some of them, or the one asked for."""
        names = engine.names()
        begun = (name for name in names if row_files.are_begun(self.paths(name)))
        return engine.kind(next(begun, self.storage.engine))

    def stored(self, name: str, rows: np.ndarray | None = None) -> list[Stored]:
        """The outputs, as the engine of that name has computed all of them."""
        return [Stored(path, rows, name) for path in self.paths(name)]


def _whole(images, augment: Augmentation | None) -> tuple[np.ndarray | LazyImages, np.ndarray | None]:
    """What is stored for images: of a part of a whole the whole, once for all its parts, and which rows are meant."""
    # Augmented views are drawn by the row of an image, which in a part is another one than in the whole.
    return (images.whole, images.rows) if isinstance(images, Part) and augment is None else (images, None)


def _begun(prefix: keras.Model, place: _Place, place_of) -> tuple[keras.Model, Stored] | None:
    """What is left of `prefix` behind the longest beginning of it that is stored already, and that beginning's output.

    So the network that trains one layer starts from what was stored for the one that trains two.
    """
    storage, rows = place.storage, place.shapes[0][0]
    sizes = {row_files.size(path) for path in Path(storage.folder).glob("*.0.npy")}
    if not sizes:
        return None
    tensors = []

    def call(operation, *args, **kwargs):
        tensors.append(operation(*args, **kwargs))
        return tensors[-1]

    graph = keras.models.clone_model(prefix, clone_function=lambda layer: layer, call_function=call)
    for tensor in reversed(tensors[:-1]):
        if not isinstance(tensor, keras.KerasTensor):
            continue
        shape = (rows, *tensor.shape[1:])
        # Hashing the weights of each beginning would take long: first see whether anything of that size is there.
        if row_files.file_size(shape, storage.dtype) not in sizes:
            continue
        beginning = place_of(keras.Model(graph.inputs, tensor))
        name = beginning.whole
        if name:
            try:
                return keras.Model(tensor, graph.outputs), beginning.stored(name)[0]
            except ValueError:  # a branch passes this tensor by
                continue
    return None


def _check_room(storage: Storage, extraction: row_files.RowFiles) -> None:
    """Refuse before anything is computed what would not fit in the end."""
    folder = Path(storage.folder)
    folder.mkdir(parents=True, exist_ok=True)
    begun = sum(row_files.size(part) for part in extraction.parts)
    needed = sum(row_files.file_size(shape, storage.dtype) for shape in extraction.shapes) - begun
    held = sum(row_files.size(file) for file in folder.iterdir())
    free = shutil.disk_usage(folder).free
    for room, what in ((storage.limit_gb * 1e9 - held, "the limit leaves"), (free, "the disk has")):
        if needed > room:
            raise InputError(
                f"stored activations: expected at most {room / 1e9:.2f} GB, which {what}, received {needed / 1e9:.2f} "
                "GB to store; take fewer views or images, or float16, or raise the limit"
            )


class Stored:
    """An array in a .npy file, or some rows of it; `stored[indices]` reads those and keeps nothing in memory.

    Args:
        path: the file.
        rows: which of its rows are meant; all by default.
        engine: the name of the engine that computed them.
    """

    def __init__(self, path: Path, rows: np.ndarray | None = None, engine: str = ""):
        self.path, self.rows, self.engine = Path(path), rows, engine
        array = np.load(self.path, mmap_mode="r")
        self.shape = array.shape if rows is None else (len(rows), *array.shape[1:])
        self.dtype = array.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices) -> np.ndarray:
        # Mapped for one read only: pages of a lasting map pile up in the process until all of the file is there.
        indices = indices if self.rows is None else self.rows[indices]
        return np.asarray(np.load(self.path, mmap_mode="r")[indices])


class _Varied:
    """Images as a network sees them in the first augmented view: what it is tried on."""

    def __init__(self, images: Rows, augment: Augmentation, seed: int):
        self.images, self.augment, self.numbers = images, augment, augment.draw(len(images), seed, 0)
        first = self[np.arange(1)]
        self.shape, self.dtype = (len(images), *first.shape[1:]), first.dtype

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.augment(tf.constant(self.images[rows]), tf.gather(self.numbers, rows)).numpy()


def _extract(place: _Place, prefix: keras.Model, images, wanted: str, augment, seed: int, views: int) -> str:
    """Run the prefix and store what it gives; the name of the engine that did."""
    count, batch_size = len(images), pipeline.evaluation_batch_size(images)
    seen = _Varied(images, augment, seed) if augment else images
    running = engine.choose(prefix, [seen], wanted, views * count)
    extraction = row_files.RowFiles(place.paths(running.name), place.shapes, place.storage.dtype)
    _check_room(place.storage, extraction)
    # Whole batches, so that those to come are the ones an uninterrupted extraction would see.
    done = 0 if extraction.rows % count % batch_size else extraction.rows
    first, row = divmod(done, count)
    with (
        extraction.writing(done),
        tqdm(total=views * count, desc="frozen layers", unit="image", disable=None, leave=False) as progress,
    ):
        progress.update(done)
        for view in range(first, views):
            for batch in pipeline.view_batches(images, augment, seed, view, batch_size, start=row):
                extraction.append(running.run([batch]))
                progress.update(len(batch))
            row = 0
    return running.name


def _fingerprint(prefix: keras.Model, images, storage: Storage, augment, seed: int, views: int) -> str:
    what = engine.fingerprint(prefix), fingerprint(images), storage.dtype, storage.engine, augment, seed, views
    return hashlib.sha256(repr(what).encode()).hexdigest()[:32]
