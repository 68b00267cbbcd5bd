"""Images in a .tar as WebDataset lays them out: KEY.jpg beside KEY.cls or KEY.json, one sample after the other."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from tl_keras.data.layouts import IMAGE_SUFFIXES
from tl_keras.data.members import MAX_BYTES, Member, class_name, printable

LABEL_SUFFIXES = (".cls", ".json")
# The key is the path up to the first dot of the file's name; hidden files and those without a dot belong to no sample.
SAMPLE = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)", re.DOTALL)


class _File(NamedTuple):
    key: str
    suffix: str
    name: str
    start: int
    content: bytes
    reason: str = ""


def members(stream: BinaryIO) -> Iterator[Member]:
    """The images of a .tar, in its order; of a damaged one those before the damage, then what is wrong with it.

    Neighbours with one key are one sample. Its label is the text of .cls, else `label` or `cls` in .json, else hidden.
    Of two images in a sample the second is left out, as are further members of a name. Only regular files count.

    Args:
        stream: seekable, uncompressed.

    >>> with open("train-000.tar", "rb") as file:  # doctest: +SKIP
    ...     [member.name for member in members(file)]
    ['0001.jpg', '0002.jpg']
    """
    end = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    try:
        tar = tarfile.TarFile(fileobj=stream)
    except OSError:  # the disk's or the network's
        raise
    except Exception as error:  # foreign bytes: TarError, ValueError, MemoryError, OverflowError, ...
        yield Member("", reason=f"is no .tar ({error})")
        return
    sample, seen = list[_File](), set[str]()
    with tar:
        while True:
            file, reason = _next(tar, stream, end)
            if sample and (file is None or file.key != sample[0].key):
                yield from _images(sample, seen, cut_short=bool(reason))
                sample = []
            if file is None:
                break
            sample.append(file)
    if reason:
        yield Member("", reason=reason)


def _next(tar: tarfile.TarFile, stream: BinaryIO, end: int) -> tuple[_File | None, str]:
    """The next file that belongs to a sample, read; or none, and what is wrong with the end."""
    while True:
        try:
            info = tar.next()
        except OSError:
            raise
        except Exception as error:
            return None, f"is cut short or damaged at byte {tar.offset} ({error})"
        tar.members.clear()  # type: ignore[attr-defined]  # else all of them pile up
        if info is None:
            stream.seek(tar.offset)
            whole = stream.read(tarfile.BLOCKSIZE) == tarfile.NUL * tarfile.BLOCKSIZE
            return None, "" if whole else f"is cut short or damaged at byte {tar.offset}"
        has_bytes = info.isreg() and not info.issparse()  # a sparse file is larger than what lies there
        if info.size < 0 or tar.offset <= info.offset or (has_bytes and info.offset_data + info.size > end):
            return None, f"is cut short or damaged within {printable(info.name)}"
        found = SAMPLE.fullmatch(info.name)
        suffix = "." + found[2].lower() if found else ""
        if found and info.isreg() and suffix.endswith(IMAGE_SUFFIXES + LABEL_SUFFIXES):
            return _read(stream, info, found[1], suffix), ""


def _read(stream: BinaryIO, info: tarfile.TarInfo, key: str, suffix: str) -> _File:
    if info.issparse() or info.size > MAX_BYTES:
        return _File(key, suffix, printable(info.name), info.offset_data, b"", "is a sparse file, or too large")
    stream.seek(info.offset_data)
    return _File(key, suffix, printable(info.name), info.offset_data, stream.read(info.size))


def _images(sample: list[_File], seen: set[str], cut_short: bool) -> Iterator[Member]:
    images = [file for file in sample if file.suffix.endswith(IMAGE_SUFFIXES)]
    if not images:
        yield Member(_unlike(sample[0], seen), reason="no image has its key")
        return
    # Of KEY.jpg and KEY.mask.png the first is meant.
    meant = min(images, key=lambda file: file.suffix.count("."))
    try:
        label, reason = _label(sample, cut_short), ""
    except ValueError as error:
        label, reason = "", str(error)
    for file in images:
        why = "is not the first image of its key" if file is not meant else file.reason or reason
        why = "has the name of another one in this container" if file.name in seen else why
        name = _unlike(file, seen)
        yield Member(name, reason=why) if why else Member(name, file.start, len(file.content), label, file.content)


def _unlike(file: _File, seen: set[str]) -> str:
    """Its name; with where it lies behind it, where the name is taken."""
    name = f"{file.name}@{file.start}" if file.name in seen else file.name
    seen.add(name)
    return name


def _label(sample: list[_File], cut_short: bool) -> str:
    """The class of a sample; ValueError: it says none that can be read, or would have said it behind the cut."""
    if cut_short and not any(file.suffix in LABEL_SUFFIXES for file in sample):
        raise ValueError("its container ends before a label")
    contents = {file.suffix: file.content for file in reversed(sample)}
    try:
        if ".cls" in contents:
            return class_name(contents[".cls"])
        told = json.loads(contents.get(".json", b"{}"))
        return class_name(told.get("label", told.get("cls"))) if isinstance(told, dict) else ""
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its label cannot be read ({error})") from error
