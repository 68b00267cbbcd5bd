"""Folds that hold every image out once, splits put together again, and mirror images."""

from dataclasses import replace

import numpy as np
import pytest

from tl_keras.data import lazy
from tl_keras.data.lazy import CenterCrop, Grey, LazyImages, Mirrored, Part, Resized
from tl_keras.data.splits import Split, folds, joined

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 9, 7, 3), dtype=np.uint8)
NAMES = ("ant", "bee")


@pytest.mark.parametrize("count", [2, 3, 5])
def test_each_fold_has_its_share_of_every_class(count):
    labels = RNG.permutation(np.repeat(np.arange(4), [11, 20, 7, 5]))
    found = folds(labels, np.arange(len(labels)), count, seed=0)
    assert set(found) == set(range(count))
    for number in range(4):
        held = np.bincount(found[labels == number], minlength=count)
        assert held.max() - held.min() <= 1
    sizes = np.bincount(found)
    assert sizes.max() - sizes.min() <= 1


def test_copies_are_held_out_together_and_count_once():
    labels = np.array([0] * 9 + [1] * 6)
    copies = np.array([0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9])
    found = folds(labels, copies, 3, seed=1)
    for name in np.unique(copies):
        assert len(set(found[copies == name])) == 1
    assert (found >= 0).all()


def test_training_keeps_an_image_of_every_class_whatever_is_held_out():
    labels = np.array([0, 0, 0, 0, 1, 2, 2, 3, 3])
    copies = np.array(list("abcdefghh"))  # of class 1 there is one image, of class 3 one that is there twice
    for seed in range(20):
        found = folds(labels, copies, 4, seed)
        assert (found[[4, 7, 8]] == -1).all() and (np.delete(found, [4, 7, 8]) >= 0).all()
        for fold in range(4):
            assert set(labels[found != fold]) == {0, 1, 2, 3}


def test_the_names_of_groups_decide_nothing_and_the_seed_does():
    labels = np.arange(40) % 3
    one = folds(labels, np.arange(40), 5, seed=0)
    other = folds(labels, np.array([f"{99 - number}" for number in range(40)]), 5, seed=0)
    np.testing.assert_array_equal(one, other)
    assert (folds(labels, np.arange(40), 5, seed=1) != one).any()


def test_more_folds_than_images_leave_some_empty():
    found = folds(np.array([0, 0, 1, 1]), np.arange(4), 10, seed=0)
    assert len(set(found)) == 4 and found.min() == 0


def test_what_was_cut_is_put_together_again():
    whole = Split(IMAGES, np.arange(12) % 2, NAMES, np.array([f"{number:02}.png" for number in range(12)]))
    order = RNG.permutation(12)
    parts = [whole.take(order[:5]), whole.take(order[5:6]), whole.take(order[6:])]
    again = joined(parts)
    np.testing.assert_array_equal(again.images, whole.images)
    np.testing.assert_array_equal(again.labels, whole.labels)
    np.testing.assert_array_equal(again.ids, whole.ids)
    assert again.fingerprint() == whole.fingerprint() and again.class_names == NAMES
    np.testing.assert_array_equal(joined([whole]).images, whole.images)


def test_lazy_parts_are_made_and_ids_of_any_length_are_kept():
    one = Split(Resized(IMAGES[:2], (4, 4)), [0, 1], NAMES, np.array(["b", "long/name/of/a.png"]))
    other = Split(Resized(IMAGES[2:3], (4, 4)), [1], NAMES, np.array(["a"]))
    again = joined([one, other])
    assert again.ids.tolist() == ["a", "b", "long/name/of/a.png"] and again.labels.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(again.images, Resized(IMAGES[[2, 0, 1]], (4, 4))[:])


ROWS = [3, -1, slice(None), slice(2, 9, 3), np.array([5, 1, 1]), np.array([], int), np.arange(12) % 2 == 1]


@pytest.mark.parametrize("rows", ROWS, ids=str)
def test_mirror_images_are_those_of_the_array(rows):
    made = Mirrored(IMAGES)
    assert (made.shape, made.dtype, len(made)) == (IMAGES.shape, IMAGES.dtype, 12)
    np.testing.assert_array_equal(made[rows], IMAGES[:, :, ::-1][rows])
    if not isinstance(rows, int):
        taken = made.take(rows)
        assert isinstance(taken, Mirrored) and isinstance(taken, LazyImages)
        np.testing.assert_array_equal(taken[:], IMAGES[:, :, ::-1][rows])


STACKED = [Resized(IMAGES, (5, 6)), CenterCrop(IMAGES, (4, 4)), Grey(IMAGES), Part(IMAGES, [4, 2])]


@pytest.mark.parametrize("source", STACKED, ids=lambda source: type(source).__name__)
def test_mirror_images_of_lazy_ones(source):
    made = Mirrored(source)
    assert made.shape == source.shape
    np.testing.assert_array_equal(made[:], source[:][:, :, ::-1])
    np.testing.assert_array_equal(Mirrored(made)[:], source[:])


def test_a_mirror_image_is_another_image_of_the_same_content():
    whole = Split(IMAGES, np.arange(12) % 2, NAMES)
    other = replace(whole, images=Mirrored(IMAGES))
    assert len({lazy.fingerprint(images) for images in (IMAGES, Mirrored(IMAGES), Mirrored(Mirrored(IMAGES)))}) == 3
    assert other.fingerprint() != whole.fingerprint()
    np.testing.assert_array_equal(other.contents, whole.contents)
