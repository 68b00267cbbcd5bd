"""Containers of any kind, on the disk or at a URL, come out as a manifest: splits, class names, what is refused."""

import hashlib
import io
import shutil

import fsspec
import numpy as np
import pytest
from made_up import greys, paint
from made_up_containers import packed, recorded, table
from PIL import Image

from tl_keras.data import containers, inventory
from tl_keras.data.manifest import COLUMNS, Manifest, make
from tl_keras.errors import InputError
from tl_keras.folders import Folder


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (2, 2), value).save(file, "PNG")
    return file.getvalue()


def samples(values, labelled=True):
    """Files of WebDataset samples, whose class is 10 or 9."""
    images = [(f"{value:03}.png", png(value)) for value in values]
    labels = [(f"{value:03}.cls", str(9 + value % 2).encode()) for value in values]
    pairs = zip(images, labels, strict=True)
    return [file for pair in pairs for file in (pair if labelled else pair[:1])]


def listed(manifest: Manifest, *names):
    return list(zip(*(manifest.column(name) for name in names), strict=True))


def made(data, folder, engine="local", shard_size=4):
    manifest = make(str(data), None, Folder(folder), shard_size, engine)
    at = [row for row, reason in enumerate(manifest.column("reason")) if not reason]
    asked = ([manifest.column(name)[row] for row in at] for name in COLUMNS[:3])
    digests = [hashlib.sha256(content).hexdigest() for content in containers.read(manifest.root, *asked)]
    assert digests == [manifest.column("sha256")[row] for row in at]
    return manifest


def tars(root):
    (root / "val").mkdir(parents=True)
    packed(root / "train-000.tar", samples(range(5)))
    packed(root / "train-001.tar", samples(range(5, 8)))
    packed(root / "test-000.tar", samples(range(20, 22), labelled=False))
    packed(root / "val/000.tar", samples(range(30, 32)))
    return root


def test_splits_of_containers_are_told_by_their_names_as_those_of_folders_are(tmp_path):
    manifest = made(tars(tmp_path / "pets"), tmp_path / "out")
    rows = listed(manifest, "uri", "split", "label")
    assert rows[:3] == [
        ("test-000.tar#020.png", "unlabelled", ""),
        ("test-000.tar#021.png", "unlabelled", ""),
        ("train-000.tar#000.png", "train", "9"),
    ]
    assert rows[-1] == ("val/000.tar#031.png", "test", "10"), "validation images are measured on where no others are"
    assert manifest.class_names == ("9", "10") and (manifest.images, manifest.shards) == (12, 3)
    packed(tmp_path / "pets/test-000.tar", samples(range(20, 22)))
    rows = listed(made(tmp_path / "pets", tmp_path / "again"), "uri", "split", "label")
    assert rows[0] == ("test-000.tar#020.png", "test", "9") and rows[-1][1] == "validation"


@pytest.mark.parametrize(
    "name, split",
    [
        ("train-00000-of-01024", "train"), ("validation-00000-of-00128", "validation"), ("data/test-0.parquet", "test"),
        ("my_test_pets-train.tfrecord-00000-of-00001", "train"), ("Val/000.tar", "validation"), ("000.tar", "train"),
        ("valset_3.tar", "validation"), ("cats.tar", "train"), ("test/x.tar", "test"), ("a/val/0.tar", "validation"),
    ],
)  # fmt: skip
def test_names_that_tell_a_split(name, split):
    assert inventory.split(name) == split


def test_containers_at_a_url_give_the_same_rows_as_on_the_disk(tmp_path):
    tars(tmp_path / "pets")
    remote = Folder("memory://pets-by-url/set")
    for path in (tmp_path / "pets").rglob("*.tar"):
        remote.write(path.relative_to(tmp_path / "pets").as_posix(), path.read_bytes())
    reference = made(tmp_path / "pets", tmp_path / "out")
    manifest = made(remote.url, "memory://pets-by-url/out")
    assert manifest.fingerprint == reference.fingerprint and manifest.root == remote.url
    assert make(remote.url, None, Folder("memory://pets-by-url/out"), 4, "local").images == 12
    remote.write("train-001.tar", b"other")
    with pytest.raises(InputError, match="expected the files that it lists"):
        make(remote.url, None, Folder("memory://pets-by-url/out"), 4, "local")


@pytest.mark.parametrize("place", ["disk", "memory"])
def test_a_glob_and_one_container_name_what_is_meant(tmp_path, place):
    root = tars(tmp_path / "pets").as_posix()
    if place == "memory":
        root = "memory://pets-by-glob"
        for path in (tmp_path / "pets").rglob("*.tar"):
            Folder(root).write(path.relative_to(tmp_path / "pets").as_posix(), path.read_bytes())
    assert made(f"{root}/train-*.tar", tmp_path / "1").images == 8
    assert made(f"{root}/**/[tv]*/*.tar", tmp_path / "2").column("uri").tolist() == [
        "val/000.tar#030.png",
        "val/000.tar#031.png",
    ]
    one = made(f"{root}/train-001.tar", tmp_path / "3")
    assert one.column("uri")[0] == "train-001.tar#005.png" and one.images == 3


