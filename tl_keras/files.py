"""Files that are either whole or absent."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; after the block it is synced and renamed, or removed on an error.

    The temporary name keeps the suffix, since writers such as Keras and matplotlib choose the format by it.

    >>> with atomic(Path("report.html")) as temporary:
    ...     temporary.write_text("<p>whole or absent</p>")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content`, atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, content: dict) -> None:
    """Write `content` as indented UTF-8 JSON, atomically."""
    write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process is in a block with the same `path`; the system frees it whatever ends a process.

    >>> with locked(Path("runs/.lock")):
    ...     pass
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def alone(folder: Path, wait: bool = False) -> Iterator[None]:
    """Keep `folder` for this block, or fail at once; the system frees it whatever ends the process.

    Args:
        wait: until another block has left it.

    Raises:
        BlockingIOError: another block, of any process, keeps it.
        OSError: a file system that cannot lock folders.

    >>> with alone(Path("runs/try")):
    ...     pass
    """
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(opened)


def check_writable(folder: Path) -> None:
    """Raise OSError unless files can be written into `folder`, or into the one that it would be made in.

    >>> check_writable(Path("saved_models"))
    """
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    tempfile.TemporaryFile(dir=there).close()
