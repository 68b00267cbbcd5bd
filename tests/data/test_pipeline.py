"""A training epoch is a function of (seed, epoch); evaluation shows every image once, in order, as it is."""

import numpy as np
import pytest

from tl_keras.data import pipeline
from tl_keras.data.augment import FlipShift
from tl_keras.errors import InputError

COUNT = 23
LABELS = np.arange(COUNT) % 3


def numbered_images(count=COUNT, side=8):
    """Noise, but the first channel is the image's number: shifting and mirroring leave it readable."""
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    images[..., 0] = np.arange(count)[:, None, None]
    return images


def epochs_of(batch_size=5, arrays=None, epochs=3, seed=0, **options):
    """Epochs as lists of (inputs, labels) batches."""
    arrays = [numbered_images()] if arrays is None else arrays
    batches = pipeline.training_batches(arrays, LABELS, batch_size=batch_size, epochs=epochs, seed=seed, **options)
    batches = list(batches.as_numpy_iterator())
    steps = pipeline.steps_per_epoch(COUNT, batch_size)
    return [batches[start : start + steps] for start in range(0, len(batches), steps)]


def whole(epoch):
    """An epoch's images in the order of their numbers, with that order."""
    images = np.concatenate([images for images, _ in epoch])
    order = images[:, 0, 0, 0].astype(int)
    return images[np.argsort(order)], order


def assert_same_epochs(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for (images, labels), (others, other_labels) in zip(one, other, strict=True):
            np.testing.assert_array_equal(images, others)
            np.testing.assert_array_equal(labels, other_labels)


@pytest.mark.parametrize("batch_size, sizes", [(5, [5, 5, 5, 5, 3]), (23, [23]), (100, [23]), (1, [1] * 23)])
def test_every_image_once_an_epoch_with_its_label(batch_size, sizes):
    epochs = epochs_of(batch_size)
    assert len(epochs) == 3
    for epoch in epochs:
        assert [len(labels) for _, labels in epoch] == sizes
        images, order = whole(epoch)
        np.testing.assert_array_equal(images, numbered_images())
        np.testing.assert_array_equal(np.concatenate([labels for _, labels in epoch]), LABELS[order])
    assert images.dtype == np.uint8


@pytest.mark.parametrize("shape", [(10,), (28, 28, 3), (224, 224, 3), (1000, 1000, 3)])
@pytest.mark.parametrize("steps, batch_size", [(1, 1), (157, 128), (938, 64), (1000, 32), (7, 500)])
def test_python_hands_over_equal_shares_of_an_epoch_and_no_more_images_than_progress_allows(steps, batch_size, shape):
    at_once = pipeline.steps_per_execution(steps, batch_size, shape)
    assert 1 <= at_once <= steps and steps % at_once == 0
    assert at_once == 1 or at_once * batch_size * np.prod(shape) <= 32 * 224 * 224 * 3


def test_epochs_and_seeds_have_orders_of_their_own_and_repeat_them():
    epochs = epochs_of(augment=FlipShift())
    assert_same_epochs(epochs, epochs_of(augment=FlipShift()))
    orders = [tuple(whole(epoch)[1]) for epoch in epochs + epochs_of(seed=1)]
    assert len({*orders, tuple(range(COUNT))}) == 7, "all differ, and all are shuffled"


@pytest.mark.parametrize("views", [None, 2])
@pytest.mark.parametrize("start", [1, 2, 4])
def test_a_later_start_gives_the_rest_of_the_whole(start, views):
    options = {"epochs": 5, "augment": FlipShift(shift=0.3), "views": views}
    assert_same_epochs(epochs_of(start_epoch=start, **options), epochs_of(**options)[start:])


def test_a_finished_training_has_nothing_left():
    assert epochs_of(start_epoch=3, epochs=3) == []


def test_views_come_round_again():
    versions = [whole(epoch)[0] for epoch in epochs_of(epochs=4, augment=FlipShift(), views=2)]
    np.testing.assert_array_equal(versions[0], versions[2])
    np.testing.assert_array_equal(versions[1], versions[3])
    assert differing(versions[0], versions[1]) > COUNT // 2
    orders = {tuple(whole(epoch)[1]) for epoch in epochs_of(epochs=4, augment=FlipShift(), views=2)}
    assert len(orders) == 4, "the order is new in every epoch"


def test_without_views_every_epoch_draws_new_versions():
    versions = [whole(epoch)[0] for epoch in epochs_of(epochs=3, augment=FlipShift())]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert differing(versions[first], versions[second]) > COUNT // 2


def differing(first, second):
    return np.sum(np.any(first != second, axis=(1, 2, 3)))


@pytest.mark.parametrize("augment", [None, FlipShift(), FlipShift(flip=False, shift=0.4)])
def test_view_batches_show_what_training_shows(augment):
    epochs = epochs_of(epochs=3, seed=7, augment=augment, views=3)
    for view, epoch in enumerate(epochs):
        batches = pipeline.view_batches(numbered_images(), augment, seed=7, view=view, batch_size=4)
        np.testing.assert_array_equal(np.concatenate(list(batches.as_numpy_iterator())), whole(epoch)[0])


@pytest.mark.parametrize("views", [1, 2, 3])
def test_stored_activations_are_read_at_the_row_of_view_and_image(tmp_path, views):
    np.save(tmp_path / "stored.npy", np.arange(views * COUNT, dtype="float32")[:, None] * [1, -1])
    stored = np.load(tmp_path / "stored.npy", mmap_mode="r")
    epochs = epochs_of(arrays=[stored], epochs=4, views=views)
    orders = [whole(epoch)[1] for epoch in epochs_of(epochs=4)]
    for number, (epoch, order) in enumerate(zip(epochs, orders, strict=True)):
        rows = np.concatenate([inputs for inputs, _ in epoch])
        np.testing.assert_array_equal(rows[:, 0], number % views * COUNT + order)
        np.testing.assert_array_equal(rows[:, 1], -rows[:, 0])


def test_several_inputs_stay_together():
    images, stored = numbered_images(), np.arange(2 * COUNT, dtype="float32")[:, None]
    for number, epoch in enumerate(epochs_of(arrays=[images, stored], epochs=2, views=2)):
        for (shown, rows), labels in epoch:
            np.testing.assert_array_equal(rows[:, 0], shown[:, 0, 0, 0] + number * COUNT)
            np.testing.assert_array_equal(labels, LABELS[shown[:, 0, 0, 0]])


def test_evaluation_is_in_order_and_as_it_is(monkeypatch):
    monkeypatch.setattr(pipeline, "evaluation_batch_size", lambda images: 10)
    images = numbered_images()
    batches = list(pipeline.evaluation_batches([images], LABELS).as_numpy_iterator())
    assert [len(labels) for _, labels in batches] == [10, 10, 3]
    np.testing.assert_array_equal(np.concatenate([shown for shown, _ in batches]), images)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), LABELS)


