"""Class folders are listed as `sources.load` reads them, once, in chunks, by any engine, through any kill."""

import hashlib
import json
import pickle
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up import class_folders, paint

from tl_keras.data import containers, inventory, manifest_parts, sources
from tl_keras.data.layouts import UNREAD
from tl_keras.data.manifest import COLUMNS, NAME, Manifest, make
from tl_keras.errors import InputError
from tl_keras.folders import Folder

REPOSITORY = Path(__file__).parents[2]


def made(data, folder, shard_size=7, engine="local", data_dir=None):
    return make(str(data), data_dir, Folder(folder), shard_size, engine)


def columns(manifest):
    """All rows, in order, read shard by shard."""
    shards = [manifest.shard(number) for number in range(manifest.shards)]
    return {name: [value for shard in shards for value in getattr(shard, name)] for name in COLUMNS}


def splits(root):
    class_folders(root / "train", count=10)
    class_folders(root / "test", count=3, start=100)
    class_folders(root / "val", count=2, start=160)
    return root


def only_val(root):
    class_folders(root / "train", count=10)
    class_folders(root / "val", count=2, start=160)
    return root


def competition(root):
    class_folders(root / "outer/train", ("10", "9"), count=10)
    paint(root / "outer/test/a.png", 101)
    paint(root / "outer/test/images/b.png", 102)
    paint(root / "beside.png", 103)
    return root


def table(root):
    class_folders(root / "images", count=6)
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    rows = [f"{path},{path.split('/')[1]},{'test' if '05' in path else 'train'}" for path in paths]
    (root / "table.csv").write_text("\n".join(rows))
    return root / "table.csv"


def zipped(root):
    class_folders(root / "train", count=3)
    class_folders(root / "test", count=1, start=100)
    with zipfile.ZipFile(root.parent / "set.zip", "w") as archive:
        for path in root.rglob("*.png"):
            archive.write(path, path.relative_to(root))
    return root.parent / "set.zip"


@pytest.mark.parametrize("layout", [class_folders, splits, only_val, competition, table, zipped])
def test_class_folders_are_listed_as_they_are_loaded(tmp_path, layout):
    data = layout(tmp_path / "pets")
    manifest, loaded = made(data, tmp_path / "out"), sources.load(data)
    expected = []
    for part in ("train", "test", "validation", "unlabelled"):
        split = getattr(loaded, part)
        labels = [] if split is None else [loaded.class_names[label] if label >= 0 else "" for label in split.labels]
        # What does not come with a test set has one cut off by `load`, and here is left to who reads the manifest.
        told = part if loaded.comes_with_test or part != "test" else "train"
        expected += [(str(id), told, label, "") for id, label in zip(split.ids if split else (), labels, strict=True)]
    listed = columns(manifest)
    rows = list(zip(listed["uri"], listed["split"], listed["label"], listed["reason"], strict=True))
    readable = [row for row in rows if not row[3]]
    assert readable == expected if loaded.comes_with_test else sorted(readable) == sorted(expected)
    assert manifest.class_names == loaded.class_names and len(rows) - len(readable) == len(loaded.quarantine)
    for uri, digest, reason in zip(listed["uri"], listed["sha256"], listed["reason"], strict=True):
        assert reason or hashlib.sha256((Path(manifest.root) / uri).read_bytes()).hexdigest() == digest


def test_images_in_no_class_are_listed_with_the_reason(tmp_path):
    listed = columns(made(competition(tmp_path / "pets"), tmp_path / "out"))
    at = [row for row, reason in enumerate(listed["reason"]) if reason]
    assert [(listed["uri"][row], listed["reason"][row]) for row in at] == [("../beside.png", UNREAD)]


