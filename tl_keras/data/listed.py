"""Images of a manifest: read and decoded when they are asked for, so that any number of them can be trained on."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tl_keras.data import containers
from tl_keras.data.decode import decode, in_threads, resize
from tl_keras.data.lazy import LazyImages
from tl_keras.data.manifest import Manifest
from tl_keras.errors import InputError
from tl_keras.folders import Folder


class _Columns(NamedTuple):
    """What says where the images of a manifest lie."""

    root: str
    uri: np.ndarray
    start: np.ndarray
    length: np.ndarray
    sha256: np.ndarray


class ListedImages(LazyImages):
    """Images (N, height, width, 3) that a manifest lists, each read and scaled when it is asked for.

    Args:
        folder: where the manifest lies.
        size: (height, width).
        rows: which of its rows are meant.

    >>> ListedImages(Folder("features"), (256, 256), np.arange(100))[:2].shape  # doctest: +SKIP
    (2, 256, 256, 3)
    """

    def __init__(self, folder: Folder, size: tuple[int, int], rows: np.ndarray):
        self.folder, self.rows = folder, rows
        # What they are made from is told by the content of the files.
        digests = _columns(folder).sha256[rows]
        super().__init__(np.frombuffer(digests.tobytes(), "uint8").reshape(len(rows), -1), size)

    @property
    def contents(self) -> np.ndarray:
        """A text for each image (N,), equal for equal files, and for them alone."""
        return _columns(self.folder).sha256[self.rows]

    def __getitem__(self, rows) -> np.ndarray:
        numbers = np.arange(len(self))[rows]
        asked = self.rows[np.atleast_1d(numbers)]
        made = np.empty((len(asked), *self.shape[1:]), "uint8")
        order, listed = np.argsort(asked), _columns(self.folder)  # neighbours lie in one file
        columns = (column[asked[order]].tolist() for column in (listed.uri, listed.start, listed.length))
        contents = list(containers.read(listed.root, *columns))
        for row, content in zip(asked[order], contents, strict=True):
            check(str(listed.uri[row]), content, listed.sha256[row].decode())

        def decoded(part: range) -> None:
            for number in part:
                made[order[number]] = np.asarray(resize(decode(contents[number]), self.size))

        list(in_threads(decoded, len(asked)))
        return made if np.ndim(numbers) else made[0]

    def take(self, rows) -> ListedImages:
        return ListedImages(self.folder, self.size, self.rows[rows])

    def joined(self, others: Sequence[np.ndarray | LazyImages]) -> ListedImages | None:
        """These images and those of others, where all are listed by one manifest and of one size."""
        rows = [self.rows]
        for other in others:
            if not isinstance(other, ListedImages) or (other.folder, other.size) != (self.folder, self.size):
                return None
            rows.append(other.rows)
        return ListedImages(self.folder, self.size, np.concatenate(rows))


def check(uri: str, content: bytes, sha256: str) -> None:
    """Raise InputError unless a file has the content that was listed.

    >>> check("cat.jpg", b"", hashlib.sha256(b"").hexdigest())
    """
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(
            f"manifest: expected {uri} as it was listed, received another content; put the file back, or extract into "
            "another folder, with a manifest of its own"
        )


@functools.lru_cache(maxsize=1)
def _columns(folder: Folder) -> _Columns:
    manifest = Manifest(folder)
    names = ("uri", "start", "length", "sha256")
    uri, start, length, sha256 = (manifest.column(name) for name in names)
    return _Columns(manifest.root, uri, start, length, sha256.astype("S64"))
