"""No image is on two sides or of two classes, whatever it comes from; those that were are named."""

import time

import numpy as np
import pytest
from made_up import arrays, class_folders, fails, paint, values

from tl_keras.data.lazy import Resized
from tl_keras.data.leakage import cleaned
from tl_keras.data.sources import load
from tl_keras.data.splits import Split


def named(data):
    return [(image.id, image.reason) for image in data.quarantine]


# ------------------------------------------------------------------------------------------------- files


def test_an_image_under_two_labels_is_not_learned_at_all(tmp_path, capfd):
    class_folders(tmp_path, count=10)
    for copy in ("dog/same.png", "cat/same.png", "cat/again.png", "dog/20.png"):  # dog/20.png: as cat/00.png
        paint(tmp_path / copy, 20 if copy == "dog/20.png" else 200)
    paint(tmp_path / "dog/twice.png", 5)  # a copy with the same label
    data = load(tmp_path)
    out = ("cat/00.png", "cat/again.png", "cat/same.png", "dog/20.png", "dog/same.png")
    assert named(data) == [(id, "also there under another label") for id in out]
    assert sorted(values(data.train) + values(data.test)) == sorted([*range(10), 5, *range(21, 30)])
    assert "5 images of the train split are also there under another label" in capfd.readouterr().err


def test_an_image_under_two_labels_in_a_table_is_not_learned(tmp_path):
    for number in range(10):
        paint(tmp_path / f"{number}.png", number)
    rows = [f"{number}.png,{'ab'[number % 2]},{'train' if number < 6 else 'test'}" for number in range(10)]
    (tmp_path / "list.csv").write_text("\n".join([*rows, "0.png,b"]))
    data = load(tmp_path / "list.csv")
    assert [image.id for image in data.quarantine] == ["0.png"] * 2 and values(data.train) == [1, 2, 3, 4, 5]


def test_nothing_is_chosen_by_an_image_that_is_measured_on(tmp_path):
    for part, start in (("train", 0), ("val", 100), ("test", 200)):
        class_folders(tmp_path / part, count=3, start=start)
    paint(tmp_path / "val/dog/copy.png", 201)
    paint(tmp_path / "train/cat/copy.png", 201)
    data = load(tmp_path)
    assert named(data) == [(f"{place}/copy.png", "also in the test images") for place in ("train/cat", "val/dog")]
    assert values(data.validation) == [120, 121, 122, 100, 101, 102] and len(data.test) == 6


# ------------------------------------------------------------------------------------------------ arrays


@pytest.mark.parametrize("shape", [(8, 8, 3), (8, 8)])
@pytest.mark.parametrize("size", [None, (4, 6)])
def test_arrays_have_no_image_on_two_sides_or_of_two_classes(tmp_path, capfd, shape, size):
    made = arrays(shape)
    made["x_train"][[2, 7]] = made["x_test"][4]
    made["x_train"][9] = made["x_train"][10]  # of classes 0 and 1
    made["x_train"][0] = made["x_train"][3]  # both of class 0
    np.savez(tmp_path / "mine.npz", **made)
    data = load(tmp_path / "mine.npz", size=size)
    assert named(data) == [
        ("2", "also in the test images"), ("7", "also in the test images"),
        ("9", "also there under another label"), ("10", "also there under another label"),
    ]  # fmt: skip
    assert data.train.ids.tolist() == ["0", "1", "3", "4", "5", "6", "8", "11"] and len(data.test) == 6
    assert data.train.labels.tolist() == [0, 1, 0, 1, 2, 0, 2, 2]
    assert capfd.readouterr().err.count("WARNING: mine: 2 images of the train split") == 2
    if size is None:
        kept = made["x_train"][data.train.ids.astype(int)]
        np.testing.assert_array_equal(data.train.images[..., 0], kept if shape == (8, 8) else kept[..., 0])


def test_arrays_whose_test_images_were_all_learned_are_refused(tmp_path):
    made = arrays()
    np.savez(tmp_path / "mine.npz", **made | {"x_train": made["x_test"], "y_train": made["y_test"]})
    fails("expected training images of every class, received none of '0' .6 are left out, the first: 0: also in the",
          tmp_path / "mine.npz")  # fmt: skip


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_named_sets_are_left_as_they_were_published(tmp_path, name):
    images, labels = np.zeros((20, 4, 4, 3), np.uint8), np.arange(20) % 10
    np.savez(tmp_path / f"{name}.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    data = load(name, data_dir=tmp_path)
    assert (len(data.train), len(data.test), data.quarantine) == (20, 20, ())


# ---------------------------------------------------------------------------------------------- any split


@pytest.mark.parametrize("lazy", [False, True])
def test_many_mapped_images_take_seconds(tmp_path, lazy):
    images = np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, (60_000, 28, 28, 1))
    images[:] = np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8)
    images[:5] = images[-5:]
    images[10] = images[21]
    train, test = images[:50_000], images[50_000:]
    splits = {
        part: Split(Resized(rows, (224, 224)) if lazy else rows, np.arange(len(rows)) % 10, tuple("0123456789"))
        for part, rows in (("train", train), ("test", test))
    }
    start = time.perf_counter()
    kept, left_out = cleaned("many", splits)
    assert time.perf_counter() - start < 10, "0.5 s on an idle core"
    assert [image.id for image in left_out] == ["0", "1", "2", "3", "4", "10", "21"]
    assert len(kept["train"]) == 49_993 and kept["test"] is splits["test"]
    assert isinstance(kept["train"].images, Resized) is lazy


def test_what_is_clean_is_not_copied():
    made = arrays()
    train = Split(made["x_train"], made["y_train"], tuple("abc"))
    test = Split(made["x_test"], made["y_test"], tuple("abc"))
    kept, left_out = cleaned("clean", {"train": train, "test": test, "unlabelled": train})
    assert kept["train"] is train and kept["test"] is test and left_out == []
    assert cleaned("clean", {"train": train, "test": test.take([])})[0]["train"] is train
