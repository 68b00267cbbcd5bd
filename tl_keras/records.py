"""What one training left, written and read with numpy alone: tables, pages and ensembles need no TensorFlow.

A record is `records/NAME.json` (the trial, its numbers), `history/NAME.csv`, `predictions/NAME.npz` (all class
probabilities, with ids and labels) and `predictions/NAME.csv` for people. `records/NAME.json` is written last: where it
stands, the trial is finished, and nothing of it is ever written again.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tl_keras.errors import InputError
from tl_keras.files import write_bytes, write_json
from tl_keras.run_folder import RunFolder

TEST = "test"
FORMAT = 1


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of the images of a split.

    Args:
        ids: of each image (N,).
        labels: true classes (N,), integers; -1 where they are hidden.
        probabilities: (N, classes), float32.

    >>> Predictions(np.array(["a", "b"]), np.array([0, 1]), np.array([[0.9, 0.1], [0.6, 0.4]])).accuracy
    0.5
    """

    ids: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """The most probable class (N,) of each image."""
        return self.probabilities.argmax(axis=1)

    @property
    def correct(self) -> np.ndarray:
        """Whether each image (N,) was recognised."""
        return self.classes == self.labels

    @property
    def accuracy(self) -> float:
        """The share of images that were recognised."""
        return float(self.correct.mean())

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        # As `training.schedules.cross_entropy`, in float64.
        probabilities = self.probabilities.astype("float64")
        probabilities /= probabilities.sum(axis=1, keepdims=True)  # float32 summed to one within 1e-7 only
        of_truth = probabilities[np.arange(len(self.labels)), self.labels]
        return float(-np.log(np.clip(of_truth, np.finfo("float64").eps, 1)).mean())


@dataclass(frozen=True)
class Thumbnails:
    """Small pictures of some test images, for pages that have no data set at hand.

    Args:
        rows: which images of the test predictions they are (n,).
        images: uint8 (n, height, width, channels).
    """

    rows: np.ndarray
    images: np.ndarray


