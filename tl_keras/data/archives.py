"""Zip archives to folders: once, whole or not at all, and never outside the folder."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from tl_keras.errors import InputError

MAX_BYTES = 64 * 2**30
HEADROOM, SHARE = 2**30, 10  # a GiB of the disk or a tenth of it, whichever is less, stays free


def unpack(archive: str | Path, folder: str | Path | None = None) -> Path:
    """Unpack a .zip into `folder`, unless a former call has done so already.

    The files appear under `folder` only when all of them are there: a killed run leaves nothing half unpacked.

    Args:
        archive: the .zip file.
        folder: where to; None takes a folder of the user's cache that is renewed when the archive changes.

    Returns:
        The folder.

    Raises:
        InputError: damaged or encrypted, links, absolute names or `..` inside, more than `MAX_BYTES` or than may be
            put on the disk.

    >>> unpack("hymenoptera.zip")  # doctest: +SKIP
    PosixPath('/home/me/.cache/tl_keras/hymenoptera-1f0c6a2b9d3e4f57')
    """
    archive = Path(archive)
    folder = _cache_folder(archive) if folder is None else Path(folder)
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        with zipfile.ZipFile(archive) as zipped:
            _refuse_unsafe(archive, zipped.infolist())
            _refuse_too_large(archive, sum(member.file_size for member in zipped.infolist()), partial)
            zipped.extractall(partial)
        _rename(partial, folder)
    except InputError:
        raise
    except Exception as error:  # foreign bytes: BadZipFile, zlib.error, EOFError, RuntimeError, struct.error, ...
        raise InputError(
            f"{archive}: expected a whole .zip archive, received one that fails with {error}; replace it or make room"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _cache_folder(archive: Path) -> Path:
    """One folder per state of the archive; a folder of this process alone where the cache cannot be written."""
    state = archive.stat()
    key = hashlib.sha256(f"{archive.resolve()}:{state.st_mtime_ns}:{state.st_size}".encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tl_keras"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache).close()
    except OSError:
        cache = Path(tempfile.mkdtemp(prefix="tl_keras-"))
        atexit.register(shutil.rmtree, cache, ignore_errors=True)
    return cache / f"{archive.stem}-{key}"


def _refuse_unsafe(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    for member in members:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise InputError(
                f"{archive}: expected names inside the archive's folder, received {member.filename!r}; do not trust it"
            )
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(
                f"{archive}: expected files and folders, received the link or device {member.filename!r}; "
                "pack the files themselves"
            )


def _refuse_too_large(archive: Path, size: int, folder: Path) -> None:
    """Refuse what would fill the disk of `folder`; zipfile never writes more than the archive declares."""
    if size > MAX_BYTES:
        raise InputError(
            f"{archive}: expected at most {MAX_BYTES >> 20} MiB unpacked, received {size >> 20} MiB; unpack it "
            "yourself and give the folder"
        )
    disk = shutil.disk_usage(folder)
    kept_free = min(HEADROOM, disk.total // SHARE)
    lacking = size + kept_free - disk.free
    if lacking > 0:
        raise InputError(
            f"{archive}: expected room for {_mib(size)} MiB on the disk of {folder.parent}, and {_mib(kept_free)} MiB "
            f"that stay free, received {disk.free >> 20} MiB; free another {_mib(lacking)} MiB, or unpack it elsewhere "
            "and give the folder"
        )


def _mib(size: int) -> int:
    return -(-size >> 20)  # rounded up


def _rename(partial: Path, folder: Path) -> None:
    try:
        partial.chmod(0o755)  # mkdtemp's folders are the owner's alone
        partial.rename(folder)
    except OSError:
        if not folder.exists():  # else another process was faster, with the same files
            raise