def test_row_groups_are_shards_and_everything_can_be_read_again(tmp_path):
    manifest = made(splits(tmp_path / "pets"), tmp_path / "out", shard_size=7)
    assert (manifest.images, manifest.shards, manifest.shard_size, manifest.root) == (30, 5, 7, str(tmp_path / "pets"))
    file = pq.ParquetFile(tmp_path / "out" / NAME)
    assert [file.metadata.row_group(shard).num_rows for shard in range(5)] == [7, 7, 7, 7, 2]
    listed, again = columns(manifest), pickle.loads(pickle.dumps(Manifest(Folder(tmp_path / "out"))))
    assert len(set(listed["uri"])) == 30 and again.fingerprint == manifest.fingerprint
    for name in COLUMNS:
        assert again.column(name).tolist() == listed[name]
    assert again.column("start").dtype == np.int64 and again.column("label").dtype == object
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [NAME]
    for number in (-1, 5):
        with pytest.raises(IndexError, match=f"shard {number} of 5"):
            manifest.shard(number)
    contents = list(containers.read(manifest.root, listed["uri"], listed["start"], listed["length"]))
    assert [hashlib.sha256(content).hexdigest() for content in contents] == listed["sha256"]


def test_the_same_bytes_whatever_the_engine_the_chunks_and_their_order(tmp_path, monkeypatch):
    splits(tmp_path / "pets")
    reference = made(tmp_path / "pets", tmp_path / "0").fingerprint, (tmp_path / "0" / NAME).read_bytes()
    monkeypatch.setattr(inventory, "FILES_A_CHUNK", 4)
    made(tmp_path / "pets", tmp_path / "1", engine="processes:2")
    made(tmp_path / "pets", tmp_path / "2")
    monkeypatch.setattr(
        "tl_keras.tasks.each", lambda _, work, items, **__: ((item, work(item)) for item in items[::-1])
    )
    made(tmp_path / "pets", tmp_path / "3")
    assert (
        (tmp_path / "1" / NAME).read_bytes()
        == (tmp_path / "2" / NAME).read_bytes()
        == (tmp_path / "3" / NAME).read_bytes()
    )
    assert Manifest(Folder(tmp_path / "2")).fingerprint == reference[0]
    rows = [pq.read_table(tmp_path / f"{number}" / NAME).to_pydict() for number in (0, 2)]
    assert rows[0] == rows[1]


def test_chunks_that_are_listed_are_not_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(inventory, "FILES_A_CHUNK", 5)
    data, folder = splits(tmp_path / "pets"), Folder(tmp_path / "out")
    made(data, tmp_path / "whole")
    chunks = inventory.take(str(data), None, folder).chunks
    assert [len(chunk.entries) for chunk in chunks] == [5] * 6
    for chunk in chunks[:4]:
        manifest_parts.write(folder, chunk)
    folder.remove(manifest_parts.path_of(chunks[1]))
    read, genuine = [], Folder.read_all
    monkeypatch.setattr(Folder, "read_all", lambda self, names: read.extend(names) or genuine(self, names))
    made(data, tmp_path / "out")
    assert read == [entry.name for number in (1, 4, 5) for entry in chunks[number].entries]
    assert (tmp_path / "out" / NAME).read_bytes() == (tmp_path / "whole" / NAME).read_bytes()


def test_a_listing_that_was_killed_goes_on(tmp_path):
    data = class_folders(tmp_path / "pets", count=30)
    code = (
        "import sys, time; from tl_keras.data import inventory, manifest, manifest_parts; from tl_keras.folders import "
        "Folder; inventory.FILES_A_CHUNK = 10; write = manifest_parts.write\n"
        "def slow(*arguments): write(*arguments); time.sleep(0.2)\n"
        "manifest_parts.write = slow; manifest.make(sys.argv[1], None, Folder(sys.argv[2]), 7, 'local')"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(data), str(tmp_path / "out")], cwd=REPOSITORY)
    deadline = time.monotonic() + 60
    while len(Folder(tmp_path / "out").names()) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / NAME).exists() and len(Folder(tmp_path / "out").names("manifest")) >= 2
    assert made(data, tmp_path / "out").fingerprint == made(data, tmp_path / "whole").fingerprint
    assert not (tmp_path / "out/manifest").exists()