@dataclass(frozen=True)
class Record:
    """One finished trial.

    Args:
        trial: the trial, as JSON; `name`, `arm`, `title` and `seed` are those of it.
        class_names: one for each column of the probabilities.
        data: the set that was really used, and how many images it gave: {"name": ..., "train_images": ...}.
        history: a list with one number for each epoch, under the name of each column.
        seconds: training time, running the frozen layers included.
        parameters, trainable_parameters: of the network, in the last phase.
        train_accuracy: on the training images as they are, after the last epoch.
        predictions: by split: "test" always, "validation" and "unlabelled" where there are such images.
        thumbnails: of some test images.
        measured: what the study measured beside; `arrays` holds what is too large for JSON.
    """

    trial: Mapping[str, Any]
    class_names: tuple[str, ...]
    data: Mapping[str, Any]
    history: Mapping[str, list[float]]
    seconds: float
    parameters: int
    trainable_parameters: int
    train_accuracy: float
    predictions: Mapping[str, Predictions]
    thumbnails: Thumbnails
    measured: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As in file names."""
        return self.trial["name"]

    @property
    def arm(self) -> str:
        """What is compared, and what this is one repetition of: the key in results.json."""
        return self.trial["arm"]

    @property
    def title(self) -> str:
        """The arm as tables and figures call it."""
        return self.trial["title"]

    @property
    def seed(self) -> int:
        """Which repetition."""
        return self.trial["seed"]

    @property
    def test(self) -> Predictions:
        """The test predictions."""
        return self.predictions[TEST]


def write(record: Record, out: RunFolder) -> None:
    """Write `record` into the run folder, its JSON file last."""
    for split, predicted in record.predictions.items():
        _write_predictions(predicted, record.class_names, out, _file(record.name, split))
    out.write_rows(out.history(record.name), record.history, zip(*record.history.values(), strict=True))
    pictures = {"thumbnail_rows": record.thumbnails.rows, "thumbnails": record.thumbnails.images}
    _write_arrays(out.record(record.name).with_suffix(".npz"), pictures | dict(record.arrays))
    plain = {name: getattr(record, name) for name in _PLAIN}
    plain |= {
        "splits": list(record.predictions),
        "history": out.relative(out.history(record.name)),
        "model": out.relative(out.model(record.name)),
    }
    write_json(out.record(record.name), {"format": FORMAT} | plain)


_PLAIN = ("trial", "class_names", "data", "seconds", "parameters", "trainable_parameters", "train_accuracy", "measured")


def read(out: RunFolder, name: str) -> Record:
    """The record called `name`.

    Raises:
        InputError: it is damaged, or was written by another version.
    """
    path = out.record(name)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        _check_kinds(content, _KINDS)
        arrays = _read_arrays(path.with_suffix(".npz"))
        thumbnails = Thumbnails(arrays.pop("thumbnail_rows"), arrays.pop("thumbnails"))
        record = Record(
            **{key: content[key] for key in _PLAIN} | {"class_names": tuple(content["class_names"])},
            history=_read_history(out.history(name)),
            predictions={
                split: Predictions(**_read_arrays(out.predictions(_file(name, split)).with_suffix(".npz")))
                for split in content["splits"]
            },
            thumbnails=thumbnails,
            arrays=arrays,
        )
        _check_sizes(record)
        return record
    except Exception as error:  # of damaged bytes: BadZipFile, zlib.error, IndexError, NotImplementedError, ...
        raise InputError(
            f"{path}: expected a whole record of format {FORMAT}, received one that cannot be read ({error!r}); "
            "start a new run"
        ) from error


# Of what is read of every record; a study may read more of its own.
_KINDS: dict[str, Any] = {
    "trial": {"name": str, "arm": str, "title": str, "seed": int},
    "data": {"name": str, "watched": str, "train_images": int, "test_images": int},
    "measured": dict,
    "seconds": int | float,
    "parameters": int,
    "trainable_parameters": int,
    "train_accuracy": int | float,
}


def _check_kinds(content: Any, kinds: Mapping[str, Any]) -> None:
    """Raise an error where a part of the JSON is of another kind than what is written."""
    for key, kind in kinds.items():
        if isinstance(kind, Mapping):
            _check_kinds(content[key], kind)
        elif not isinstance(content[key], kind):
            raise ValueError(f"{key} of another kind")


def _check_sizes(record: Record) -> None:
    """Raise ValueError where arrays are of other images or classes."""
    if not record.class_names or not all(isinstance(name, str) for name in record.class_names):
        raise ValueError("classes without names")
    for predicted in record.predictions.values():
        _check_predictions(predicted, len(record.class_names))
    rows = record.thumbnails.rows
    if len(rows) != len(record.thumbnails.images) or not np.isin(rows, range(len(record.test.ids))).all():
        raise ValueError("pictures of other images")


def _check_predictions(predicted: Predictions, classes: int) -> None:
    labels, probabilities = predicted.labels, predicted.probabilities
    if probabilities.shape != (len(predicted.ids), classes) or probabilities.dtype.kind != "f":
        raise ValueError("probabilities of other images or classes")
    if labels.shape != predicted.ids.shape or labels.dtype.kind not in "iu":
        raise ValueError("labels of other images")
    if not np.isin(labels, range(-1, classes)).all():
        raise ValueError("labels of other classes")


def read_all(out: RunFolder) -> list[Record]:
    """Every record of a run, in the order in which `trials` lists them, else by name.

    Raises:
        InputError: there is none, or one is damaged.
    """
    found = {path.stem for path in out.records.glob("[!.]*.json")}
    if not found:
        raise InputError(
            f"{out.path}: expected a run with finished trials in records/, received none; name a finished run, or one "
            "that this version made"
        )
    order = [name for name in out.config().get("trials", ()) if name in found]
    return [read(out, name) for name in [*order, *sorted(found.difference(order))]]


def _file(name: str, split: str) -> str:
    return name if split == TEST else f"{name}.{split}"


def _write_predictions(predicted: Predictions, class_names: tuple[str, ...], out: RunFolder, file: str) -> None:
    arrays = {name: getattr(predicted, name) for name in ("ids", "labels", "probabilities")}
    _write_arrays(out.predictions(file).with_suffix(".npz"), arrays)
    names = np.array([*class_names, ""])  # the last one is that of -1: a hidden label
    columns = [names[predicted.labels], names[predicted.classes], predicted.probabilities.max(axis=1).round(6)]
    rows = zip(predicted.ids, *columns, strict=True)
    out.write_rows(out.predictions(file), ("id", "label", "prediction", "probability"), rows)


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    file = io.BytesIO()
    np.savez_compressed(file, **{name: np.asarray(array) for name, array in arrays.items()})  # type: ignore[arg-type]
    write_bytes(path, file.getvalue())


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _read_history(path: Path) -> dict[str, list[float]]:
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = {name: [float(row[name]) for row in rows] for name in rows[0]}
    return columns | {"epoch": [int(epoch) for epoch in columns["epoch"]]}
