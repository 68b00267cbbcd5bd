"""Single images are read out of containers where they lie."""

import contextlib

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from made_up_containers import SAMPLES, listed, packed, recorded, table

from tl_keras.data import containers
from tl_keras.errors import InputError
from tl_keras.folders import Folder


def rows_of(root, name):
    """What a manifest says of the images in a container, and what they hold."""
    found = [member for member in containers.members(Folder(root), name) if not member.reason]
    return [(f"{name}#{member.name}", member.start, member.length, member.content) for member in found]


@pytest.mark.parametrize("place", ["disk", "memory"])
def test_any_rows_in_any_order_are_read_where_they_lie(tmp_path, place):
    packed(tmp_path / "a.tar", [*SAMPLES, ("x.tar#1.jpg", b"odd name")])
    table(tmp_path / "b.parquet", [bytes([n]) * n for n in range(200)], list(range(200)), row_group_size=70)
    recorded(tmp_path / "c-00000-of-00001", [{"image": bytes([65 + n]), "label": [n]} for n in range(5)])
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats/a.tar#1.jpg").write_bytes(b"a file")
    root = str(tmp_path)
    if place == "memory":
        root = "memory://containers-read"
        for path in tmp_path.rglob("*"):
            if path.is_file():
                Folder(root).write(path.relative_to(tmp_path).as_posix(), path.read_bytes())
    names = ("a.tar", "b.parquet", "c-00000-of-00001")
    rows = [row for name in names for row in rows_of(root, name)] + [("cats/a.tar#1.jpg", 0, -1, b"a file")]
    assert len(rows) == 4 + 200 + 5 + 1
    for asked in (rows, rows[::-1], rows[3:150:7] + rows[2:9], [rows[0], rows[-1], rows[1], rows[100], rows[2]]):
        uris, starts, lengths, contents = zip(*asked, strict=True)
        assert list(containers.read(root, uris, starts, lengths)) == list(contents)


def test_a_container_is_opened_once_for_neighbours(tmp_path, monkeypatch):
    packed(tmp_path / "a.tar", SAMPLES)
    opened, genuine = [], Folder.open
    monkeypatch.setattr(Folder, "open", lambda self, name: opened.append(name) or genuine(self, name))
    rows = rows_of(tmp_path, "a.tar") * 3
    assert len(list(containers.read(str(tmp_path), *list(zip(*rows, strict=True))[:3]))) == 9
    assert opened == ["a.tar"] * 2  # to list them, and to read them


def test_of_parquet_only_the_row_groups_asked_for_are_read(tmp_path):
    path = table(tmp_path / "b.parquet", [b"x" * 10_000 + bytes([n]) for n in range(50)], [0] * 50, row_group_size=5)
    file = pq.ParquetFile(path)
    start = (
        file.metadata.row_group(7).column(0).dictionary_page_offset
        or file.metadata.row_group(7).column(0).data_page_offset
    )
    content = bytearray(path.read_bytes())
    content[100:start] = bytes(start - 100)  # all row groups before are destroyed
    path.write_bytes(content)
    found = list(containers.read(str(tmp_path), ["b.parquet#36", "b.parquet#49"], [36, 49], [-1, -1]))
    assert [image[-1] for image in found] == [36, 49]


def test_what_is_gone_or_cut_short_is_told(tmp_path):
    packed(tmp_path / "a.tar", SAMPLES)
    table(tmp_path / "b.parquet", [b"1", None], [0, 0])
    for match, uri, start, length in (
        (r"expected .*/gone.jpg, which it names, received none; put it back", "gone.jpg", 0, -1),
        (r"expected .*/gone.tar, which it names, received none; put it back", "gone.tar#1.jpg", 512, 3),
        (r"expected .*/gone/1.jpg, which it names, received none", "gone/1.jpg", 0, -1),
        (r"expected .*/a.tar#9.jpg as it was listed, received .*\(it ends before\)", "a.tar#9.jpg", 10_000, 999),
        (r"expected .*/b.parquet#7 as it was listed", "b.parquet#7", 7, -1),
        (r"expected .*/b.parquet#1 as it was listed", "b.parquet#1", 1, -1),
    ):
        with pytest.raises(InputError, match=f"manifest: {match}") as caught:
            list(containers.read(str(tmp_path), [uri], [start], [length]))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri, length", [("../secret", -1), ("/etc/hostname", -1), ("a/../../x.tar#1", 3), ("\0", -1)])
def test_nothing_outside_the_root_is_read(tmp_path, uri, length):
    (tmp_path / "secret").write_bytes(b"secret")
    with pytest.raises(InputError, match=r"expected files in .*, received one that is called .*; do not trust"):
        list(containers.read(str(tmp_path / "root"), [uri], [0], [length]))


def test_dots_in_the_name_of_a_member_lead_nowhere(tmp_path):
    packed(tmp_path / "a.tar", [("../../1.jpg", b"one")])
    ((uri, start, length, content),) = rows_of(tmp_path, "a.tar")
    assert uri == "a.tar#../../1.jpg" and list(containers.read(str(tmp_path), [uri], [start], [length])) == [content]


@pytest.mark.parametrize("name", ["a.tar", "a.tfrecord"])
def test_a_compressed_container_is_refused_by_its_content(tmp_path, name):
    with fsspec.open(tmp_path / name, "wb", compression="gzip") as file:
        file.write(bytes(1000))
    with pytest.raises(
        InputError, match=f"{name}: expected a container that is not compressed, received gzip: .*gunzip"
    ):
        listed(tmp_path / name)


@pytest.mark.parametrize("name", ["a.tar", "a-00000-of-00001", "a.parquet"])
def test_whatever_the_bytes_there_are_rows_or_one_clear_line(tmp_path, name):
    path = tmp_path / name
    if name == "a.tar":
        packed(path, [*SAMPLES, ("d" * 120 + "/4.jpg", b"4" * 700)])
    elif name == "a.parquet":
        table(path, [bytes([n]) * 30 for n in range(40)], list(range(40)))
    else:
        recorded(path, [{"image": b"x" * 20, "label": [n], "image/class/text": b"cat"} for n in range(5)])
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for trial in range(100):
        content = np.frombuffer(whole, "uint8").copy()
        content[rng.integers(0, len(content), 1 + trial % 20)] = rng.integers(0, 256, 1 + trial % 20)
        path.write_bytes(content[: rng.integers(1, len(content)) if trial % 4 == 0 else None].tobytes())
        with contextlib.suppress(InputError):
            assert all(member.reason or isinstance(member.content, bytes) for member in listed(path))
