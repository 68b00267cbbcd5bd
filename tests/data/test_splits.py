"""Cutting labelled images: what is kept, that nothing leaks, that the same seed gives the same cut."""

import numpy as np
import pytest

from tl_keras.data import splits
from tl_keras.data.sources import load
from tl_keras.data.splits import Split, by_class, drawn, limit, per_class, stratified
from tl_keras.errors import InputError


def split_of(counts, side=4):
    """Images that all differ in content, `counts[k]` of class k, shuffled."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    images = rng.integers(0, 256, (len(labels), side, side, 3), dtype=np.uint8)
    return Split(images, labels, tuple(f"class {number}" for number in range(len(counts))))


def contents(split):
    return {image.tobytes() for image in split.images}


def test_split_refuses_what_does_not_belong_together():
    images = np.zeros((3, 2, 2, 3), np.uint8)
    with pytest.raises(InputError, match="3 images, 2 labels"):
        Split(images, [0, 1], ("a", "b"))
    with pytest.raises(InputError, match="expected labels from 0 to 1, received 0 to 2"):
        Split(images, [0, 1, 2], ("a", "b"))
    with pytest.raises(InputError, match="received -1 to 1"):
        Split(images, [0, 1, -1], ("a", "b"))


def test_by_class_keeps_the_images_and_renumbers_in_the_order_asked_for():
    split = split_of([5, 6, 7, 8])
    part = by_class(split, [3, 1])
    assert part.class_names == ("class 3", "class 1")
    kept = np.flatnonzero(np.isin(split.labels, [3, 1]))
    np.testing.assert_array_equal(part.images, split.images[kept])
    np.testing.assert_array_equal(part.ids, split.ids[kept])
    np.testing.assert_array_equal(part.labels, np.where(split.labels[kept] == 3, 0, 1))


def hidden(count=4):
    images = np.random.default_rng(1).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return Split(images, np.full(count, -1), ("class 0", "class 1", "class 2"))


def test_labels_may_be_hidden_for_all_images_or_for_none():
    split = hidden()
    assert not split.labelled and split_of([3, 3]).labelled
    assert split.take([2, 0]).labels.tolist() == [-1, -1] and not split.take([2, 0]).labelled
    assert split.fingerprint() != Split(split.images, np.zeros(4, int), split.class_names).fingerprint()


def test_by_class_keeps_images_whose_class_is_hidden():
    split = hidden()
    for classes in ([2, 0], [0]):  # the last class and without it
        part = by_class(split, classes)
        assert part.class_names == tuple(f"class {number}" for number in classes)
        assert part.labels.tolist() == [-1] * 4 and part.images is split.images


def test_a_part_has_the_images_that_are_taken_and_knows_its_whole():
    split = split_of([5, 6])
    part, taken = split.part([7, 1, 2]), split.take([7, 1, 2])
    np.testing.assert_array_equal(part.images[:], taken.images)
    np.testing.assert_array_equal(part.labels, taken.labels)
    assert part.ids.tolist() == taken.ids.tolist() == ["7", "1", "2"]
    assert part.images.whole is split.images and part.images.rows.tolist() == [7, 1, 2]
    assert len({part.fingerprint(), split.part([7, 1]).fingerprint(), split.part([7, 2, 1]).fingerprint()}) == 3
    assert part.fingerprint() == split_of([5, 6]).part([7, 1, 2]).fingerprint()
    assert limit(split.part(np.arange(11)), 6, seed=0).ids.tolist() == limit(split, 6, seed=0).ids.tolist()


def test_stratified_halves_share_no_image_and_lose_none():
    split = split_of([40, 80, 20])
    first, second = stratified(split, 0.25, seed=3)
    assert np.bincount(first.labels).tolist() == [30, 60, 15]
    assert np.bincount(second.labels).tolist() == [10, 20, 5]
    assert not contents(first) & contents(second)
    assert contents(first) | contents(second) == contents(split)
    for part in (first, second):  # labels stay with their images
        np.testing.assert_array_equal(part.labels, split.labels[part.ids.astype(int)])
        np.testing.assert_array_equal(part.images, split.images[part.ids.astype(int)])


def test_the_seed_decides_the_cut():
    split = split_of([40, 40])
    ids = [stratified(split, 0.5, seed)[1].ids.tolist() for seed in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]


def test_stratified_says_when_a_class_is_too_small():
    with pytest.raises(InputError, match="expected images of every class on both sides, received 11 images of 2"):
        stratified(split_of([10, 1]), 0.5, seed=0)


def test_limit_keeps_the_proportions():
    split = split_of([60, 30])
    assert np.bincount(limit(split, 30, seed=0).labels).tolist() == [20, 10]
    assert limit(split, 30, seed=0).ids.tolist() == limit(split, 30, seed=0).ids.tolist()
    for count in (None, 90, 1000):
        assert limit(split, count, seed=0) is split


@pytest.mark.parametrize("counts", [[4, 4], [7, 1], [1, 1, 1], [2, 9, 3, 1], [3] * 10, [30, 2], [1, 25, 1]])
@pytest.mark.parametrize("copies", [1, 3])
def test_every_limit_from_the_number_of_classes_on_gives_some_of_every_class(counts, copies):
    split = split_of(counts)
    rows = np.sort(np.concatenate([np.arange(len(split)), np.zeros(copies - 1, int)]))  # copies of one image
    split = Split(split.images[rows], split.labels[rows], split.class_names)
    for count in range(len(counts), len(split) + 2):
        part = limit(split, count, seed=1)
        assert len(part) == len(set(part.ids)) == min(count, len(split))
        assert np.bincount(part.labels, minlength=len(counts)).min() >= 1
        kept = part.ids.astype(int)
        np.testing.assert_array_equal(part.images, split.images[kept])
        np.testing.assert_array_equal(part.labels, split.labels[kept])
        assert part.ids.tolist() == limit(split, count, seed=1).ids.tolist()
    for count in range(1, len(counts)):
        with pytest.raises(InputError, match=f"limit: expected at least {len(counts)}, .* received {count}; raise it"):
            limit(split, count, seed=1)


def test_limits_near_the_size_of_a_set_keep_the_proportions():
    train = load("digits").train
    for count in (10, 11, 1427, 1428, 1432, 1436):
        part = limit(train, count, seed=0)
        assert len(part) == count and len(set(part.ids)) == count
        share = np.bincount(part.labels) / np.bincount(train.labels)
        assert np.ptp(share) * np.bincount(train.labels).min() <= 2, "to an image"


def test_a_rare_class_is_on_both_sides_of_a_cut():
    for seed in range(10):
        first, second = stratified(split_of([100, 2, 3]), 0.2, seed)
        assert np.bincount(second.labels).tolist()[1:] == [1, 1] and np.bincount(first.labels).tolist()[1:] == [1, 2]
        first, second = stratified(split_of([100, 2]), 0.9, seed)
        assert np.bincount(first.labels)[1] == np.bincount(second.labels)[1] == 1
        assert not contents(first) & contents(second)


def test_per_class_draws_so_many_of_each_and_leaves_the_rest():
    split = split_of([40, 12, 25])
    drawn, rest = per_class(split, 10, seed=3)
    assert np.bincount(drawn.labels).tolist() == [10, 10, 10] and np.bincount(rest.labels).tolist() == [30, 2, 15]
    assert not contents(drawn) & contents(rest) and contents(drawn) | contents(rest) == contents(split)
    for part in (drawn, rest):  # in the order of the whole, labels and images together
        rows = part.ids.astype(int)
        assert rows.tolist() == sorted(rows)
        np.testing.assert_array_equal(part.labels, split.labels[rows])
        np.testing.assert_array_equal(part.images, split.images[rows])
    assert len(per_class(split, 12, seed=3)[1]) == 41


def test_smaller_draws_lie_within_larger_ones_of_the_same_seed():
    split = split_of([60, 55])
    draws = [set(per_class(split, count, seed=1)[0].ids) for count in (1, 10, 30, 50)]
    assert draws[0] < draws[1] < draws[2] < draws[3]
    assert set(per_class(split, 10, seed=1)[0].ids) == draws[1] != set(per_class(split, 10, seed=2)[0].ids)
    alone = by_class(split, [0])
    assert set(per_class(alone, 10, seed=1)[0].ids) == {id for id in draws[1] if split.labels[int(id)] == 0}


def test_per_class_draws_no_image_twice_and_leaves_no_copy():
    split = split_of([6, 6])
    twice = Split(np.repeat(split.images, 2, 0), np.repeat(split.labels, 2), split.class_names)
    drawn, rest = per_class(twice, 4, seed=0)
    assert len(contents(drawn)) == len(drawn) == 8
    assert len(rest) == 8 and not contents(drawn) & contents(rest)


def test_per_class_says_what_is_lacking():
    for count in (8, 0, -1):
        with pytest.raises(InputError, match=f"expected 1 to 7, which is .* class 'class .' has, received {count}"):
            per_class(split_of([7, 9] if count < 1 else [9, 7]), count, seed=0)


def test_fingerprint_tells_any_change_and_nothing_else():
    split = split_of([3, 3])
    same = Split(split.images.copy(), split.labels.astype("int32"), list(split.class_names), split.ids[::-1])
    assert same.fingerprint() == split.fingerprint()
    images = split.images.copy()
    images[2, 1, 1, 1] ^= 1
    changed = [
        Split(images, split.labels, split.class_names),
        Split(split.images, 1 - split.labels, split.class_names),
        Split(split.images, split.labels, ("class 0", "other")),
        Split(split.images.reshape(6, 8, 2, 3), split.labels, split.class_names),
        split.take(np.arange(6)[::-1]),
        split.take(np.arange(5)),
    ]
    prints = {split.fingerprint(), *(other.fingerprint() for other in changed)}
    assert len(prints) == 7
    assert split.take(np.arange(6)).fingerprint() == split.fingerprint()


@pytest.mark.parametrize("count, most, expected", [(100, 30, 30), (30, 100, 30), (1, 1, 1)])
def test_images_to_look_at_are_drawn_once_each_and_always_the_same(count, most, expected):
    rows = drawn(count, most)
    assert len(rows) == expected and np.all(np.diff(rows) > 0) and rows[-1] < count
    np.testing.assert_array_equal(rows, drawn(count, most))


def test_what_an_image_contains_is_found_once_and_goes_with_it(monkeypatch):
    split = split_of([20, 20])
    fresh = split.take([5, 1, 5]).contents
    assert fresh[0] == fresh[2] != fresh[1]
    known = split.contents
    monkeypatch.setattr(splits, "contents", lambda *given: pytest.fail("computed again"))
    for rows in ([5, 1, 5], slice(3, 9), np.arange(40) % 7 == 0):
        part = split.take(rows)
        np.testing.assert_array_equal(part.contents, known[rows])
        np.testing.assert_array_equal(part.take([1, 0]).contents, known[rows][[1, 0]])
    np.testing.assert_array_equal(split.take([5, 1, 5]).contents, fresh)
