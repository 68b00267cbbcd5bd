"""Files at a URL, listed once: what tells that each is still the same, and what layouts ask of a path on the disk."""

from __future__ import annotations

import copy
import fnmatch
import glob
import itertools
import posixpath
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from tl_keras.folders import Folder

# What tells, beside the size, that a file has changed: the first of these that a file system gives.
STATE = ("ETag", "etag", "LastModified", "updated", "mtime", "created")


def listing(place: str) -> tuple[Folder, dict[str, str]]:
    """The folder that a pattern, a file or a folder means, and its files: name, and what tells that it has changed.

    Nothing is asked of single files, of which a bucket may hold millions. Hidden files are left out.

    Args:
        place: a URL, or a pattern on this machine.

    Raises:
        InputError: a kind of URL that nothing here reads.

    >>> listing("memory://nowhere/at/all")
    (Folder('memory://nowhere/at/all'), {})
    """
    from fsspec.core import url_to_fs

    Folder(place)  # it knows whether such a URL can be read
    system, path = url_to_fs(place)
    system.invalidate_cache()
    if glob.has_magic(path):
        outer = "/".join(itertools.takewhile(lambda part: not glob.has_magic(part), place.split("/")[:-1]))
        found = system.glob(path, detail=True)
    elif system.isfile(path):
        outer, found = posixpath.dirname(place), {path: system.info(path)}
    else:
        outer, found = place.rstrip("/"), system.find(path, detail=True)
    folder = Folder(outer)
    start = len(url_to_fs(folder.url)[1].rstrip("/")) + 1
    # Consoles of object stores make empty objects that end in a slash, to show them as folders.
    files = {name[start:]: info for name, info in sorted(found.items()) if info["type"] == "file" and name[-1] != "/"}
    return folder, {name: _state(info) for name, info in files.items() if not is_hidden(name)}


def _state(info: dict) -> str:
    return f"{info.get('size')} {next((info[key] for key in STATE if key in info), '')}"


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder that it lies in, is a hidden one.

    >>> is_hidden("cats/.DS_Store"), is_hidden("cats/1.jpg")
    (True, False)
    """
    return any(part.startswith(".") for part in name.split("/"))


class RemotePath:
    """A file or a folder of a listing: of `pathlib.Path`, what layouts ask.

    Args:
        folder: that was listed.
        names: its files.

    >>> (RemotePath(Folder("memory://pets"), ["cats/1.jpg"]) / "cats").is_dir()
    True
    """

    def __init__(self, folder: Folder, names: Iterable[str]):
        self._folder, self._place = folder, PurePosixPath()
        self._inside: dict[str, set[str]] = {".": set()}
        for name in names:
            parent, last = name.rpartition("/")[::2]
            while (parent or ".") not in self._inside:
                self._inside[parent] = {last}
                parent, last = parent.rpartition("/")[::2]
            self._inside[parent or "."].add(last)

    def __truediv__(self, below: str | PurePosixPath) -> RemotePath:
        return self._at(self._place / below)

    def _at(self, place: PurePosixPath) -> RemotePath:
        path = copy.copy(self)
        path._place = place
        return path

    def __str__(self) -> str:
        return "/".join([self._folder.url.rstrip("/"), *self._place.parts])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and str(other) == str(self)

    def __lt__(self, other: RemotePath) -> bool:
        return self._place < other._place

    def __hash__(self) -> int:
        return hash(self._place)

    @property
    def name(self) -> str:
        """Of the file or folder alone."""
        return self._place.name

    @property
    def suffix(self) -> str:
        """The end of its name, with the dot."""
        return self._place.suffix

    @property
    def parent(self) -> RemotePath:
        """The folder that it lies in."""
        return self._at(self._place.parent)

    def relative_to(self, other: RemotePath) -> PurePosixPath:
        """The way from a folder above."""
        return self._place.relative_to(other._place)

    def is_dir(self) -> bool:
        """Whether there is such a folder."""
        return str(self._place) in self._inside

    def is_file(self) -> bool:
        """Whether there is such a file."""
        return self._place.name in self._inside.get(str(self._place.parent), ()) and not self.is_dir()

    def iterdir(self) -> Iterator[RemotePath]:
        """Files and folders in it."""
        return (self / name for name in self._inside[str(self._place)])

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """Those of them whose name matches."""
        return (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern))

    def rglob(self, pattern: str) -> Iterator[RemotePath]:
        """Those that match below it, at any depth."""
        for path in self.iterdir():
            if fnmatch.fnmatchcase(path.name, pattern):
                yield path
            if path.is_dir():
                yield from path.rglob(pattern)

    def read_text(self, encoding: str) -> str:
        """What a file says; an OSError where it cannot be read."""
        return self._folder.read(str(self._place)).decode(encoding)
