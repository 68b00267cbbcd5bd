"""A data set by its manifest: the images of a store of features, still to be read."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np

from tl_keras.data import leakage
from tl_keras.data.image_data import ImageData, Quarantined
from tl_keras.data.layouts import Layout
from tl_keras.data.listed import ListedImages
from tl_keras.data.manifest import NAME, Manifest
from tl_keras.data.splits import HIDDEN, Split, stratified
from tl_keras.errors import InputError
from tl_keras.folders import Folder

QUARANTINE, DONE = "quarantine.csv", "done.json"  # written when all shards are done
UNLABELLED = "unlabelled"


def is_one(place: str) -> bool:
    """Whether a path or a URL is a store of features.

    >>> is_one("nowhere")
    False
    """
    return Folder(place).exists(NAME)


def left_out(folder: Folder) -> dict[str, str]:
    """Why some images of a store have no features, by their uri.

    Raises:
        InputError: the store is not finished, or this table is not the one that was written.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(folder.read(QUARANTINE).decode())))
        if len(rows) != json.loads(folder.read(DONE))["left_out"]:
            raise ValueError(f"{len(rows)} rows")
        return {row["path"]: row["reason"] for row in rows}
    except FileNotFoundError:
        raise InputError(
            f"DATA: expected a finished store of features, received {folder.url}, whose extraction was stopped; go on "
            "with it by the same extract command"
        ) from None
    except (ValueError, KeyError, TypeError) as error:  # bytes that are no UTF-8 are a ValueError
        raise InputError(
            f"{folder.url}/{QUARANTINE}: expected the table that {DONE} counts, received another ({error}); run "
            "the same extract command again"
        ) from error


def files(folder: Folder) -> Layout:
    """Which images a store lists, readable or not.

    Raises:
        InputError: as `Layout`.
    """
    manifest = Manifest(folder)
    rows = zip(*(manifest.column(name) for name in ("uri", "label", "split")), strict=True)
    parts: dict[str, list[tuple[str, str]]] = {"train": [], "test": [], "validation": [], UNLABELLED: []}
    for uri, label, part in rows:
        parts[part].append((uri, label))
    hidden = [uri for uri, _ in parts[UNLABELLED]]
    return Layout(Path(manifest.root), parts["train"], parts["test"], parts["validation"], hidden)


def load(folder: Folder, size: tuple[int, int], fraction: float, seed: int) -> ImageData:
    """The images of a store that have features.

    Args:
        size: (height, width) that each image is scaled to when it is read.
        fraction: of the training images that is cut off to measure on, with `seed`, where none came as such.

    Raises:
        InputError: the store is not finished, or as `ImageData`.
    """
    manifest, reasons = Manifest(folder), left_out(folder)
    uris, labels, parts = (manifest.column(name) for name in ("uri", "label", "split"))
    kept = ~np.isin(uris, list(reasons)) if reasons else np.ones(len(uris), bool)
    numbers = {name: number for number, name in enumerate(manifest.class_names)} | {"": HIDDEN}
    found: dict[str, Split] = {}
    for part in ("train", "test", "validation", UNLABELLED):
        rows = np.flatnonzero(kept & (parts == part))
        if len(rows):
            classes = np.array([numbers[label] for label in labels[rows]], "int64")
            found[part] = Split(ListedImages(folder, size, rows), classes, manifest.class_names, uris[rows].astype(str))
    name = folder.url.rstrip("/").rpartition("/")[2]
    if "train" not in found:
        raise InputError(
            f"DATA: expected images with labels to train on, received none in {folder.url}; give them class folders, "
            "or labels in the containers, and extract into another folder"
        )
    found["train"].images[0]  # where all images are gone, that is better known before hours of work
    cut, leaked = leakage.cleaned(name, found)
    quarantine = [Quarantined(uri, reason) for uri, reason in reasons.items()]
    train, test = cut["train"], cut.get("test")
    if test is None:
        train, test = stratified(train, fraction, seed)
    return ImageData(
        name, train, test, (*quarantine, *leaked), validation=cut.get("validation"), unlabelled=cut.get(UNLABELLED),
        source=folder.url, comes_with_test="test" in found,
    )  # fmt: skip
