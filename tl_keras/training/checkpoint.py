"""Exact resume: after every epoch all that training depends on is on disk, whole.

`keras.callbacks.BackupAndRestore` leaves out the seed state of Dropout and can be caught half-written by a kill;
a `Checkpoint` holds every variable of model and optimizer, and the one before is kept until it is whole.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tl_keras.errors import InputError
from tl_keras.files import atomic
from tl_keras.quiet import keras


@dataclass
class Progress:
    """How far a training is: one row of numbers for each finished epoch, and the seconds spent."""

    rows: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def epoch(self) -> int:
        """The number of finished epochs."""
        return len(self.rows)


class Checkpoint:
    """The state of one training in `path`, and the state before it in `<path>.previous`.

    Args:
        variables: every variable that training changes, random seeds and optimizer state included.
        identity: what the training is (recipe, data, network); a checkpoint of another one is refused.

    >>> checkpoint = Checkpoint(Path("a.npz"), model.variables + optimizer.variables, {"seed": 0})
    >>> progress = checkpoint.restore()
    """

    def __init__(self, path: Path, variables: list[keras.Variable], identity: dict):
        self.path = Path(path)
        self.previous = self.path.with_name(self.path.name + ".previous")
        self.variables = variables
        self.identity = json.loads(json.dumps(identity))

    def save(self, progress: Progress) -> None:
        """Write the state of the variables together with `progress`."""
        said = {"identity": self.identity, "rows": progress.rows, "seconds": progress.seconds}
        arrays = [_to_bytes(variable) for variable in self.variables]
        meta = json.dumps(said | {"checksum": _checksum(said, arrays)})
        with atomic(self.path) as temporary:
            np.savez(temporary, **{"meta": np.array(meta)} | {str(n): array for n, array in enumerate(arrays)})  # type: ignore[arg-type]
            if self.path.exists():
                self.path.replace(self.previous)

    def restore(self, before: Progress | None = None) -> Progress:
        """Set the variables to the newest whole state and return its progress; a fresh start gives `before`, or none.

        Raises:
            InputError: the checkpoint belongs to another training.
        """
        for path in (self.path, self.previous):
            if not path.exists():
                continue
            try:
                said, arrays = _read(path)
            except (
                Exception
            ) as error:  # of damaged bytes: BadZipFile, zlib.error, NotImplementedError, MemoryError, ...
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                print(f"checkpoint {path} is damaged ({reason}); trying the one before", file=sys.stderr)
                continue
            self._assign(path, said, arrays)
            return Progress(said["rows"], said["seconds"])
        return before or Progress()

    def _assign(self, path: Path, said: dict, arrays: list[np.ndarray]) -> None:
        sizes = [_to_bytes(variable).size for variable in self.variables]
        if said["identity"] != self.identity or [array.size for array in arrays] != sizes:
            raise InputError(
                f"checkpoint {path}: expected one of {self.identity}, received one of "
                f"{said['identity']}; resume with the settings of that run or choose another --out"
            )
        for variable, array in zip(self.variables, arrays, strict=True):
            variable.assign(_from_bytes(array, variable))


def _read(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    """What `save` wrote; any exception where it is not that, to the last byte."""
    with np.load(path, allow_pickle=False) as stored:
        said = json.loads(str(stored["meta"]))
        arrays = [stored[str(number)] for number in range(len(stored.files) - 1)]
    if said.pop("checksum") != _checksum(said, arrays):
        raise ValueError("not what was written")
    return said, arrays


def _checksum(said: dict[str, Any], arrays: Sequence[np.ndarray]) -> int:
    # The zip archive has one for each array, but none for their order, and none for its own list of them.
    found = zlib.crc32(json.dumps(said).encode())
    for array in arrays:
        found = zlib.crc32(array.data, found)
    return found


def _to_bytes(variable: keras.Variable) -> np.ndarray:
    # As bytes, so that bfloat16, which .npy files do not know, is exact too.
    return np.ascontiguousarray(variable.numpy()).reshape(-1).view("uint8")


def _from_bytes(array: np.ndarray, variable: keras.Variable) -> np.ndarray:
    return array.view(np.asarray(variable.numpy()).dtype).reshape(variable.shape)
