"""What lies at a URL is listed as it is on the disk, and asked for in few requests."""

import csv
import io

import fsspec
import numpy as np
import pytest
from made_up import class_folders, paint
from made_up_containers import table
from PIL import Image

from tl_keras.data import containers, inventory, manifest_parts, remote
from tl_keras.data.manifest import make
from tl_keras.errors import InputError
from tl_keras.folders import Folder


def folders(root):
    class_folders(root)
    (root / "cat/.DS_Store").write_bytes(b"hidden")
    (root / ".cache").mkdir()
    (root / ".cache/1.png").write_bytes(b"hidden")


def splits(root):
    for part, start in (("train", 0), ("val", 100), ("test", 200)):
        class_folders(root / part, count=3, start=start)


def competition(root):
    class_folders(root / "train", count=5)
    class_folders(root / "val", count=2, start=100)
    paint(root / "test/b.png", 200)
    paint(root / "test/a.png", 201)
    paint(root / "beside.png", 202)


def outer_folder(root):
    class_folders(root / "pets-v2/images", count=3)
    paint(root / "preview.png", 202)


def tiny_imagenet(root):
    for number, name in enumerate(("n02", "n01")):
        for index in range(3):
            paint(root / "train" / name / "images" / f"{index}.png", 10 * number + index)
        paint(root / "val/images" / f"{name}.png", 100 + number)
    (root / "val/val_annotations.txt").write_text("n01.png\tn01\t0\t0\nn02.png\tn02\t0\t0\n")


def listed_in_a_table(root):
    class_folders(root / "images", count=3)
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label"], *([name, name.split("/")[1]] for name in names)])


def sent(folder, url):
    """A folder of the disk with all that is in it, at a URL."""
    for path in folder.rglob("*"):
        if path.is_file():
            Folder(url).write(path.relative_to(folder).as_posix(), path.read_bytes())
    return url


@pytest.mark.parametrize(
    "made, name",
    [
        (folders, ""), (splits, ""), (competition, ""), (outer_folder, ""), (tiny_imagenet, ""),
        (listed_in_a_table, "/labels.csv"),
    ],
)  # fmt: skip
def test_class_folders_and_tables_at_a_url_are_listed_as_on_the_disk(tmp_path, made, name):
    made(tmp_path / "pets")
    url = sent(tmp_path / "pets", f"memory://remote-{made.__name__}")
    here = make(f"{tmp_path}/pets{name}", None, Folder(tmp_path / "here"), 7, "local")
    there = make(url + name, None, Folder(tmp_path / "there"), 7, "local")
    assert there.root.startswith(url) and there.class_names == here.class_names
    for column in ("uri", "label", "split", "sha256", "reason"):
        assert there.column(column).tolist() == here.column(column).tolist()
    assert there.fingerprint == here.fingerprint
    row = there.column("reason").tolist().index("")
    (content,) = containers.read(there.root, *([there.column(column)[row]] for column in ("uri", "start", "length")))
    assert np.ptp(np.asarray(Image.open(io.BytesIO(content)))) == 0, "an image of one grey"


def test_a_slash_at_the_end_means_the_same(tmp_path):
    folders(tmp_path / "pets")
    url = sent(tmp_path / "pets", "memory://remote-slash/pets")
    manifest = make(url + "/", None, Folder(tmp_path / "out"), 7, "local")
    assert manifest.root == url and manifest.column("uri")[0] == "cat/00.png"
    assert make(url, None, Folder(tmp_path / "out"), 7, "local").fingerprint == manifest.fingerprint


def test_objects_that_stand_for_folders_are_no_files(tmp_path, monkeypatch):
    folders(tmp_path / "pets")
    url = sent(tmp_path / "pets", "memory://remote-markers")
    system, root = type(fsspec.filesystem("memory")), "/remote-markers"
    markers = {name: {"type": "file", "size": 0} for name in (f"{root}/", f"{root}/cat/", f"{root}/cat/empty/")}
    genuine = system.find
    monkeypatch.setattr(system, "find", lambda *args, **given: markers | genuine(*args, **given))
    assert make(url, None, Folder(tmp_path / "out"), 7, "local").images == 20


def test_one_image_that_was_changed_is_noticed(tmp_path):
    outer_folder(tmp_path / "pets")
    url = sent(tmp_path / "pets", "memory://remote-changed")
    make(url, None, Folder(tmp_path / "out"), 7, "local")
    Folder(url).write("pets-v2/images/cat/00.png", b"another one")
    with pytest.raises(InputError, match=r"expected the files that it lists, of [0-9a-f]{12}, received"):
        make(url, None, Folder(tmp_path / "out"), 7, "local")


