"""Model files: a .keras file that also says how its network sees images, and what its classes are called.

A .keras file is a zip archive in which Keras reads the entries that it knows. One more, `tl_keras.json`, holds the view
and the class names: who has the file alone can still feed it rightly.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

from tl_keras import values
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.files import atomic
from tl_keras.quiet import keras

ENTRY = "tl_keras.json"


def save(model: keras.Model, path: Path, view: View, class_names: tuple[str, ...]) -> None:
    """Write `model` as a .keras file; `keras.models.load_model(path, safe_mode=True)` reads it anywhere.

    How it was trained, the loss and the optimizer's state, stays in the checkpoint. The same network gives the same
    bytes.
    """
    with atomic(path) as temporary:
        # Not as lists of one, which Keras would then miss in a call with a tensor.
        inputs, outputs = (each if each[1:] else each[0] for each in (model.inputs, model.outputs))
        keras.Model(inputs, outputs, name=model.name).save(temporary)
        _add(temporary, entry(view, class_names))


def entry(view: View, class_names: tuple[str, ...]) -> str:
    """What travels with a network in every format, as JSON: how it sees images, and what its classes are called.

    >>> entry(View((8, 8)), ("ant", "bee")).endswith('"class_names": ["ant", "bee"]}')
    True
    """
    return json.dumps({"view": values.to_json(view), "class_names": list(class_names)}, ensure_ascii=False)


def read_entry(text: str | bytes) -> tuple[View, tuple[str, ...]]:
    """What `entry` was given.

    Raises:
        ValueError, KeyError, TypeError, InputError: it is damaged, or of another version.

    >>> read_entry(entry(View((8, 8)), ("ant", "bee")))[1]
    ('ant', 'bee')
    """
    said = json.loads(text)
    found, names = values.from_json(said["view"]), tuple(said["class_names"])
    if not isinstance(found, View) or not all(isinstance(name, str) for name in names):
        raise ValueError("no view, or class names that are no texts")
    return found, names


def _add(path: Path, said: str) -> None:
    """Add our entry to a .keras file, and take out the moment and the places in memory that Keras wrote into it."""
    with atomic(path) as anew, zipfile.ZipFile(path) as old, zipfile.ZipFile(anew, "w") as new:
        for entry in old.infolist():
            dateless = zipfile.ZipInfo(entry.filename)
            dateless.file_size = entry.file_size
            with old.open(entry) as source, new.open(dateless, "w") as target:
                if entry.filename == "metadata.json":
                    target.write(json.dumps(json.load(source) | {"date_saved": None}).encode())
                elif entry.filename == "config.json":
                    target.write(_renumbered(source.read()))
                else:
                    shutil.copyfileobj(source, target)
        new.writestr(zipfile.ZipInfo(ENTRY), said)


def _renumbered(config: bytes) -> bytes:
    """Objects that layers share, numbered in the order in which they come instead of by their address."""
    numbers: dict[bytes, int] = {}
    return re.sub(
        rb'"shared_object_id": (\d+)',
        lambda found: b'"shared_object_id": %d' % numbers.setdefault(found[1], len(numbers) + 1),
        config,
    )


def is_one(name: str) -> bool:
    """Whether a network is named by a file, and not by the registry.

    >>> is_one("mine.keras"), is_one("vgg16")
    (True, False)
    """
    return name.endswith((".keras", ".h5"))


def load(path: Path) -> keras.Model:
    """The network of a .keras or .h5 file; one that would run code is refused.

    Raises:
        InputError: it is no model, a damaged one, or needs code of its own.
    """
    from tl_keras.models import stn  # noqa: F401, a layer of our own has to be known before a file with it is read

    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"--backbone: expected a Keras model, received {path} ({reason}); save it with model.save and without code "
            "of its own"
        ) from error


def view(path: Path) -> View | None:
    """The view that was saved with a model; None for a file that another program wrote.

    Raises:
        InputError: what the file says is damaged, or of another version.

    >>> view(Path("models/B_last.keras"))  # doctest: +SKIP
    View(size=(32, 32), ...)
    """
    said = _said(path)
    return said[0] if said else None


def class_names(path: Path) -> tuple[str, ...] | None:
    """The class names that were saved with a model; None for a file that another program wrote.

    Raises:
        InputError: as `view`.
    """
    said = _said(path)
    return said[1] if said else None


def said_of(path: Path) -> tuple[View, tuple[str, ...]]:
    """How the network in a file sees images, and what its classes are called.

    Raises:
        InputError: as `view`, or the file does not say so.

    >>> said_of(Path("runs/finetune/monday/models/full.keras"))  # doctest: +SKIP
    (View(size=(224, 224), ...), ('ant', 'bee'))
    """
    said = _said(path)
    if said is None:
        raise InputError(
            f"RUN: expected a model file that a run wrote, with a view and class names, received {path} without; name "
            "one in the models/ of a run"
        )
    return said


def _said(path: Path) -> tuple[View, tuple[str, ...]] | None:
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            if ENTRY not in archive.namelist():
                return None
            return read_entry(archive.read(ENTRY))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: expected {ENTRY} with a view and class names, received one that cannot be read ({error}); save "
            "the model anew"
        ) from error
