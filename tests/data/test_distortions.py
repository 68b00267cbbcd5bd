"""Rotation, brightness and erasing against references and arithmetic by hand."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tl_keras.data.distortions import Brightness, Erasing, Rotate, inside


def random_images(count, height=28, width=28, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


# -------------------------------------------------------------------------------------------------- rotation


@pytest.mark.parametrize("height, width", [(12, 12), (9, 9), (8, 13)])
def test_quarter_and_half_turns_are_those_of_numpy(height, width):
    images, augment = random_images(3, height, width), Rotate(180)
    turns = {0.5: 0, 0.0: 2, 1.0: 2} | ({0.75: 1, 0.25: -1} if height == width else {})
    for number, quarters in turns.items():
        made = augment(tf.constant(images), tf.fill((3, 1), number)).numpy()
        np.testing.assert_array_equal(made, np.rot90(images, quarters, axes=(1, 2)), err_msg=f"{number}")


def test_small_angles_are_those_of_scipy_inside_and_reflect_at_the_border():
    from scipy.ndimage import rotate

    images = random_images(1, 7, 7).repeat(6, axis=1).repeat(6, axis=2)
    for number, degrees in ((1.0, 15), (0.0, -15), (0.75, 7.5)):
        made = Rotate(15)(tf.constant(images), tf.constant([[number]])).numpy()[0]
        expected = rotate(images[0].astype(float), degrees, reshape=False, order=1, mode="reflect")
        np.testing.assert_allclose(made, expected, atol=1.01)


def test_angles_are_spread_evenly_both_ways():
    numbers = Rotate().draw(4000, seed=0, view=0).numpy()
    assert numbers.shape == (4000, 1) and stats.kstest(numbers[:, 0], "uniform").pvalue > 0.01


# ------------------------------------------------------------------------------------------------ brightness


def test_brightness_and_contrast_by_hand():
    images = random_images(5, 6, 6)
    numbers = np.float32([[0.5, 0.5], [1, 0.5], [0, 0.5], [0.5, 1], [0.75, 0]])
    made = Brightness(0.2, 0.25)(tf.constant(images), tf.constant(numbers)).numpy()
    changes = [(0, 1), (51, 1), (-51, 1), (0, 1.25), (25.5, 0.75)]
    for image, found, (added, factor) in zip(images, made, changes, strict=True):
        mean = image.mean((0, 1))
        expected = np.clip(mean + factor * (image - mean) + added, 0, 255)
        np.testing.assert_allclose(found, expected, atol=0.51)
    np.testing.assert_array_equal(made[0], images[0])


# -------------------------------------------------------------------------------------------------- erasing


def test_erased_areas_aspects_and_places_are_spread_as_asked():
    count, side = 3000, 64
    images = np.zeros((count, side, side, 1), np.uint8)
    augment = Erasing(share=0.5, area=(0.02, 0.3), aspect=(0.5, 2.0))
    changed = augment(tf.constant(images), augment.draw(count, seed=0, view=0)).numpy()[..., 0] > 0
    erased = changed.any(axis=(1, 2))
    assert abs(erased.mean() - 0.5) < 0.03
    rows, columns = changed[erased].any(axis=2).sum(axis=1), changed[erased].any(axis=1).sum(axis=1)
    areas = rows * columns / side**2
    np.testing.assert_allclose(np.percentile(areas, [5, 50, 95]), [0.034, 0.16, 0.286], atol=0.015)
    assert areas.min() > 0.015 and areas.max() < 0.31
    assert abs(np.median(columns / rows) - 1) < 0.05 and np.all(columns / rows < 2.2) and np.all(rows / columns < 2.2)
    assert changed.any(axis=0).mean() > 0.99, "every place is erased in some image, but for a corner"


def test_what_is_erased_is_noise_and_the_rest_is_left():
    images, augment = random_images(40, 32, 32), Erasing(share=1.0, area=(0.3, 0.3), aspect=(1, 1))
    made = augment(tf.constant(images), augment.draw(40, seed=3, view=1)).numpy()
    changed = made != images
    per_channel = changed.mean(axis=(1, 2))
    np.testing.assert_allclose(per_channel, 18**2 / 32**2, atol=0.01)
    noise = np.concatenate([image[mask] for image, mask in zip(made, changed, strict=True)])
    assert abs(noise.mean() - 127.5) < 1.5 and noise.min() == 0 and noise.max() == 255
    again = augment(tf.constant(images), augment.draw(40, seed=3, view=2)).numpy()
    assert np.any(again != made, axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(Erasing(share=0.0)(images, augment.draw(40, seed=3, view=1)), images)


def test_boxes_that_pass_the_border_are_cut():
    found = inside(tf.constant([[-1, 2, 3, 9], [0, 0, 0, 4], [1, 1, 2, 1]]), 4, 5).numpy()
    expected = np.zeros((3, 4, 5), bool)
    expected[0, :2, 2:], expected[2, 1:3, 1:2] = True, True
    np.testing.assert_array_equal(found, expected)
