"""Arrays come out as labelled uint8 RGB as they are; every array that does not fit is one clear line."""

import os
import pickle

import numpy as np
import pytest
from made_up import arrays, fails

from tl_keras.data.lazy import LazyImages
from tl_keras.data.sources import load


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
        ({"class_names": np.array(["a", "b", "a"])}, "expected a name for each class, received 'a' twice"),
        ({"class_names": np.array(list("abcd"))}, "expected training images of every class, received none of 'd'"),
        ({"y_test": np.arange(6) % 2}, "expected test images of every class, received none of '2'"),
        ({"x_train": np.array([None] * 12)}, "plain arrays, received one that fails with.*allow_pickle"),
    ],
)
def test_npz_arrays_that_do_not_fit(tmp_path, others, match):
    np.savez(tmp_path / "mine.npz", **arrays(**others))
    fails(match, tmp_path / "mine.npz")


def test_class_names_may_be_bytes(tmp_path):
    np.savez(tmp_path / "mine.npz", **arrays(class_names=np.array([name.encode() for name in ("Łódź", "蜜蜂", "w")])))
    assert load(tmp_path / "mine.npz").class_names == ("Łódź", "蜜蜂", "w")
    np.savez(tmp_path / "mine.npz", **arrays(class_names=np.array([b"a", b"b", b"\xe4"])))
    fails("expected class_names in UTF-8, received", tmp_path / "mine.npz")


def test_classes_are_numbered_as_they_are_given(tmp_path):
    np.savez(tmp_path / "mine.npz", **arrays(class_names=np.array([10, 9, 0])))
    assert load(tmp_path / "mine.npz").class_names == ("10", "9", "0"), "labels are places in this list"
    labels = np.arange(12) % 12
    np.savez(tmp_path / "many.npz", **arrays(y_train=labels, x_test=arrays()["x_train"][::-1] + 1, y_test=labels))
    assert load(tmp_path / "many.npz").class_names == tuple(str(number) for number in range(12))


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


@pytest.mark.parametrize("most, lazy", [(12 * 16 * 16 * 3, False), (12 * 16 * 16 * 3 - 1, True)])
def test_arrays_that_grow_too_large_are_resized_when_they_are_read(tmp_path, monkeypatch, most, lazy):
    np.savez(tmp_path / "mine.npz", **arrays())
    expected = load(tmp_path / "mine.npz", size=(16, 16)).train.images
    monkeypatch.setattr("tl_keras.data.arrays.EAGER_BYTES", most)
    images = load(tmp_path / "mine.npz", size=(16, 16)).train.images
    assert isinstance(images, LazyImages) is lazy and images.shape == (12, 16, 16, 3)
    np.testing.assert_array_equal(images[:], expected)
