"""Many images in one file, read where they lie: WebDataset's .tar, TFRecord files and Parquet. Nothing is unpacked."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

from tl_keras.data import parquets, tars, tfrecords
from tl_keras.data.members import Member
from tl_keras.errors import InputError
from tl_keras.folders import Folder

# By name, in any case. The shards of ImageNet's TFRecords have no suffix: train-00000-of-01024.
KINDS = {
    "tar": r".*\.tar",
    "tfrecord": r".*\.tfrecords?(-\d+-of-\d+)?|(.*/)?[^./]*-\d{5}-of-\d{5}",
    "parquet": r".*\.parquet",
}
COMPRESSED = r".*\.(tar\.(gz|bz2|xz|zst)|tgz|tbz2?|txz)|.*\.tfrecords?(-\d+-of-\d+)?\.gz"
GONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
AT_ONCE = 64  # files asked for together: one after the other, each would wait for the network
BEGINS = {"gzip": b"\x1f\x8b", "bzip2": b"BZh", "xz": b"\xfd7zXZ\0", "zstd": b"\x28\xb5\x2f\xfd"}


def kind(name: str) -> str | None:
    """Which kind of container a file of this name is: tar, tfrecord or parquet; None where it is none.

    >>> kind("val/000.tar"), kind("train-00000-of-01024"), kind("cat.jpg")
    ('tar', 'tfrecord', None)
    """
    return next((kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, name, re.I | re.S)), None)


def is_compressed(name: str) -> bool:
    """Whether a file of this name is a compressed container, of which nothing can be read but from its beginning.

    >>> is_compressed("train.tar.gz"), is_compressed("train.tar")
    (True, False)
    """
    return re.fullmatch(COMPRESSED, name, re.I | re.S) is not None


def class_names(folder: Folder, name: str) -> tuple[str, ...]:
    """The names that a container itself gives numbered classes; none where it names none.

    Raises:
        InputError: as `members`.
    """
    if kind(name) != "parquet":
        return ()
    with _open(folder, name) as stream:
        return parquets.class_names(stream)


def members(folder: Folder, name: str, names: Sequence[str] = ()) -> Iterator[Member]:
    """The images of a container, in its order, one in memory at a time.

    Args:
        name: of the container, in `folder`.
        names: of numbered classes, where others than the container tell them.

    Raises:
        InputError: compressed, unreadable, or without a column of images.

    >>> [member.label for member in members(Folder("pets"), "train.tar")]  # doctest: +SKIP
    ['cat', 'dog']
    """
    with _open(folder, name) as stream:
        begin = stream.read(8)
        for compression, magic in BEGINS.items():
            if begin.startswith(magic):
                raise InputError(f"{folder.url}/{name}: {compressed(compression)}")
        try:
            if kind(name) == "tar":
                yield from tars.members(stream)
            elif kind(name) == "tfrecord":
                yield from tfrecords.members(stream, names)
            else:
                yield from parquets.members(stream)
        except InputError as error:
            raise InputError(f"{folder.url}/{name}: {error}") from error


def compressed(how: str) -> str:
    """What to say of a container that is compressed.

    >>> compressed("gzip")[:41]
    'expected a container that is not compress'
    """
    return (
        f"expected a container that is not compressed, received {how}: single images in it can only be read from its "
        "beginning; decompress it once (gunzip, unxz, zstd -d)"
    )


def read(root: str, uris: Sequence[str], starts: Sequence[int], lengths: Sequence[int]) -> Iterator[bytes]:
    """The encoded images that rows of a manifest name, in their order. Nothing is verified here.

    A container is opened once for neighbours in it; of Parquet only the row groups asked for are read.

    Args:
        root: a path or URL that uris are relative to.

    Raises:
        InputError: a file or container that is gone or was cut short, or a uri that leads out of `root`.
        OSError: the disk or the network fails.

    >>> list(read("pets", ["cats/1.jpg"], [0], [-1]))  # doctest: +SKIP
    [b'...']
    """
    folder = Folder(root)
    rows = (_Row(uri, _file(uri, *at), *at) for uri, *at in zip(uris, starts, lengths, strict=True))
    for name, group in itertools.groupby(rows, lambda row: row.name if row.name != row.uri else ""):
        if name:
            yield from _in_container(folder, name, group)
        else:
            yield from _files(folder, group)


class _Row(NamedTuple):
    """Where an image lies: `name` is its container, or where it has none its uri."""

    uri: str
    name: str
    start: int
    length: int


def _files(folder: Folder, rows: Iterator[_Row]) -> Iterator[bytes]:
    while part := [row.name for row in itertools.islice(rows, AT_ONCE)]:
        for name in part:
            _refuse_outside(folder, name)
        for name, content in zip(part, folder.read_all(part), strict=True):
            if isinstance(content, GONE):
                raise _gone(folder, name)
            if isinstance(content, OSError):
                raise content
            yield content


def _in_container(folder: Folder, name: str, rows: Iterator[_Row]) -> Iterator[bytes]:
    _refuse_outside(folder, name)
    try:
        stream = folder.open(name)
    except GONE:
        raise _gone(folder, name) from None
    with stream:
        get = None
        for row in rows:
            try:
                get = get or _getter(stream, kind(name))
                content = get(row.start, row.length)
            except ValueError as error:  # an InputError too
                raise InputError(
                    f"manifest: expected {folder.url}/{row.uri} as it was listed, received a container in which it is "
                    f"not ({error}); put the former one back, or make the manifest anew in another folder"
                ) from error
            yield content


def _gone(folder: Folder, name: str) -> InputError:
    return InputError(
        f"manifest: expected {folder.url}/{name}, which it names, received none; put it back, or make the manifest "
        "anew in another folder"
    )


def _getter(stream: BinaryIO, of: str | None) -> Callable[[int, int], bytes]:
    """From `start` and `length` to the image, in an open container."""
    if of == "parquet":
        images = parquets.Images(stream)
        return lambda row, _: images[row]

    def content(start: int, length: int) -> bytes:
        stream.seek(start)
        found = stream.read(length)
        if len(found) < length:
            raise ValueError("it ends before")
        return found

    return content if of == "tar" else lambda start, length: tfrecords.image(content(start, length))


def _file(uri: str, start: int, length: int) -> str:
    """The file that an image lies in: a container, or its own."""
    if length >= 0:
        in_tar = re.match(r"(.*?\.tar)#", uri, re.I | re.S)  # what follows may hold a # of its own
        return in_tar[1] if in_tar else uri.rpartition("#")[0]
    container, _, row = uri.rpartition("#")
    return container if kind(container) == "parquet" and row == str(start) else uri


def _refuse_outside(folder: Folder, name: str) -> None:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise InputError(
            f"manifest: expected files in {folder.url}, received one that is called {name!r}; do not trust this "
            "manifest"
        )


def _open(folder: Folder, name: str) -> BinaryIO:
    try:
        return folder.open(name)
    except OSError as error:
        raise InputError(
            f"{folder.url}/{name}: expected a container that can be read, received {error}; mend that and run again: "
            "what is listed is kept"
        ) from error