def test_keras_knows_the_shapes():
    batches = pipeline.training_batches(
        [numbered_images()], LABELS, batch_size=5, seed=0, epochs=1, augment=FlipShift()
    )
    assert batches.element_spec[0].shape.as_list() == [None, 8, 8, 3]
    assert batches.element_spec[1].shape.rank == 1


@pytest.mark.parametrize(
    "shape, expected", [((32, 32, 3), 500), ((224, 224, 3), 32), ((4096,), 500), ((2000, 2000, 3), 1)]
)
def test_batches_that_are_not_trained_on_are_bounded_in_memory(shape, expected):
    assert pipeline.evaluation_batch_size(np.broadcast_to(np.uint8(0), (10, *shape))) == expected


class Refusing:
    """Images of which none is given."""

    shape, dtype = (40, 2, 2, 3), np.dtype("uint8")

    def __len__(self):
        return 40

    def __getitem__(self, rows):
        raise InputError(f"image {rows[0]}: expected a file, received none; put it back")


def test_what_is_refused_in_reading_is_said_in_its_own_words():
    with pytest.raises(Exception, match="put it back") as caught:
        list(pipeline.view_batches(Refusing(), None, 0, 0, batch_size=4))
    found = pipeline.cause(caught.value)
    assert isinstance(found, InputError) and str(found).startswith("image ") and "\n" not in str(found)
    another = ValueError("another")
    assert pipeline.cause(another) is another