def test_a_manifest_is_made_once_and_only_of_the_same_data(tmp_path):
    data = class_folders(tmp_path / "pets")
    made(data, tmp_path / "out")
    before = (tmp_path / "out" / NAME).stat()
    assert made(data, tmp_path / "out").images == 20 and (tmp_path / "out" / NAME).stat() == before
    shutil.copytree(data, tmp_path / "others")
    with pytest.raises(InputError, match=r"the data that it lists, of .*/pets, received .*/others; put back"):
        made(tmp_path / "others", tmp_path / "out")
    with pytest.raises(InputError, match="shards of 7, received 8; put back"):
        made(data, tmp_path / "out", shard_size=8)
    paint(data / "cat/00.png", 99)
    with pytest.raises(InputError, match=r"the files that it lists, of .*; put back what was changed, or extract into"):
        made(data, tmp_path / "out")


def test_a_file_that_cannot_be_read_is_listed_with_the_reason(tmp_path, monkeypatch):
    data = class_folders(tmp_path / "pets")
    (data / "cat" / b"caf\xe9.png".decode("utf-8", "surrogateescape")).write_bytes(b"no UTF-8")
    listing = inventory.take(str(data), None, Folder(tmp_path / "out"))
    (data / "dog/03.png").unlink()
    monkeypatch.setattr(inventory, "take", lambda *_: listing)
    listed = columns(made(data, tmp_path / "out"))
    found = {uri: reason for uri, reason in zip(listed["uri"], listed["reason"], strict=True) if reason}
    assert found == {
        "dog/03.png": "cannot be read (No such file or directory)",
        "cat/caf\\udce9.png": "its name is no UTF-8; rename it",
    }


def test_a_folder_by_url_holds_a_manifest_too(tmp_path):
    data = class_folders(tmp_path / "pets")
    manifest = made(data, "memory://manifest-by-url")
    assert columns(manifest) == columns(made(data, tmp_path / "out"))
    assert Folder("memory://manifest-by-url").names() == [NAME]
    assert made(data, "memory://manifest-by-url").fingerprint == manifest.fingerprint


def test_mistakes_are_one_clear_line(tmp_path):
    data = class_folders(tmp_path / "pets")
    (tmp_path / "empty").mkdir()
    for match, *arguments in (
        ("expected a folder apart from the data, received .*/pets/features", data, data / "features"),
        ("expected local, processes:N", data, tmp_path / "out", 7, "clouds"),
        ("shard size: expected at least 1, received 0", data, tmp_path / "out", 0),
        ("expected folders of images, one per class", tmp_path / "empty", tmp_path / "out"),
        ("expected a folder, .zip, .csv or .tsv of image files", "nonesuch", tmp_path / "out"),
        ("expected a name or a path, received ''", "", tmp_path / "out"),
    ):
        with pytest.raises(InputError, match=match) as caught:
            made(*arguments)
        assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_what_is_no_manifest_is_told(tmp_path):
    with pytest.raises(InputError, match=r"manifest.parquet: expected a manifest, received none; extract into another"):
        Manifest(Folder(tmp_path))
    made(class_folders(tmp_path / "pets"), tmp_path / "out")
    path = tmp_path / "out" / NAME
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="expected a manifest, received a damaged file"):
        Manifest(Folder(tmp_path / "out"))
    pq.write_table(pa.table({"uri": ["a"]}), path)
    with pytest.raises(InputError, match="expected a manifest, received one of another kind"):
        Manifest(Folder(tmp_path / "out"))


def test_nothing_of_it_imports_tensorflow_and_the_import_no_pyarrow(tmp_path):
    class_folders(tmp_path / "pets")
    code = (
        "import sys, json; from tl_keras.data import manifest; from tl_keras.folders import Folder\n"
        "before = 'pyarrow' in sys.modules; manifest.make(sys.argv[1], None, Folder(sys.argv[2]), 7, 'local')\n"
        "print(json.dumps([before, 'tensorflow' in sys.modules, 'keras' in sys.modules]))"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "pets"), str(tmp_path / "out")]
    done = subprocess.run(arguments, check=True, cwd=REPOSITORY, capture_output=True, text=True)
    assert json.loads(done.stdout) == [False, False, False]