def test_processes_give_the_same_manifest_of_containers(tmp_path):
    tars(tmp_path / "pets")
    contents = []
    for engine in ("local", "processes:2"):
        made(tmp_path / "pets", tmp_path / engine, engine)
        contents.append((tmp_path / engine / "manifest.parquet").read_bytes())
    assert contents[0] == contents[1]


def test_a_prepared_set_of_tensorflow_datasets(tmp_path):
    greys()(data_dir=tmp_path / "sets").download_and_prepare()
    manifest = made(tmp_path / "sets/greys", tmp_path / "out")
    assert manifest.class_names == ("b", "a"), "in the order of the data set's own numbers"
    rows = list(zip(*(manifest.column(name) for name in ("uri", "start", "length", "label", "split")), strict=True))
    found = []
    for content, (_, _, _, label, split) in zip(
        containers.read(manifest.root, *list(zip(*rows, strict=True))[:3]), rows, strict=True
    ):
        found.append((int(np.asarray(Image.open(io.BytesIO(content)))[0, 0]), label, split))
    assert sorted(found) == [
        *((value, "ba"[value % 2], "train") for value in range(6)),
        *((value, "ba"[value % 2], "test") for value in range(50, 54)),
    ]


def test_class_names_of_parquet_files_have_to_agree(tmp_path):
    data, told = tmp_path / "set", {"_type": "ClassLabel", "names": ["dog", "cat"]}
    data.mkdir()
    for number in range(2):
        table(data / f"train-{number}.parquet", [png(number), png(9 + number)], [1, number], label=told)
    manifest = made(data, tmp_path / "out")
    assert manifest.class_names == ("dog", "cat")
    assert listed(manifest, "uri", "label", "start") == [
        ("train-0.parquet#0", "cat", 0), ("train-0.parquet#1", "dog", 1),
        ("train-1.parquet#0", "cat", 0), ("train-1.parquet#1", "cat", 1),
    ]  # fmt: skip
    table(data / "train-1.parquet", [png(1)], [1], label={"_type": "ClassLabel", "names": ["cat", "dog"]})
    with pytest.raises(
        InputError, match=r"the same class names, in one order, .* received cat, dog and dog, cat; list"
    ):
        made(data, tmp_path / "others")


def test_a_damaged_container_is_listed_with_the_reason_among_whole_ones(tmp_path):
    (tmp_path / "set").mkdir()
    whole = table(tmp_path / "set/a.parquet", [png(1)], [0], label={"_type": "ClassLabel", "names": ["dog", "cat"]})
    (tmp_path / "set/b.parquet").write_bytes(whole.read_bytes()[:-9])
    manifest = made(tmp_path / "set", tmp_path / "out")
    assert manifest.images == 2 and manifest.class_names == ("dog", "cat")
    ((uri, split, digest, reason),) = listed(manifest, "uri", "split", "sha256", "reason")[1:]
    assert (uri, split, digest) == ("b.parquet", "unlabelled", "") and "cut short" in reason


def test_mistakes_are_one_clear_line(tmp_path):
    tars(tmp_path / "pets")
    (tmp_path / "mixed").mkdir()
    shutil.copy(tmp_path / "pets/train-000.tar", tmp_path / "mixed")
    table(tmp_path / "mixed/a.parquet", [png(1)], [0])
    for name in ("compressed", "zipped", "nothing"):
        (tmp_path / name).mkdir()
    (tmp_path / "compressed/train.tar.gz").touch()
    with fsspec.open(tmp_path / "zipped/train.tar", "wb", compression="gzip") as file:
        file.write((tmp_path / "pets/train-000.tar").read_bytes())
    recorded(tmp_path / "nothing/a.tfrecord", [{"x": [1]}])
    paint(tmp_path / "page/preview.png", 1)
    table(tmp_path / "page/a.parquet", [png(1)], [0])
    for data, match in (
        (
            "mixed",
            "expected containers of one kind, received parquet, tar in .*/mixed; give those that are meant, such",
        ),
        ("compressed", "train.tar.gz: expected a container that is not compressed, received .gz"),
        ("zipped", "train.tar: expected a container that is not compressed, received gzip"),
        (
            "nothing",
            "received none that can be read, in .* \\(has no encoded image called image/encoded or image, but x",
        ),
        ("page", r"expected folders of images, .* give the containers that lie there: '.*/page/\*\*/\*.parquet'"),
        ("pets/*.zip", r"expected \*.tar, TFRecord files or \*.parquet at .*/\*.zip, or .* received 0 other files"),
        ("memory://nowhere", "at memory://nowhere, or there class folders .* received 0 other files; check the a"),
        (
            "nonesuch://bucket/pets",
            "expected a path or a URL such as s3://bucket/folder, received nonesuch://bucket/pets",
        ),
    ):
        place = data if "://" in data else str(tmp_path / data)
        with pytest.raises(InputError, match=match) as caught:
            make(place, None, Folder(tmp_path / "out" / data.replace("/", "-")), 4, "local")
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="expected a folder apart from the data"):
        make(str(tmp_path / "pets"), None, Folder(tmp_path / "pets/out"), 4, "local")
