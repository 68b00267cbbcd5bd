"""Every way images can lie on a disk comes out as labelled uint8 RGB; every mistake is one clear line."""

import os
import pickle
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tl_keras.data.sources import load
from tl_keras.errors import InputError

REAL = os.environ.get("TL_KERAS_DATA")
CLOSED = "http://127.0.0.1:9"  # a proxy that refuses: no test waits for a network


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("TL_KERAS_DATA", "KERAS_HOME", "XDG_CACHE_HOME", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, CLOSED)
    return home


def paint(path: Path, value: int, size=(6, 6)) -> Path:
    """A PNG of one grey value, by which tests recognise it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value,) * 3).save(path, "PNG")
    return path


def class_folders(root: Path, classes=("dog", "cat"), count=10, start=0) -> Path:
    for number, name in enumerate(classes):
        for index in range(count):
            paint(root / name / f"{index:02}.png", start + 20 * number + index)
    return root


def values(split):
    return split.images[:, 0, 0, 0].tolist()


def fails(match, *arguments, **options):
    with pytest.raises(InputError, match=match) as caught:
        load(*map(str, arguments), **options)
    assert "\n" not in str(caught.value) and "received" in str(caught.value)


# ------------------------------------------------------------------------------------------------ digits


def test_digits_are_the_scans_of_scikit_learn_in_a_fixed_stratified_split():
    from sklearn.datasets import load_digits

    scans, data = load_digits(), load("digits")
    assert (data.name, len(data.train), len(data.test), data.quarantine) == ("digits", 1437, 360, ())
    assert data.class_names == tuple("0123456789")
    for split in (data.train, data.test):
        index = split.ids.astype(int)
        np.testing.assert_array_equal(split.labels, scans.target[index])
        np.testing.assert_allclose(split.images[..., 1], scans.images[index] * 255 / 16, atol=0.5)
    share = np.bincount(data.test.labels) / np.bincount(scans.target)
    assert np.all(np.abs(share - 0.2) < 0.01)
    seen = [{image.tobytes() for image in split.images} for split in (data.train, data.test)]
    assert not seen[0] & seen[1]
    assert load("digits").test.fingerprint() == data.test.fingerprint()


def test_size_resizes_arrays():
    data = load("digits", size=(16, 12))
    assert data.train.images.shape == (1437, 16, 12, 3) and data.train.images.dtype == np.uint8


# ----------------------------------------------------------------------------------------------- folders


def test_class_folders_with_train_and_val(tmp_path):
    class_folders(tmp_path / "pets/train", count=3)
    class_folders(tmp_path / "pets/val", count=2, start=100)
    (tmp_path / "pets/train/dog/.DS_Store").write_bytes(b"hidden")
    data = load(tmp_path / "pets", size=(4, 5))
    assert data.name == "pets" and data.class_names == ("cat", "dog")
    assert data.train.images.shape == (6, 4, 5, 3) and data.train.images.dtype == np.uint8
    assert values(data.train) == [20, 21, 22, 0, 1, 2] and data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert values(data.test) == [120, 121, 100, 101] and data.test.labels.tolist() == [0, 0, 1, 1]
    assert data.train.ids[3] == "train/dog/00.png" and data.test.ids[0] == "val/cat/00.png"
    assert data.quarantine == ()


@pytest.mark.parametrize("inside", ["", "train"])
def test_folders_without_a_test_set_are_cut_80_20(tmp_path, inside):
    class_folders(tmp_path / "pets" / inside)
    paint(tmp_path / "pets/test/000.png", 200)  # a competition's test images: no labels
    if not inside:
        (tmp_path / "pets/test/000.png").unlink()
        (tmp_path / "pets/test").rmdir()
    data = load(tmp_path / "pets")
    assert np.bincount(data.train.labels).tolist() == [8, 8] and np.bincount(data.test.labels).tolist() == [2, 2]
    assert sorted(values(data.train) + values(data.test)) == [*range(10), *range(20, 30)]
    assert load(tmp_path / "pets").test.ids.tolist() == data.test.ids.tolist()
    assert all((value >= 20) == (label == 0) for value, label in zip(values(data.test), data.test.labels, strict=True))


def test_a_test_folder_is_preferred_to_a_validation_folder(tmp_path):
    for part, start in (("train", 0), ("val", 100), ("test", 200)):
        class_folders(tmp_path / part, count=2, start=start)
    assert min(values(load(tmp_path).test)) == 200


def test_tiny_imagenet_folders(tmp_path):
    for number, name in enumerate(("n02", "n01")):
        for index in range(3):
            paint(tmp_path / f"tiny/train/{name}/images/{name}_{index}.JPEG", 10 * number + index)
        (tmp_path / f"tiny/train/{name}/{name}_boxes.txt").write_text("no image")
    lines = []
    for index, name in enumerate(("n01", "n02", "n01")):
        paint(tmp_path / f"tiny/val/images/val_{index}.JPEG", 50 + index)
        lines.append(f"val_{index}.JPEG\t{name}\t0\t0\t62\t62\n")
    (tmp_path / "tiny/val/val_annotations.txt").write_text("".join(lines))
    paint(tmp_path / "tiny/test/images/test_0.JPEG", 99)
    data = load(tmp_path / "tiny")
    assert data.class_names == ("n01", "n02") and values(data.train) == [10, 11, 12, 0, 1, 2]
    assert values(data.test) == [50, 51, 52] and data.test.labels.tolist() == [0, 1, 0]
    (tmp_path / "tiny/val/images/val_1.JPEG").unlink()
    fails("val_annotations.txt: expected every file.*received 1 of 3 missing, first 'val/images/val_1.JPEG'", tmp_path)


def test_a_zip_with_an_outer_folder(tmp_path, own_home):
    class_folders(tmp_path / "made/pets/train", count=3)
    class_folders(tmp_path / "made/pets/val", count=2, start=100)
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for path in sorted((tmp_path / "made").rglob("*.png")):
            archive.write(path, path.relative_to(tmp_path / "made"))
        archive.writestr("__MACOSX/pets/train/dog/._00.png", b"resource fork")
    data = load(tmp_path / "pets.zip")
    folder = load(tmp_path / "made/pets")
    assert data.name == "pets" and data.train.ids.tolist() == folder.train.ids.tolist()
    assert data.train.fingerprint() == folder.train.fingerprint()
    assert data.test.fingerprint() == folder.test.fingerprint()
    assert list(own_home.iterdir()) == [own_home / ".cache"]


def test_broken_images_are_named_and_left_out(tmp_path):
    class_folders(tmp_path / "train", count=4)
    class_folders(tmp_path / "val", count=2, start=100)
    (tmp_path / "train/cat/01.png").write_bytes(b"")
    (tmp_path / "train/cat/notes.txt").write_text("buy milk")
    whole = (tmp_path / "val/dog/00.png").read_bytes()
    (tmp_path / "val/dog/00.png").write_bytes(whole[: len(whole) // 2])
    data = load(tmp_path)
    assert [image.id for image in data.quarantine] == ["train/cat/01.png", "train/cat/notes.txt", "val/dog/00.png"]
    assert all("received" in image.reason for image in data.quarantine)
    assert values(data.train) == [20, 22, 23, 0, 1, 2, 3] and values(data.test) == [120, 121, 101]
    assert data.test.labels.tolist() == [0, 0, 1]


def test_images_that_differ_in_size_need_a_size(tmp_path):
    class_folders(tmp_path / "train", count=2)
    class_folders(tmp_path / "val", count=2)
    paint(tmp_path / "val/cat/01.png", 7, size=(9, 6))
    fails("expected one size, received 6x6 and 9x6.*give a size", tmp_path)
    assert load(tmp_path, size=(6, 6)).test.images.shape == (4, 6, 6, 3)


def test_folders_that_cannot_be_learnt_from(tmp_path):
    fails("expected folders of images, one per class, received none", tmp_path)
    class_folders(tmp_path / "one", classes=("cat",))
    fails("expected two classes or more, received one, 'cat'", tmp_path / "one")
    class_folders(tmp_path / "empty")
    (tmp_path / "empty/zebra").mkdir()
    fails("zebra: expected images in the class folder, received none", tmp_path / "empty")
    class_folders(tmp_path / "differ/train")
    class_folders(tmp_path / "differ/val", classes=("cat", "horse"))
    fails("expected the same classes.*received 'dog' only in train and 'horse' only in test", tmp_path / "differ")
    class_folders(tmp_path / "broken")
    for path in (tmp_path / "broken/cat").iterdir():
        path.write_bytes(b"no image")
    fails("expected training images of every class, received none of 'cat'", tmp_path / "broken")
    for path in (tmp_path / "broken/dog").iterdir():
        path.write_bytes(b"no image")
    fails("expected one that can be decoded, received 20 that cannot", tmp_path / "broken")


# --------------------------------------------------------------------------------------------- manifests


@pytest.mark.parametrize("kind, header", [("csv", "path,label,split\n"), ("csv", ""), ("tsv", "Path\tLabel\tSplit\n")])
def test_a_manifest_with_splits(tmp_path, kind, header):
    lines = []
    for index in range(8):
        paint(tmp_path / f"images/{index}, a.png", index)
        row = (f'"images/{index}, a.png"', "ab"[index % 2], ["train", "train", "val", "test"][index // 2])
        lines.append({"csv": ",", "tsv": "\t"}[kind].join(row))
    (tmp_path / f"list.{kind}").write_text("\ufeff" + header + "\r\n".join(lines) + "\n\n")
    data = load(tmp_path / f"list.{kind}")
    assert data.name == "list" and data.class_names == ("a", "b")
    assert values(data.train) == [0, 1, 2, 3] and data.train.labels.tolist() == [0, 1, 0, 1]
    assert values(data.test) == [4, 5, 6, 7] and data.test.ids[0] == "images/4, a.png"


def test_a_manifest_without_splits_is_cut_80_20(tmp_path):
    for index in range(20):
        paint(tmp_path / f"{index}.png", index)
    rows = "".join(f"{'ab'[index % 2]},{index}.png\n" for index in range(20))
    (tmp_path / "list.csv").write_text("label,path\n" + rows)
    data = load(tmp_path / "list.csv")
    assert len(data.train) == 16 and len(data.test) == 4
    assert [value % 2 for value in values(data.test)] == data.test.labels.tolist()


@pytest.mark.parametrize(
    "text, match",
    [
        ("path,label\n0.png,a\ngone.png,b\n", "received 1 of 2 missing, first 'gone.png'"),
        ("path,class\n0.png,a\n", "expected the columns path and label, received path, class"),
        ("0.png,a\n1.png\n", "line 2: expected path,label.*received '1.png'"),
        ("0.png,a,train\n1.png,b,holdout\n", "line 2: expected path,label and optionally train.*holdout"),
        ("0.png,a\n1.png,a\n", "expected two classes or more, received one, 'a'"),
        ("", "expected training images, received none"),
        ("0.png,a\n1.png,b,test\n0.png,b\n", "received 'a' only in train"),
        ('0.png,"a\n', "expected path,label lines, received a broken one"),
        (b"\xff\xfe\x00", "expected a text file in UTF-8"),
    ],
)
def test_manifests_that_cannot_be_read(tmp_path, text, match):
    paint(tmp_path / "0.png", 0)
    paint(tmp_path / "1.png", 1)
    (tmp_path / "list.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    fails(match, tmp_path / "list.csv")


# ------------------------------------------------------------------------------------------------- arrays


def arrays(shape=(8, 8, 3), **others):
    rng = np.random.default_rng(0)
    made = {}
    for part, count in (("train", 12), ("test", 6)):
        made[f"x_{part}"] = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        made[f"y_{part}"] = np.arange(count) % 3
    return {**made, **others}


def test_npz_images_come_out_as_they_are(tmp_path):
    made = arrays(y_train=np.arange(12).reshape(-1, 1) % 3, class_names=np.array(["x", "y", "z"]))
    np.savez(tmp_path / "mine.npz", **made)
    data = load(tmp_path / "mine.npz")
    assert data.name == "mine" and data.class_names == ("x", "y", "z")
    np.testing.assert_array_equal(data.train.images, made["x_train"])
    np.testing.assert_array_equal(data.test.images, made["x_test"])
    assert data.train.labels.tolist() == [0, 1, 2] * 4


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1)])
def test_grey_npz_is_repeated_to_three_channels(tmp_path, shape):
    made = arrays(shape)
    np.savez_compressed(tmp_path / "grey.npz", **made)
    data = load(tmp_path / "grey.npz")
    assert data.class_names == ("0", "1", "2")
    for channel in range(3):
        np.testing.assert_array_equal(data.train.images[..., channel], made["x_train"].reshape(12, 8, 8))


@pytest.mark.parametrize(
    "others, match",
    [
        ({"x_train": np.zeros((12, 8, 8, 3), "float32")}, "expected x_train uint8.*received float32"),
        ({"x_test": np.zeros((6, 3, 8, 8), "uint8")}, "x_test uint8.*received uint8 .6, 3, 8, 8.*channels last"),
        ({"x_train": np.zeros((0, 8, 8, 3), "uint8")}, "expected x_train uint8"),
        ({"x_test": np.zeros((6, 9, 9, 3), "uint8")}, "expected train and test images of one size"),
        ({"y_train": np.eye(12)[:, :3]}, r"expected y_train integers \(12,\), received float64 \(12, 3\)"),
        ({"y_train": np.arange(11) % 3}, r"expected y_train integers \(12,\), received int64 \(11,\)"),
        ({"y_test": np.full(6, 3)}, "expected labels from 0 to 2, received 3 to 3"),
        ({"y_train": np.arange(12) % 3 * 10**9}, "expected labels 0, 1, 2, ... without gaps, received 3 classes"),
        ({"y_train": np.arange(12) % 3 - 1}, "without gaps"),
        ({"y_train": np.zeros(12, int), "y_test": np.zeros(6, int)}, "expected two classes or more, received 1"),
        ({"class_names": np.array(["a", "b"])}, "expected labels from 0 to 1, received 0 to 2"),
        ({"class_names": np.array(list("abcd"))}, "expected training images of every class, received none of 'd'"),
        ({"x_train": np.array([None] * 12)}, "plain arrays, received one that fails with.*allow_pickle"),
    ],
)
def test_npz_arrays_that_do_not_fit(tmp_path, others, match):
    np.savez(tmp_path / "mine.npz", **arrays(**others))
    fails(match, tmp_path / "mine.npz")


class Evil:
    def __reduce__(self):
        return os._exit, (66,)


def test_damaged_npz_files(tmp_path):
    path = tmp_path / "mine.npz"
    made = arrays()
    del made["y_test"]
    np.savez(path, **made)
    fails("expected arrays x_train, y_train, x_test, y_test, received x_train, y_train, x_test; add y_test", path)
    np.savez(path, **arrays())
    whole = path.read_bytes()
    np.save(tmp_path / "one.npy", np.zeros(3))
    foreign = [(tmp_path / "one.npy").read_bytes(), pickle.dumps(Evil()), b"", b"text"]
    for damaged in [whole[: len(whole) // 2], whole.replace(b"NUMPY", b"numpy"), *foreign]:
        path.write_bytes(damaged)
        fails("mine.npz: expected a whole .npz of plain arrays, received one that fails with", path)


# ------------------------------------------------------------------------------------------ named sets


def test_named_sets_are_found_in_the_data_directories_in_order(tmp_path, monkeypatch, own_home):
    places = [tmp_path / "given", tmp_path / "environment", own_home / ".keras/datasets"]
    labels = np.arange(10)
    for value, place in enumerate(places):
        place.mkdir(parents=True)
        images = np.full((10, 8, 8), value, np.uint8)
        np.savez(place / "mnist.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    monkeypatch.setenv("TL_KERAS_DATA", str(places[1]))
    for value in range(3):
        found = load("mnist", data_dir=places[0] if value == 0 else None)
        assert values(found.train)[0] == value
        if value:
            (places[value] / "mnist.npz").unlink()


def test_a_named_set_may_be_a_folder_or_archive(tmp_path):
    class_folders(tmp_path / "cifar10/train", classes=("ship", "airplane"), count=2)
    class_folders(tmp_path / "cifar10/test", classes=("ship", "airplane"), count=2)
    assert load("cifar10", data_dir=tmp_path).class_names == ("airplane", "ship")
    (tmp_path / "cifar10").rename(tmp_path / "mine")
    assert load("mine", data_dir=tmp_path).name == "mine"


def test_cifar10_has_its_class_names(tmp_path):
    labels = np.arange(20) % 10
    images = np.zeros((20, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "cifar10.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    names = load("cifar10", data_dir=tmp_path).class_names
    assert (names[0], names[3], names[9]) == ("airplane", "cat", "truck")


def test_what_cannot_be_had_is_an_error_or_a_loud_fallback(tmp_path, capfd):
    start = time.perf_counter()
    fails("cifar10: expected cifar10.npz, cifar10.zip or cifar10/ in .*a download, received neither", "cifar10")
    fails(str(tmp_path), "mnist", data_dir=tmp_path)
    assert capfd.readouterr() == ("", "")
    data = load("mnist", fallback=True)
    assert time.perf_counter() - start < 5
    assert data.name == "digits" and len(data.train) == 1437
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and "GOING ON WITH 'digits', NOT 'mnist'" in err


def test_a_set_that_is_there_but_damaged_is_never_replaced(tmp_path):
    (tmp_path / "mnist.npz").write_bytes(b"PK\x03\x04")
    fails("mnist.npz: expected a whole .npz", "mnist", data_dir=tmp_path, fallback=True)


def test_names_that_mean_nothing(tmp_path):
    for name in ("cifar11", "no/such.npz", "", "a" * 5000, "a\0b"):
        fails("expected cifar10, mnist, digits, tfds:NAME, a path", name, fallback=True)
    fails("data directory: expected a folder", "mnist", data_dir=tmp_path / "gone")
    (tmp_path / "notes.txt").touch()
    fails("expected a folder, .zip, .npz, .csv or .tsv", tmp_path / "notes.txt")


def test_importing_sources_and_using_local_sets_leaves_tensorflow_alone(tmp_path):
    class_folders(tmp_path / "pets")
    code = (
        "import sys; from tl_keras.data.sources import load; load('digits'); load(sys.argv[1]); "
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    repository = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "pets")], check=True, cwd=repository)


def test_tensorflow_datasets(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")

    class Greys(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": tfds.features.Image(shape=(None, 6, 1)), "label": tfds.features.ClassLabel(names="ba")}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, _):
            return {"train": self._generate_examples(0, 6), "validation": self._generate_examples(50, 54)}

        def _generate_examples(self, first, last):
            for value in range(first, last):
                image = np.full((6 + value % 3, 6, 1), value, np.uint8)
                yield value, {"image": image, "label": value % 2}

    Greys(data_dir=tmp_path / "tensorflow_datasets").download_and_prepare()
    data = load("tfds:greys", data_dir=tmp_path, size=(6, 6))
    assert data.name == "tfds:greys" and data.class_names == ("b", "a")
    assert sorted(values(data.train)) == list(range(6)) and sorted(values(data.test)) == list(range(50, 54))
    assert [value % 2 for value in values(data.test)] == data.test.labels.tolist()
    assert data.test.ids[0] == "validation/0" and data.train.images.shape == (6, 6, 6, 3)
    start = time.perf_counter()
    fails("tfds:nonesuch: expected a set prepared in .*or a download, received neither", "tfds:nonesuch")
    fails("tfds:beans: expected a set prepared in .*or a download, received neither", "tfds:beans")
    assert time.perf_counter() - start < 5


# ------------------------------------------------------------------------------------------- real data


def real(name):
    if not REAL or not any((Path(REAL) / f"{name}{suffix}").exists() for suffix in ("", ".npz", ".zip")):
        pytest.skip(f"$TL_KERAS_DATA has no {name}")
    return REAL


def test_the_real_cifar10():
    data = load("cifar10", data_dir=real("cifar10"))
    assert np.bincount(data.train.labels).tolist() == [5000] * 10
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    mean = data.train.images.mean((0, 1, 2)) / 255  # the means that everybody normalises with
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=1e-4)


def test_the_real_hymenoptera():
    data = load("hymenoptera", data_dir=real("hymenoptera"), size=(64, 64))
    assert (len(data.train), len(data.test), data.class_names) == (245, 153, ("ants", "bees"))
    assert data.train.images.std() > 30


def test_the_real_tiny_imagenet():
    data = load("tiny-imagenet-5", data_dir=real("tiny-imagenet-5"))
    assert data.train.images.shape == (2500, 64, 64, 3) and np.bincount(data.test.labels).tolist() == [50] * 5
