"""MixUp and CutMix by hand: pixels, labels, and how the shares are spread."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tl_keras.data.mixing import CutMix, MixUp


def test_mixup_by_hand():
    images = np.uint8([[[[0, 10]]], [[[100, 20]]], [[[200, 255]]]])
    labels = np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    mixed, shares = MixUp().mix(tf.constant(images), tf.constant(labels), tf.constant([[0.75], [1.0], [0.25]]))
    assert mixed.dtype == tf.uint8
    np.testing.assert_array_equal(mixed[:, 0, 0], [[25, 12], [100, 20], [50, 71]])
    np.testing.assert_array_equal(shares, [[0.75, 0.25, 0], [0, 1, 0], [0.75, 0, 0.25]])


def test_cutmix_label_shares_are_the_areas_that_are_seen():
    count, height, width = 300, 20, 30
    images = np.broadcast_to(np.arange(count).reshape(-1, 1, 1, 1) % 250, (count, height, width, 1)).astype("uint8")
    augment, labels = CutMix(), np.eye(count, dtype="float32")
    numbers = augment.draw(count, seed=1, view=0)
    mixed, shares = (part.numpy() for part in augment.mix(tf.constant(images), tf.constant(labels), numbers))
    rows = np.arange(count)
    own = (mixed == images).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(shares[rows, rows], own, atol=1e-6)
    np.testing.assert_allclose(shares[rows, (rows + 1) % count], 1 - own, atol=1e-6)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(np.unique(mixed[-1]), [0, images[-1, 0, 0, 0]], "the last one's partner is the first")


def test_cutmix_replaces_a_rectangle_of_the_image_s_proportions_about_its_centre():
    images = np.stack([np.zeros((20, 40, 1), "uint8"), np.full((20, 40, 1), 9, "uint8")])
    mixed, shares = CutMix().mix(tf.constant(images), tf.eye(2), tf.constant([[0.75, 0.5, 0.5], [0.75, 0.0, 0.999]]))
    expected = images.copy()
    expected[0, 5:15, 10:30], expected[1, :5, 29:] = 9, 0
    np.testing.assert_array_equal(mixed, expected)
    np.testing.assert_allclose(shares, [[0.75, 0.25], [55 / 800, 745 / 800]], atol=1e-6)


@pytest.mark.parametrize("augment, alpha", [(MixUp(0.2), 0.2), (MixUp(2.0), 2.0), (CutMix(), 1.0)], ids=repr)
def test_shares_follow_the_beta_distribution_and_each_image_has_its_own(augment, alpha):
    numbers = augment.draw(4000, seed=5, view=2).numpy()
    assert numbers.dtype == np.float32 and numbers.min() >= 0 and numbers.max() <= 1
    assert stats.kstest(numbers[:, 0].astype(float), stats.beta(alpha, alpha).cdf).pvalue > 0.01
    assert np.all(np.abs(np.corrcoef(numbers.T) - np.eye(numbers.shape[1])) < 0.05)
