"""Every way images can lie on a disk comes out as labelled uint8 RGB; every mistake is one clear line."""

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from made_up import arrays, class_folders, fails, greys, values

from tl_keras.data.sources import files, load, location
from tl_keras.errors import InputError

REAL = os.environ.get("TL_KERAS_DATA")


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
    class_folders(tmp_path / "cifar10/test", classes=("ship", "airplane"), count=2, start=100)
    assert load("cifar10", data_dir=tmp_path).class_names == ("airplane", "ship")
    (tmp_path / "cifar10").rename(tmp_path / "mine")
    assert load("mine", data_dir=tmp_path).name == "mine"


def test_cifar10_has_its_class_names(tmp_path):
    labels = np.arange(20) % 10
    images = np.zeros((20, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "cifar10.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    names = load("cifar10", data_dir=tmp_path).class_names
    assert (names[0], names[3], names[9]) == ("airplane", "cat", "truck")


def test_what_cannot_be_had_is_an_error(tmp_path, capfd):
    start = time.perf_counter()
    fails("cifar10: expected cifar10.npz, cifar10.zip or cifar10/ in .*a download, received neither", "cifar10")
    fails(str(tmp_path), "mnist", data_dir=tmp_path)
    assert time.perf_counter() - start < 5
    assert capfd.readouterr() == ("", "")


def test_a_set_says_where_it_is_from_and_whether_it_may_be_mirrored(tmp_path):
    np.savez(tmp_path / "mnist.npz", **arrays((8, 8), class_names=np.array(["0", "1", "2"])))
    np.savez(tmp_path / "mine.npz", **arrays())
    said = [load(name, data_dir=tmp_path) for name in ("digits", "mnist", "mine", tmp_path / "mine.npz")]
    assert [data.source for data in said] == ["digits", "mnist", "mine", str(tmp_path / "mine.npz")]
    assert [data.mirror for data in said] == [False, False, True, True], "a mirrored digit is no digit"
    again = load(said[3].source)
    assert again.train.fingerprint() == said[3].train.fingerprint()


def test_what_is_said_of_a_set_fits_into_a_file(tmp_path):
    np.savez(tmp_path / "mine.npz", **arrays())
    data = load(tmp_path / "mine.npz")
    told = json.loads(json.dumps(data.described()))
    assert told == {
        "name": "mine", "source": str(tmp_path / "mine.npz"), "train_images": 12, "test_images": 6,
        "classes": ["0", "1", "2"], "image_shape": [8, 8, 3], "quarantined": 0,
        "fingerprint_train": data.train.fingerprint(), "fingerprint_test": data.test.fingerprint(),
    }  # fmt: skip


def test_names_that_mean_nothing(tmp_path):
    for name in ("cifar11", "no/such.npz", "a" * 5000, "a\0b"):
        fails("expected cifar10, mnist, digits, tfds:NAME, a path", name)
    for folder in (tmp_path / "gone", "", " "):
        fails("data directory: expected a folder", "mnist", data_dir=folder)
    (tmp_path / "notes.txt").touch()
    fails("expected a folder, .zip, .npz, .csv or .tsv", tmp_path / "notes.txt")


@pytest.mark.parametrize("name", ["", " ", "\t"])
@pytest.mark.parametrize("ask", [load, location, files])
def test_a_variable_that_is_not_set_is_not_the_current_folder(tmp_path, monkeypatch, ask, name):
    class_folders(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="expected a name or a path, received"):
        ask(name)
    with pytest.raises(InputError, match="data directory: expected a folder, received ''"):
        ask("pets", data_dir="")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".zip", ".npz"])
def test_suffixes_may_be_written_in_capitals(tmp_path, suffix):
    class_folders(tmp_path)
    path = tmp_path / f"set{suffix.upper()}"
    if suffix == ".npz":
        np.savez(tmp_path / "set.npz", **arrays())
        (tmp_path / "set.npz").rename(path)
    elif suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in tmp_path.glob("*/*.png"):
                archive.write(file, file.relative_to(tmp_path))
    else:
        rows = [f"{file.relative_to(tmp_path)},{file.parent.name}" for file in tmp_path.glob("*/*.png")]
        path.write_text("\n".join(rows).replace(",", "\t" if suffix == ".tsv" else ","))
    for data in (load(path), *([load("set", data_dir=tmp_path)] if suffix in (".npz", ".zip") else [])):
        assert data.name == "set" and len(data.train) + len(data.test) in (18, 20)


def test_importing_sources_and_using_local_sets_leaves_tensorflow_alone(tmp_path):
    class_folders(tmp_path / "pets")
    code = (
        "import sys; from tl_keras.data.sources import load; load('digits'); load(sys.argv[1]); "
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    repository = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "pets")], check=True, cwd=repository)


def test_tensorflow_datasets(tmp_path):
    greys()(data_dir=tmp_path / "tensorflow_datasets").download_and_prepare()
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