def test_an_image_that_cannot_be_read_is_listed_with_the_reason(tmp_path):
    folders(tmp_path / "pets")
    url = sent(tmp_path / "pets", "memory://remote-gone")
    listing = inventory.take(url, None, Folder(tmp_path / "out"))
    Folder(url).remove("cat/03.png")
    (chunk,) = listing.chunks
    manifest_parts.write(Folder(tmp_path / "out"), chunk)
    rows = manifest_parts.read(Folder(tmp_path / "out"), chunk, promoted=False).to_pylist()
    reasons = {row["uri"]: row["reason"] for row in rows if row["reason"]}
    assert list(reasons) == ["cat/03.png"] and reasons["cat/03.png"].startswith("cannot be read (") and len(rows) == 20


def test_nothing_is_asked_of_single_files(tmp_path, monkeypatch):
    splits(tmp_path / "pets")
    url = sent(tmp_path / "pets", "memory://remote-requests")
    system, asked = type(fsspec.filesystem("memory")), []
    for name in ("info", "ls", "cat_file", "isfile", "exists"):
        method = getattr(system, name)

        def counted(*args, method=method, name=name, **kwargs):
            asked.append(name)
            return method(*args, **kwargs)

        monkeypatch.setattr(system, name, counted)
    inventory.take(url, None, Folder(tmp_path / "out"))
    assert 0 < len(asked) < 30, f"of 18 images in 10 folders: {asked}"
    assert "cat_file" not in asked


@pytest.mark.parametrize(
    "names, data, match",
    [
        (
            (),
            "",
            "at memory://remote-bad, or there class folders or a table, received 0 other files; check",
        ),
        (
            ("set.zip",),
            "/set.zip",
            "at .*/set.zip, or there class folders .* received 1 other files; .* bring them to",
        ),
        (("a/1.png", "b/1.png"), "/*/*.png", "received 2 other files"),
        (("a/1.png",), "", r"memory://remote-bad: expected two classes or more, received one, 'a'"),
        (("train/a/1.png", "train/b/1.png", "test/a/1.png"), "", "received 'b' only in train and no class only in"),
        (("test/a/1.png", "test/b/1.png"), "", "expected class folders, or train/ with class folders in it"),
        (("a/1.png", "b/records/config.json"), "", "received 'b/records/config.json', which is of a run"),
        (("a/1.png", "b/.hidden"), "", "expected two classes or more"),
    ],
)
def test_what_is_no_data_set_is_told(tmp_path, names, data, match):
    url = "memory://remote-bad"
    for name in (found := Folder(url)).names():
        found.remove(name)
    for name in names:
        found.write(name, b"x")
    with pytest.raises(InputError, match=match) as caught:
        make(url + data, None, Folder(tmp_path / "out"), 7, "local")
    assert "\n" not in str(caught.value) and not (tmp_path / "out/manifest.parquet").exists()


def test_tables_at_a_url_name_files_beside_them(tmp_path):
    folder = Folder("memory://remote-table")
    folder.write("a.png", b"x")
    for row, match in (
        ("b.png,cat", r"labels.tsv: expected every file .* received 1 of 2 missing, first 'b.png'"),
        ("../remote-table/a.png,cat", "received 1 of 2 missing, first '../remote-table/a.png'"),
        ("/remote-table/a.png,cat", "received 1 of 2 missing"),
    ):
        folder.write("labels.tsv", f"a.png,dog\n{row}\n".replace(",", "\t").encode())
        with pytest.raises(InputError, match=match):
            make("memory://remote-table/labels.tsv", None, Folder(tmp_path), 7, "local")


def test_containers_beside_class_folders_are_hinted_at(tmp_path):
    folder = Folder("memory://remote-page")
    folder.write("preview.png", b"x")
    folder.write("a.parquet", table(tmp_path / "a.parquet", [b"x"], [0]).read_bytes())
    with pytest.raises(InputError, match=r"give the containers that lie there: 'memory://remote-page/\*\*/\*.parquet'"):
        make(folder.url, None, Folder(tmp_path / "out"), 7, "local")
    with pytest.raises(InputError, match="expected a folder apart from the data"):
        make(folder.url, None, Folder("memory://remote-page/out"), 7, "local")


def test_a_path_of_a_listing_answers_as_one_of_the_disk(tmp_path):
    competition(tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    here, there = tmp_path, remote.RemotePath(Folder("memory://remote-path"), names)
    for name in ("", "train", "train/cat", "test/a.png", "nothing", "test/a.png/x"):
        one, other = here / name, there / name
        assert (one.is_dir(), one.is_file(), one.suffix) == (other.is_dir(), other.is_file(), other.suffix)
    for pattern in ("*", "*.png", "nothing"):
        for ways in ("glob", "rglob"):
            ours, theirs = (sorted(getattr(root, ways)(pattern)) for root in (there, here))
            assert [path.relative_to(there).as_posix() for path in ours] == [
                path.relative_to(here).as_posix() for path in theirs
            ]
    assert str(there / "train" / "cat") == "memory://remote-path/train/cat" == str((there / "train/cat/x.png").parent)
    assert there / "train/cat" in {there / "train" / "cat"} and there / "train" != there / "test"
