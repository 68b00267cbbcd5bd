"""Frozen layers are paid for once: split a network where training begins, and store what enters there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import keras
import numpy as np
from tqdm import tqdm

from tl_keras.data import pipeline
from tl_keras.data.augment import FlipShift
from tl_keras.data.splits import Split
from tl_keras.files import atomic


def split_frozen(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Cut a functional model into the frozen prefix and the suffix that trains.

    A layer is in the prefix when training cannot change what it does and all its inputs come from the prefix. It
    cannot change when it is frozen (`trainable=False`: it then runs in inference mode, its BatchNorm and Dropout
    inert), or when it has neither weights nor random state. A nested model that is frozen in part is cut inside.

    Returns:
        (prefix, suffix) on the very layer objects of `model`, so that training the suffix trains the model;
        `suffix(prefix(x))` equals `model(x)` in inference mode.

    Raises:
        ValueError: no weight of `model` trains, or it is no functional model.

    >>> inputs = keras.Input((8,))
    >>> model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(4, trainable=False)(inputs)))
    >>> prefix, suffix = split_frozen(model)
    >>> prefix.output_shape, len(suffix.trainable_weights)
    ((None, 4), 2)
    """
    if not model.trainable_weights:
        raise ValueError(
            f"split_frozen: expected a model that trains, received {model.name} with no trainable "
            "weight; set `trainable` on a layer"
        )
    inputs = keras.tree.map_structure(
        lambda tensor: keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype), _graph(model).input
    )
    frozen = {id(tensor) for tensor in keras.tree.flatten(inputs)}
    frontier: dict[int, keras.KerasTensor] = {}

    def visit(operation, *args, **kwargs):
        tensors = [t for t in keras.tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)]
        if all(id(tensor) in frozen for tensor in tensors) and cannot_change(operation):
            outputs = operation(*args, **kwargs)
            frozen.update(id(tensor) for tensor in keras.tree.flatten(outputs))
            return outputs
        if _is_functional(operation):
            return _walk(operation, args[0], visit)
        frontier.update({id(tensor): tensor for tensor in tensors if id(tensor) in frozen})
        return operation(*args, **kwargs)

    outputs = _walk(model, inputs, visit)
    frontier.update({id(t): t for t in keras.tree.flatten(outputs) if id(t) in frozen})
    boundary = list(frontier.values())
    boundary = boundary[0] if len(boundary) == 1 else boundary
    prefix = keras.Model(inputs, boundary, name=f"{model.name}_prefix")
    return prefix, keras.Model(boundary, outputs, name=f"{model.name}_suffix")


def cannot_change(operation: keras.Operation) -> bool:
    """Whether training leaves what `operation` computes as it is: frozen, or without weights and randomness."""
    if not isinstance(operation, keras.layers.Layer):
        return True
    if _is_functional(operation):
        return all(cannot_change(layer) for layer in operation.layers)
    # `variables` holds the state of random generators too, `weights` does not. Normalization only ever changes
    # in `adapt`.
    return not operation.trainable or not operation.variables or isinstance(operation, keras.layers.Normalization)


def store(
    prefix: keras.Model,
    split: Split,
    folder: Path,
    *,
    augment: FlipShift | None = None,
    seed: int = 0,
    views: int = 1,
) -> list[Stored]:
    """Run the prefix once per image and view; keep its outputs on disk.

    Args:
        folder: where `<fingerprint>.<output>.npy` is written, or found from an earlier run. The fingerprint
            changes with the prefix and its weights, the images, the augmentation and the precision.
        views: augmented copies of each image; view v is the one that `pipeline.training_batches` would draw.

    Returns:
        One float32 array (views * N, ...) on disk for each output of the prefix.
    """
    key = _fingerprint(prefix, split, augment, seed, views)
    paths = [Path(folder) / f"{key}.{number}.npy" for number in range(len(prefix.outputs))]
    if not all(path.exists() for path in paths):
        batches = (batch for view in range(views) for batch in pipeline.view_batches(split.images, augment, seed, view))
        with ExitStack() as whole_or_absent:
            files = [whole_or_absent.enter_context(_open(path)) for path in paths]
            _extract(prefix, batches, files, rows=views * len(split))
    return [Stored(path) for path in paths]


class Stored:
    """An array in a .npy file; `stored[indices]` reads those rows and keeps nothing in memory."""

    def __init__(self, path: Path):
        self.path = Path(path)
        array = np.load(self.path, mmap_mode="r")
        self.shape, self.dtype = array.shape, array.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices) -> np.ndarray:
        # Mapped for one read only: pages of a lasting map pile up in the process until all of the file is there.
        return np.asarray(np.load(self.path, mmap_mode="r")[indices])


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    # Written row after row, not through a memory map: a map over a full disk kills the process without a word.
    with atomic(path) as temporary, open(temporary, "wb") as file:
        yield file


def _extract(prefix: keras.Model, batches: Iterable, files: list[BinaryIO], rows: int) -> None:
    for file, output in zip(files, prefix.outputs, strict=True):
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, *output.shape[1:])}
        np.lib.format.write_array_header_1_0(file, header)
    with tqdm(total=rows, desc="frozen layers", unit="image", disable=None, leave=False) as progress:
        for batch in batches:
            outputs = keras.tree.flatten(prefix.predict_on_batch(batch))
            for file, output in zip(files, outputs, strict=True):
                file.write(np.ascontiguousarray(output, "<f4"))
            progress.update(len(outputs[0]))


def _fingerprint(prefix: keras.Model, split: Split, augment, seed: int, views: int) -> str:
    # Without the layers' names, which Keras counts up: the same network built again finds what it stored.
    layers = [
        (type(layer).__name__, {**layer.get_config(), "name": None}, layer.output.shape) for layer in prefix.layers
    ]
    digest = hashlib.sha256(repr(layers).encode())
    for weight in prefix.weights:
        digest.update(np.ascontiguousarray(weight.numpy()))
    digest.update(repr((split.fingerprint(), augment, seed, views)).encode())
    return digest.hexdigest()[:32]


def _is_functional(operation: keras.Operation) -> bool:
    return isinstance(operation, keras.Model) and hasattr(operation, "inputs")


def _graph(model: keras.Model) -> keras.Model:
    """An uncompiled functional view of the layers of `model`: cloning it walks the graph and does no more."""
    if not _is_functional(model):
        raise ValueError(
            f"split_frozen: expected a functional or sequential model, received {model!r}; build it "
            "with keras.Model(inputs, outputs)"
        )
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0])
    return keras.Model(model.input, model.output)


def _walk(model: keras.Model, inputs, visit):
    """Call every operation of `model` anew, on `inputs`, through `visit`; return the new outputs."""
    return keras.models.clone_model(
        _graph(model), input_tensors=inputs, clone_function=lambda layer: layer, call_function=visit
    ).output
