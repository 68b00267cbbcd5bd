"""FlipShift against numpy: pad by reflection, crop, mirror."""

import numpy as np
import pytest
import tensorflow as tf

from tl_keras.data.augment import FlipShift


def by_numpy(images, numbers, flip, shift):
    _, height, width, _ = images.shape
    made = np.empty_like(images)
    tallest, widest = int(height * shift), int(width * shift)
    for row, (down, right, mirror) in enumerate(numbers):
        padded = np.pad(images[row], ((tallest, tallest), (widest, widest), (0, 0)), mode="reflect")
        top, left = int(down * (2 * tallest + 1)), int(right * (2 * widest + 1))
        crop = padded[top : top + height, left : left + width]
        made[row] = crop[:, ::-1] if flip and mirror < 0.5 else crop
    return made


def random_images(count, height=12, width=9, channels=3):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("shift", [0.125, 0.3, 0.9])
def test_values(dtype, flip, shift):
    images, augment = random_images(64).astype(dtype), FlipShift(flip, shift)
    numbers = augment.draw(64, seed=3, view=1).numpy()
    made = augment(tf.constant(images), tf.constant(numbers))
    assert made.dtype == dtype
    np.testing.assert_array_equal(made, by_numpy(images, numbers, flip, shift))


def test_the_extremes_of_the_draw():
    images, augment = random_images(4, 16, 16), FlipShift()
    largest = np.nextafter(np.float32(1), np.float32(0))
    numbers = np.float32([[0, 0, 0.9], [largest, largest, 0.9], [0, largest, 0.5], [0.5, 0.5, 0.4999]])
    made = augment(tf.constant(images), tf.constant(numbers)).numpy()
    np.testing.assert_array_equal(made, by_numpy(images, numbers, True, 0.125))
    np.testing.assert_array_equal(made[0, 2:, 2:], images[0, :-2, :-2], "down and right by two")
    np.testing.assert_array_equal(made[1, :-2, :-2], images[1, 2:, 2:], "up and left by two")
    np.testing.assert_array_equal(made[3], images[3, :, ::-1], "mirrored only")


def test_nothing_to_do_is_the_identity():
    images, augment = random_images(20), FlipShift(flip=False, shift=0)
    np.testing.assert_array_equal(augment(tf.constant(images), augment.draw(20, seed=0, view=0)), images)


def test_mirroring_and_shifts_are_spread_evenly():
    numbers = FlipShift().draw(4000, seed=0, view=0).numpy()
    assert numbers.min() >= 0 and numbers.max() < 1
    shares = np.bincount((numbers[:, 0] * 9).astype(int), minlength=9) / 4000
    assert np.all(np.abs(shares - 1 / 9) < 0.02)
    assert abs(np.mean(numbers[:, 2] < 0.5) - 0.5) < 0.03
    assert abs(np.corrcoef(numbers.T)[0, 1]) < 0.05


def test_the_draw_depends_on_seed_view_and_image_alone():
    first = FlipShift().draw(10, seed=1, view=2).numpy()
    np.testing.assert_array_equal(FlipShift(False, 0.5).draw(10, seed=1, view=tf.constant(2, tf.int64)), first)
    for seed, view in ((1, 3), (2, 2), (2, 1)):
        assert not np.array_equal(FlipShift().draw(10, seed, view), first)
    assert len(np.unique(first, axis=0)) == 10, "each image has its own"
