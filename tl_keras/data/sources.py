"""Where images come from: a name or a path in, labelled train and test images out.

Array sets (.npz, scikit-learn's digits) keep their pixels; image files are decoded once, into memory. What was
given without a test set is cut 80/20, stratified, with a fixed seed, so that every run has the same one.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tl_keras.data import downloads
from tl_keras.data.archives import unpack
from tl_keras.data.decode import decode_files
from tl_keras.data.image_data import ImageData, Quarantined
from tl_keras.data.layouts import Layout, read_folder, read_manifest
from tl_keras.data.lazy import LazyImages, Resized
from tl_keras.data.splits import Split, digests, stratified
from tl_keras.errors import InputError

DIGITS = tuple("0123456789")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
KERAS_SETS = {"cifar10": CIFAR10, "mnist": DIGITS}
UNMIRRORED = ("digits", "mnist")  # a mirrored digit is no digit
LOCAL_SETS = ("hymenoptera", "tiny-imagenet-5")  # a course hands them out; they lie in the data directory or nowhere
TEST_FRACTION, SPLIT_SEED = 0.2, 0
HIDDEN = -1  # the label of an image whose class is not told
EAGER_BYTES = 2**30  # arrays that are larger when they are resized are resized when they are read


def load(name: str | Path, data_dir: str | Path | None = None, size: tuple[int, int] | None = None) -> ImageData:
    """The data set called `name`, or lying at that path.

    A named set is looked for in `data_dir`, in `$TL_KERAS_DATA` and in the Keras cache (`NAME.npz`, `NAME.zip`,
    `NAME/`), and then downloaded.

    Args:
        name: `cifar10`, `mnist`, `digits`, `tfds:NAME`, a set in the data directory, or a path: a folder or .zip of
            class folders (in `train/` and `test/`, `validation/` or `val/`, or all together), a .csv or .tsv of
            path,label[,split], an .npz of x_train, y_train, x_test, y_test[, class_names].
        data_dir: the data directory.
        size: (height, width) every image is resized to; None keeps the size of sets whose images share one.

    Returns:
        Images uint8 RGB (N, height, width, 3), whatever they were.

    Raises:
        InputError: no such set, or nothing to learn from in it.

    >>> load("digits", size=(32, 32)).train.images.shape
    (1437, 32, 32, 3)
    """
    name = os.fspath(name)
    if name == "digits":
        return replace(_digits(size), source=name)
    places = _places(data_dir)
    found = _find(name, places)
    images = _from_path(found, size) if found else _downloaded(name, places, size)
    return replace(images, mirror=images.name.removeprefix("tfds:") not in UNMIRRORED, source=name)


def location(name: str | Path, data_dir: str | Path | None = None) -> Path | None:
    """Where the set called `name` lies on the disk; None for one that is embedded or downloaded.

    >>> location("digits") is None
    True
    """
    return None if name == "digits" else _find(os.fspath(name), _places(data_dir))


def files(name: str | Path, data_dir: str | Path | None = None) -> Layout:
    """The image files of a data set that lies on the disk, undecoded: of a folder, a .zip or a table.

    Raises:
        InputError: no such set, or one that does not consist of image files.

    >>> files("tiny-imagenet-5").train[0]  # doctest: +SKIP
    ('train/n09193705/images/n09193705_0.JPEG', 'n09193705')
    """
    places = _places(data_dir)
    found = _find(os.fspath(name), places)
    layout = _layout(found) if found else None
    if not layout:
        raise InputError(
            f"data: expected a folder, .zip, .csv or .tsv of image files, or such a set in "
            f"{' or '.join(map(str, places))}, received {os.fspath(name)!r}; check the path"
        )
    return layout


def _places(data_dir) -> list[Path]:
    if data_dir and not os.path.isdir(os.path.expanduser(data_dir)):
        raise InputError(f"data directory: expected a folder, received {str(data_dir)!r}; create it or name another")
    cache = os.path.join(os.environ.get("KERAS_HOME") or "~/.keras", "datasets")
    given = (data_dir, os.environ.get("TL_KERAS_DATA"), cache)
    return [Path(os.path.expanduser(place)) for place in given if place]


def _find(name: str, places: list[Path]) -> Path | None:
    candidates = [place / (name + suffix) for place in places for suffix in (".npz", ".zip", "")]
    if name not in KERAS_SETS:
        candidates.insert(0, Path(os.path.expanduser(name)))
    return next((path for path in candidates if name.strip() and os.path.exists(path)), None)


def _from_path(path: Path, size) -> ImageData:
    layout = _layout(path)
    if layout:
        return _from_layout(path.resolve().name if path.is_dir() else path.stem, layout, size)
    if path.suffix == ".npz":
        return _from_npz(path, size)
    raise InputError(f"data: expected a folder, .zip, .npz, .csv or .tsv, received {str(path)!r}; convert it")


def _layout(path: Path) -> Layout | None:
    """The files of a set, or None where it is no set of files."""
    if path.is_dir():
        return read_folder(path)
    if path.suffix == ".zip":
        return read_folder(unpack(path))
    return read_manifest(path) if path.suffix in (".csv", ".tsv") else None


def _downloaded(name: str, places: list[Path], size) -> ImageData:
    if name in KERAS_SETS:
        return _from_arrays(name, downloads.keras_arrays(name, places), KERAS_SETS[name], size)
    if not name.startswith("tfds:"):
        raise (downloads.Unavailable if name in LOCAL_SETS else InputError)(
            f"data: expected {', '.join(KERAS_SETS)}, digits, tfds:NAME, a path, or a set in "
            f"{' or '.join(map(str, places))}, received {name!r}; check the spelling"
        )
    folder = places[0] / "tensorflow_datasets" if len(places) > 1 else None
    sources, ids, labels, class_names, train_count = downloads.tfds_images(name.removeprefix("tfds:"), folder)
    listed = list(zip(sources, ids, labels, strict=True))
    return _decoded(name, {"train": listed[:train_count], "test": listed[train_count:]}, class_names, size)


def _digits(size) -> ImageData:
    from sklearn.datasets import load_digits

    scans = load_digits()
    images = np.rint(scans.images * (255 / 16)).astype(np.uint8)
    train, test = stratified(Split(_rgb(images, size), scans.target, DIGITS), TEST_FRACTION, SPLIT_SEED)
    return ImageData("digits", train, test, mirror=False)


def _from_npz(path: Path, size) -> ImageData:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except Exception as error:  # foreign bytes: BadZipFile, zlib.error, ValueError, EOFError, MemoryError, ...
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: expected a whole .npz of plain arrays, received one that fails with {reason!r}; replace it"
        ) from error
    lacking = [key for key in ("x_train", "y_train", "x_test", "y_test") if key not in arrays]
    if lacking:
        raise InputError(
            f"{path}: expected arrays x_train, y_train, x_test, y_test, received {', '.join(arrays) or 'none'}; "
            f"add {', '.join(lacking)}"
        )
    class_names = KERAS_SETS.get(path.stem)
    if "class_names" in arrays:
        class_names = tuple(str(name) for name in arrays["class_names"].reshape(-1))
    return _from_arrays(path.stem, arrays, class_names, size)


def _from_arrays(name: str, arrays, class_names, size) -> ImageData:
    for part in ("train", "test"):
        _check_arrays(name, part, arrays[f"x_{part}"], arrays[f"y_{part}"])
    if class_names is None:
        numbers = np.unique(arrays["y_train"])
        if len(numbers) != numbers[-1] + 1:
            raise InputError(
                f"{name}: expected labels 0, 1, 2, ... without gaps, received {len(numbers)} classes up to "
                f"{numbers[-1]}; number them anew or add class_names"
            )
        class_names = tuple(str(number) for number in numbers)
    train, test = (
        Split(_rgb(arrays[f"x_{part}"], size), arrays[f"y_{part}"], class_names) for part in ("train", "test")
    )
    return ImageData(name, train, test)


def _check_arrays(name: str, part: str, images: np.ndarray, labels: np.ndarray) -> None:
    shape = images.shape
    grey, colour = images.ndim == 3, images.ndim == 4 and shape[-1] in (1, 3)
    if images.dtype != np.uint8 or not (grey or colour) or not images.size:
        raise InputError(
            f"{name}: expected x_{part} uint8 (N, H, W) or (N, H, W, 1 or 3), received {images.dtype} {shape}; "
            "store values from 0 to 255, channels last"
        )
    if labels.dtype.kind not in "iu" or labels.shape not in ((len(images),), (len(images), 1)):
        raise InputError(
            f"{name}: expected y_{part} integers ({len(images)},), received {labels.dtype} {labels.shape}; "
            "store one class number per image"
        )


def _rgb(images: np.ndarray, size) -> np.ndarray | LazyImages:
    images = images if images.ndim == 4 else images[..., None]
    images = np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
    if size is None or images.shape[1:3] == tuple(size):
        return images
    resized = Resized(images, size)
    return resized[:] if math.prod(resized.shape) <= EAGER_BYTES else resized


def _from_layout(name: str, layout: Layout, size) -> ImageData:
    parts = {
        "train": layout.train,
        "test": layout.test,
        "validation": layout.validation,
        "unlabelled": [(file, "") for file in layout.unlabelled],
    }
    class_names = sorted({_printable(label) for _, label in layout.train})
    numbers = {label: number for number, label in enumerate(class_names)} | {"": HIDDEN}
    listed = {part: [(layout.root / file, _printable(file), numbers[_printable(label)]) for file, label in items]
              for part, items in parts.items()}  # fmt: skip
    return _decoded(name, listed, tuple(class_names), size)


def _printable(name: str) -> str:
    """A file name that is no UTF-8 with its foreign bytes escaped, so that tables and reports can hold it."""
    return name.encode("utf-8", "backslashreplace").decode()


def _decoded(name: str, parts: Mapping[str, Sequence[tuple]], class_names: tuple[str, ...], size) -> ImageData:
    """Decode all in one go.

    Args:
        parts: (file or encoded bytes, id, label) of the images to learn from, to measure on, to choose by, and of
            those whose label is hidden.
    """
    sources, ids, labels = ([item[place] for items in parts.values() for item in items] for place in range(3))
    images, kept, rejected = decode_files(sources, size)
    quarantine = [Quarantined(str(ids[index]), reason) for index, reason in rejected]
    numbers, names = np.array(labels)[kept], np.array(ids)[kept]
    ends = np.searchsorted(kept, np.cumsum([len(items) for items in parts.values()]))
    rows = dict(zip(parts, (slice(*bounds) for bounds in pairwise([0, *ends])), strict=True))
    cut = {part: Split(images[of], numbers[of], class_names, names[of]) for part, of in rows.items()}
    train = cut["train"]
    for part in ("test", "validation"):
        if parts.get(part):
            train, tested = _without_images_of(name, train, cut[part], part)
            quarantine += tested
    test = cut["test"]
    if not parts["test"]:
        train, test = stratified(train, TEST_FRACTION, SPLIT_SEED)
    more: dict[str, Any] = {part: cut[part] for part in ("validation", "unlabelled") if len(cut.get(part, ()))}
    return ImageData(name, train, test, tuple(quarantine), **more)


def _without_images_of(name: str, train: Split, held_out: Split, part: str) -> tuple[Split, list[Quarantined]]:
    """Take images with the pixels of a held-out one out of `train`: nothing is measured on an image that was learned.

    Out of `train`, so that figures stay comparable with those that others measured on the same test images.
    """
    repeated = np.isin(digests(train), digests(held_out))
    if not repeated.any():
        return train, []
    print(
        f"WARNING: {name}: {repeated.sum()} training images are also {part} images; they are left out of training and "
        "listed in the quarantine.",
        file=sys.stderr,
    )
    return train.take(~repeated), [Quarantined(str(id), f"also in the {part} images") for id in train.ids[repeated]]
