"""Rows on their way to .npy files, which a crash leaves in parts: what was not written whole is never taken for it."""

from __future__ import annotations

import io
import json
import math
import os
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from tl_keras.files import write_json

SYNC_SECONDS = 5.0


class RowFiles:
    """Rows on their way to .npy files; a stopped extraction keeps those that it wrote.

    How many rows are known to be on the disk is written beside them, after a sync, every few seconds, and a checksum of
    these rows of each file: whatever a crash made of them later, no other rows are taken for them.
    """

    def __init__(self, paths: list[Path], shapes: list[tuple[int, ...]], dtype: str):
        self.paths, self.shapes, self.dtype = paths, shapes, np.dtype(dtype).newbyteorder("<")
        self.parts = [path.with_suffix(".part") for path in paths]
        self.headers = [_header(shape, dtype) for shape in shapes]
        self.row_bytes = [math.prod(shape[1:]) * self.dtype.itemsize for shape in shapes]
        self.progress = _progress(paths)
        self.rows = self._kept() if self.progress.exists() else 0

    def _kept(self) -> int:
        """How many rows lie in the files as they were written; 0 where some do not."""
        try:
            said = json.loads(self.progress.read_text(encoding="utf-8"))
            rows, self.checksums = said["rows"], said["checksums"]
            kept = zip(self.parts, self.headers, self.row_bytes, strict=True)
            if 0 <= rows <= self.shapes[0][0] and self.checksums == [
                _checksum(part, len(header), rows * size) for part, header, size in kept
            ]:
                return rows
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass
        print(f"{self.progress}: the activations stored so far are damaged; computing them anew", file=sys.stderr)
        return 0

    @contextmanager
    def writing(self, rows: int) -> Iterator[None]:
        """Go on behind the first `rows` rows; after the block the files are whole and get their names."""
        with ExitStack() as opened:
            self.files = [opened.enter_context(open(part, "r+b" if rows else "w+b")) for part in self.parts]
            for file, header, size in zip(self.files, self.headers, self.row_bytes, strict=True):
                file.write(header)
                file.seek(rows * size, os.SEEK_CUR)
                file.truncate()
            self.checksums = self.checksums if rows else [0] * len(self.files)
            self.rows, self.synced = rows, time.monotonic()
            yield
            self._sync()
        for part, path in zip(self.parts, self.paths, strict=True):
            part.replace(path)
        self.progress.unlink()

    def append(self, outputs: list[np.ndarray]) -> None:
        """Write the next rows of each output."""
        for place, output in enumerate(outputs):
            content = np.ascontiguousarray(output, self.dtype).data
            self.files[place].write(content)
            self.checksums[place] = zlib.crc32(content, self.checksums[place])
        self.rows += len(outputs[0])
        if time.monotonic() - self.synced > SYNC_SECONDS:
            self._sync()

    def _sync(self) -> None:
        for file in self.files:
            file.flush()
            os.fsync(file.fileno())
        write_json(self.progress, {"rows": self.rows, "checksums": self.checksums})
        self.synced = time.monotonic()


def _checksum(path: Path, start: int, length: int) -> int:
    """Of `length` bytes of a file from `start` on; a ValueError where there are fewer."""
    found = 0
    with open(path, "rb") as file:
        file.seek(start)
        while length > 0:
            content = file.read(min(length, 2**24))
            if not content:
                raise ValueError("cut short")
            found, length = zlib.crc32(content, found), length - len(content)
    return found


def are_whole(paths: list[Path], shapes: list[tuple[int, ...]], dtype: str) -> bool:
    """Whether these files are there, of these shapes, and none was cut short."""
    for path, shape in zip(paths, shapes, strict=True):
        header = _header(shape, dtype)
        try:
            with open(path, "rb") as file:
                if file.read(len(header)) != header or size(path) != file_size(shape, dtype):
                    return False
        except FileNotFoundError:
            return False
    return True


def are_begun(paths: list[Path]) -> bool:
    """Whether an extraction into these files was stopped, and rows of it are known to be there.

    >>> are_begun([Path("nowhere.0.npy")])
    False
    """
    return _progress(paths).exists()


def _progress(paths: list[Path]) -> Path:
    """Where the rows are counted that are known to be on the disk."""
    return paths[0].with_suffix(".json")


def _header(shape: tuple[int, ...], dtype: str) -> bytes:
    """The beginning of a .npy file."""
    file, little = io.BytesIO(), np.dtype(dtype).newbyteorder("<").str
    np.lib.format.write_array_header_1_0(file, {"descr": little, "fortran_order": False, "shape": shape})
    return file.getvalue()


def file_size(shape: tuple[int, ...], dtype: str) -> int:
    """The bytes of a .npy file.

    >>> file_size((2, 3), "float32")
    152
    """
    return len(_header(shape, dtype)) + math.prod(shape) * np.dtype(dtype).itemsize


def size(file: Path) -> int:
    """Its bytes; none where it is not there, or another process has taken it away meanwhile."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
