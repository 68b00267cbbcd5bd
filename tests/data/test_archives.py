"""Unpacking: whole or not at all, and nothing outside the folder."""

import shutil
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from tl_keras.data.archives import unpack
from tl_keras.errors import InputError


def zipped(path: Path, members: dict) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_unpack_once_and_anew_when_the_archive_changes(tmp_path, own_home):
    archive = zipped(tmp_path / "set.zip", {"a/1.png": b"one"})
    folder = unpack(archive)
    assert (folder / "a/1.png").read_bytes() == b"one"
    assert folder.parent == own_home / ".cache/tl_keras" and folder.name.startswith("set-")
    inode = (folder / "a/1.png").stat().st_ino
    assert unpack(archive) == folder and (folder / "a/1.png").stat().st_ino == inode
    zipped(archive, {"a/1.png": b"other"})
    assert (unpack(archive) / "a/1.png").read_bytes() == b"other"


@pytest.mark.parametrize("name", ["../out.png", "a/../../out.png", "/out.png", "..\\out.png"])
def test_unpack_refuses_names_outside_the_folder(tmp_path, name):
    archive = zipped(tmp_path / "set.zip", {"a/1.png": b"one", name: b"evil"})
    with pytest.raises(InputError, match=r"expected names inside the archive's folder, received.*out.png"):
        unpack(archive, tmp_path / "to/set")
    assert list((tmp_path / "to").iterdir()) == []


def test_unpack_refuses_links(tmp_path):
    link = zipfile.ZipInfo("passwd")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="received the link or device 'passwd'"):
        unpack(tmp_path / "set.zip", tmp_path / "to/set")
    assert list((tmp_path / "to").iterdir()) == []


def test_unpack_refuses_more_than_its_bound(tmp_path):
    archive = zipped(tmp_path / "set.zip", {f"{number}.png": b"x" for number in range(20)})
    data = bytearray(archive.read_bytes())
    position = data.find(b"PK\x01\x02")
    while position >= 0:  # every entry of the directory now declares 4 GiB
        data[position + 24 : position + 28] = struct.pack("<I", 2**32 - 2)
        position = data.find(b"PK\x01\x02", position + 4)
    archive.write_bytes(data)
    with pytest.raises(InputError, match="MiB unpacked, received 81919 MiB"):
        unpack(archive, tmp_path / "to/set")


@pytest.mark.parametrize(
    "total, free, kept_free",
    [(20 << 20, 20 << 20, 2), (20 << 20, 11 << 20, 2), (500 << 30, (1 << 30) + (9 << 20), 1024), (20 << 20, 0, 2)],
)
def test_unpacking_leaves_some_of_the_disk_free(tmp_path, monkeypatch, total, free, kept_free):
    archive = zipped(tmp_path / "set.zip", {"1.png": b"x" * (10 << 20)})
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(total, total - free, free))
    if free >= (10 + kept_free) << 20:
        assert (unpack(archive, tmp_path / "to/set") / "1.png").stat().st_size == 10 << 20
        return
    said = f"room for 10 MiB .*, and {kept_free} MiB that stay free, received {free >> 20} MiB; free another "
    with pytest.raises(InputError, match=said + f"{10 + kept_free - (free >> 20)} MiB"):
        unpack(archive, tmp_path / "to/set")
    assert list((tmp_path / "to").iterdir()) == []


def test_a_damaged_archive_leaves_nothing_behind(tmp_path):
    archive = zipped(tmp_path / "set.zip", {"1.png": b"one" * 99, "2.png": b"two" * 99})
    data = archive.read_bytes()
    for damaged in (b"", data[: len(data) // 2], data.replace(b"twotwo", b"twotow", 1)):
        archive.write_bytes(damaged)
        with pytest.raises(InputError, match=r"expected a whole .zip archive"):
            unpack(archive, tmp_path / "to/set")
        assert list((tmp_path / "to").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_replaced_by_a_temporary_folder(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    archive = zipped(tmp_path / "set.zip", {"1.png": b"one"})
    assert (unpack(archive) / "1.png").read_bytes() == b"one"
