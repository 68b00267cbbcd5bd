"""Where images come from: a name or a path in, labelled train and test images out.

Array sets (`arrays`, scikit-learn's digits) keep their pixels; image files are decoded once, into memory. What was
given without a test set is cut 80/20, stratified, with a fixed seed, so that every run has the same one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tl_keras.data import downloads, leakage, stored_set
from tl_keras.data.archives import unpack
from tl_keras.data.arrays import DIGITS, KERAS_SETS, from_arrays, read_npz, resized, rgb
from tl_keras.data.decode import decode_files
from tl_keras.data.image_data import ImageData, Quarantined
from tl_keras.data.layouts import UNREAD, Layout, read_folder, read_manifest
from tl_keras.data.splits import HIDDEN, Split, stratified
from tl_keras.errors import InputError
from tl_keras.folders import Folder

UNMIRRORED = ("digits", "mnist")  # a mirrored digit is no digit
LOCAL_SETS = ("hymenoptera", "tiny-imagenet-5")  # a course hands them out; they lie in the data directory or nowhere
TEST_FRACTION, SPLIT_SEED = 0.2, 0


def load(name: str | Path, data_dir: str | Path | None = None, size: tuple[int, int] | None = None) -> ImageData:
    """The data set called `name`, or lying at that path.

    A named set is looked for in `data_dir`, in `$TL_KERAS_DATA` and in the Keras cache (`NAME.npz`, `NAME.zip`,
    `NAME/`), and then downloaded.

    Args:
        name: `cifar10`, `mnist`, `digits`, `tfds:NAME`, a set in the data directory, or a path: a folder or .zip of
            class folders (in `train/` and `test/`, `validation/` or `val/`, or all together), a .csv or .tsv of
            path,label[,split], an .npz of x_train, y_train, x_test, y_test[, class_names]; suffixes in any case. Or a
            store of features (`transfer.extraction`), a folder or a URL, whose images are read when they are asked for.
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
    stored = store(name, data_dir)
    if stored:
        return _stored(stored, size)
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
    stored = store(os.fspath(name), data_dir)
    if stored:
        return stored_set.files(stored)
    found = _find(os.fspath(name), places)
    layout = _layout(found) if found else None
    if not layout:
        raise InputError(
            f"data: expected a folder, .zip, .csv or .tsv of image files, or such a set in "
            f"{' or '.join(map(str, places))}, received {os.fspath(name)!r}; check the path"
        )
    return layout


def store(name: str, data_dir: str | Path | None = None) -> Folder | None:
    """The store of features that is meant by a path or a URL; None where something else is.

    >>> store("digits") is None
    True
    """
    place = name if "://" in name else location(name, data_dir)
    return Folder(place) if place and stored_set.is_one(str(place)) else None


def _stored(folder: Folder, size) -> ImageData:
    if size is None:
        raise InputError(
            f"data: expected images of one size, received a store of features, {folder.url}; name what it was made of"
        )
    return stored_set.load(folder, size, TEST_FRACTION, SPLIT_SEED)


def _places(data_dir) -> list[Path]:
    if data_dir is not None and not os.path.isdir(os.path.expanduser(data_dir)):
        raise InputError(f"data directory: expected a folder, received {str(data_dir)!r}; create it or name another")
    cache = os.path.join(os.environ.get("KERAS_HOME") or "~/.keras", "datasets")
    given = (data_dir, os.environ.get("TL_KERAS_DATA"), cache)
    return [Path(os.path.expanduser(place)) for place in given if place]


def _find(name: str, places: list[Path]) -> Path | None:
    if not name.strip():  # else a variable that is not set would mean the current folder
        raise InputError(f"data: expected a name or a path, received {name!r}; give one")
    suffixes = (".npz", ".NPZ", ".zip", ".ZIP", "")
    candidates = [place / (name + suffix) for place in places for suffix in suffixes]
    if name not in KERAS_SETS:
        candidates.insert(0, Path(os.path.expanduser(name)))
    return next((path for path in candidates if os.path.exists(path)), None)


def _from_path(path: Path, size) -> ImageData:
    layout = _layout(path)
    if layout:
        return _from_layout(path.resolve().name if path.is_dir() else path.stem, layout, size)
    if path.suffix.lower() == ".npz":
        return read_npz(path, size)
    raise InputError(f"data: expected a folder, .zip, .npz, .csv or .tsv, received {str(path)!r}; convert it")


def _layout(path: Path) -> Layout | None:
    """The files of a set, or None where it is no set of files."""
    if path.is_dir():
        return read_folder(path)
    suffix = path.suffix.lower()
    if suffix == ".zip":
        return read_folder(unpack(path))
    return read_manifest(path) if suffix in (".csv", ".tsv") else None


def _downloaded(name: str, places: list[Path], size) -> ImageData:
    if name in KERAS_SETS:
        return from_arrays(name, downloads.keras_arrays(name, places), KERAS_SETS[name], size)
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
    split = Split(resized(rgb(images), size), scans.target, DIGITS)
    train, test = stratified(split, TEST_FRACTION, SPLIT_SEED)
    return ImageData("digits", train, test, mirror=False, comes_with_test=False)


def _from_layout(name: str, layout: Layout, size) -> ImageData:
    parts = {
        "train": layout.train,
        "test": layout.test,
        "validation": layout.validation,
        "unlabelled": [(file, "") for file in layout.unlabelled],
    }
    numbers = {label: number for number, label in enumerate(layout.class_names)} | {"": HIDDEN}
    listed = {part: [(layout.root / file, _printable(file), numbers[label]) for file, label in items]
              for part, items in parts.items()}  # fmt: skip
    images = _decoded(name, listed, tuple(map(_printable, layout.class_names)), size)
    unread = [Quarantined(_printable(file), UNREAD) for file in layout.unread]
    return replace(images, quarantine=(*images.quarantine, *unread))


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
    cut, left_out = leakage.cleaned(name, cut)
    train, test = cut["train"], cut["test"]
    if not parts["test"]:
        train, test = stratified(train, TEST_FRACTION, SPLIT_SEED)
    more: dict[str, Any] = {part: cut[part] for part in ("validation", "unlabelled") if len(cut.get(part, ()))}
    return ImageData(name, train, test, (*quarantine, *left_out), comes_with_test=bool(parts["test"]), **more)
