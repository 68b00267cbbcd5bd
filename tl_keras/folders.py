"""A folder by path or by URL: on this machine, in S3, in Google Cloud Storage, in memory."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from tl_keras import files
from tl_keras.errors import InputError


class Folder:
    """A folder, which need not be there yet.

    Args:
        url: a path, or a URL that fsspec knows: s3://bucket/x, gs://bucket/x, memory://x, file:///x.

    Raises:
        InputError: a kind of URL that nothing here reads.

    >>> Folder("memory://example").exists("anything")
    False
    """

    def __init__(self, url: str | Path):
        text = str(url)
        scheme, divided, rest = text.partition("://")
        self.local: Path | None = (
            Path(rest if divided else text).absolute() if scheme == "file" or not divided else None
        )
        self.url = text if self.local is None else str(self.local)
        self._connect()

    def _connect(self) -> None:
        if self.local is not None:
            return
        from fsspec.core import url_to_fs

        try:
            self._files, self._root = url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise InputError(
                f"folder: expected a path or a URL such as s3://bucket/folder, received {self.url} ({error}); install "
                "what reads it (s3fs, gcsfs), or give a path"
            ) from error

    def __repr__(self) -> str:
        return f"Folder({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Folder) and other.url == self.url

    def __hash__(self) -> int:
        return hash(self.url)

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "local": self.local}  # connections stay where they are

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._connect()

    def read(self, name: str) -> bytes:
        """The content of a file in it, or a FileNotFoundError."""
        return (self.local / name).read_bytes() if self.local else self._files.cat_file(self._at(name))

    def read_all(self, names: Sequence[str]) -> list[bytes | OSError]:
        """The contents of some files, or why one cannot be read; what is far away is asked for at the same time."""
        if self.local:
            return [_content_or_error(self.local / name) for name in names]
        every = [None] * len(names)
        found = self._files.cat_ranges([self._at(name) for name in names], every, every, on_error="return")
        for content in found:
            if isinstance(content, Exception) and not isinstance(content, OSError):
                raise content
        return found

    def write(self, name: str, content: bytes) -> None:
        """Make a file of `content` that is whole or absent, whatever comes between."""
        if self.local:
            files.write_bytes(self.local / name, content)
            return
        self._files.makedirs(posixpath.dirname(self._at(name)), exist_ok=True)
        self._files.pipe_file(self._at(name), content)  # an object appears when all of it has arrived

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name in it."""
        return (self.local / name).is_file() if self.local else bool(self._files.isfile(self._at(name)))

    def size(self, name: str) -> int:
        """The bytes of a file in it, or a FileNotFoundError."""
        return (self.local / name).stat().st_size if self.local else int(self._files.size(self._at(name)))

    def names(self, under: str = "") -> list[str]:
        """All files below, or below `under`, relative to this folder, in order, without hidden ones."""
        if self.local:
            found = [
                path.relative_to(self.local).as_posix() for path in (self.local / under).rglob("*") if path.is_file()
            ]
            return sorted(name for name in found if not posixpath.basename(name).startswith("."))
        self._files.invalidate_cache()
        found = self._files.find(posixpath.join(self._root, under) if under else self._root)
        root = self._files._strip_protocol(self._root).rstrip("/") + "/"
        return sorted(name.removeprefix(root) for name in found)

    def open(self, name: str) -> BinaryIO:
        """A file in it, to read from anywhere."""
        return open(self.local / name, "rb") if self.local else self._files.open(self._at(name), "rb")

    def remove(self, name: str) -> None:
        """Take a file away."""
        if self.local:
            (self.local / name).unlink()
        else:
            self._files.rm_file(self._at(name))

    def _at(self, name: str) -> str:
        return posixpath.join(self._root, name)


def _content_or_error(path: Path) -> bytes | OSError:
    try:
        return path.read_bytes()
    except OSError as error:
        return error
