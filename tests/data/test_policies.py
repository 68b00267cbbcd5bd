"""What all policies promise: they repeat exactly, mirror nothing that may not be, and never touch what is measured."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tl_keras import values
from tl_keras.data import pipeline, policies
from tl_keras.data.augment import FlipShift, RandomResizedCrop
from tl_keras.data.distortions import Brightness, Erasing, Rotate
from tl_keras.data.mixing import Chained, CutMix, MixUp
from tl_keras.errors import InputError

SIZE = (24, 24)
ALONE = [name for name in policies.NAMES if name not in ("none", "mixup", "cutmix")]
MIXED = ["mixup", "cutmix"]


def random_images(count, height=28, width=28, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


# -------------------------------------------------------------------------------------------- what all promise


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("name", policies.NAMES)
def test_a_policy_is_a_value_that_says_whether_it_crops_and_mixes(name, mirror):
    augment = policies.find(name, SIZE, mirror)
    assert values.from_json(json.loads(json.dumps(values.to_json(augment)))) == augment
    assert (augment is None) == (name == "none" or (name == "flip" and not mirror))
    if augment:
        assert augment.crops == (name in ("crop", "randaugment", "erasing", *MIXED))
        assert augment.mixes == (name in MIXED)
        side = 28 if augment.crops else 24
        made = augment(tf.constant(random_images(2, side, side)), augment.draw(2, seed=0, view=0))
        assert made.dtype == tf.uint8 and made.shape == (2, *SIZE, 3)


def test_an_unknown_policy_is_refused():
    with pytest.raises(InputError, match=r"--augment: expected one of none, flip, .*, cutmix, received 'flop'; choose"):
        policies.find("flop", SIZE, mirror=True)


@pytest.mark.parametrize("name", ALONE)
def test_an_image_is_the_same_in_any_batch_and_another_in_another_view(name):
    augment = policies.find(name, SIZE, mirror=True)
    side = 28 if augment.crops else 24
    images = random_images(20, side // 4, side // 4).repeat(4, axis=1).repeat(4, axis=2)

    def made(view, batch_size):
        batches = pipeline.view_batches(images, augment, seed=5, view=view, batch_size=batch_size)
        return np.concatenate(list(batches.as_numpy_iterator()))

    whole = made(view=0, batch_size=20)
    np.testing.assert_array_equal(whole, made(view=0, batch_size=7))
    np.testing.assert_array_equal(whole[3:5], augment(images[3:5], augment.draw(20, seed=5, view=0)[3:5]))
    assert np.any(whole != made(view=1, batch_size=20), axis=(1, 2, 3)).mean() > 0.3


def asymmetric(count, side):
    """Dark at the left edge, light at the right one, and nothing else."""
    return np.broadcast_to(np.linspace(20, 235, side)[:, None], (count, side, side, 3)).astype("uint8")


@pytest.mark.parametrize("name", ALONE + MIXED)
def test_without_mirror_no_policy_ever_mirrors(name):
    def slopes(mirror):
        augment = policies.find(name, SIZE, mirror)
        side = 28 if augment is None or augment.crops else 24
        images = asymmetric(200, side)
        made = images if augment is None else augment(images, augment.draw(200, seed=0, view=0)).numpy()
        return np.mean(made[:, :, -6:].astype(float), axis=(1, 2, 3)) - np.mean(made[:, :, :6], axis=(1, 2, 3))

    falling = np.mean(slopes(mirror=True) < -20)
    assert 0.3 < falling < 0.7, "with it half of them are"
    if name == "randaugment":  # solarised, what is dark is light: not mirrored, but no longer told by this
        crop = RandomResizedCrop(SIZE, area=(0.35, 1.0), flip=False)
        assert policies.find(name, SIZE, mirror=False).parts[0] == crop
    else:
        assert not np.any(slopes(mirror=False) < -20)


def test_parts_draw_apart_and_the_first_as_if_alone():
    crop, erasing = RandomResizedCrop(SIZE), Erasing(share=1.0)
    chained = Chained((crop, erasing, Rotate()))
    numbers = chained.draw(500, seed=3, view=1).numpy()
    assert numbers.shape == (500, 23 + 25 + 1)
    np.testing.assert_array_equal(numbers[:, :23], crop.draw(500, seed=3, view=1))
    assert np.all(np.abs(np.corrcoef(numbers.T) - np.eye(49)) < 0.2)
    images = random_images(4)
    by_hand = Rotate()(erasing(crop(images, numbers[:4, :23]), numbers[:4, 23:48]), numbers[:4, 48:])
    np.testing.assert_array_equal(chained(images, numbers[:4]), by_hand)


@pytest.mark.parametrize("name", MIXED)
def test_mixing_policies_show_the_crops_of_crop_with_and_without_a_partner(name):
    crop, augment = (policies.find(which, SIZE, mirror=True) for which in ("crop", name))
    images, numbers = random_images(6), augment.draw(6, seed=2, view=0)
    crops = crop(images, crop.draw(6, seed=2, view=0)).numpy()
    np.testing.assert_array_equal(augment(images, numbers), crops)
    alone = tf.concat([numbers[:, :23], tf.ones((6, 1)), numbers[:, 24:]], axis=1)
    mixed, shares = augment.mix(tf.constant(crops), tf.eye(6), alone)
    np.testing.assert_array_equal(mixed, crops)
    np.testing.assert_array_equal(shares, np.eye(6))


@pytest.mark.parametrize(
    "parts", [(), (Rotate(), RandomResizedCrop(SIZE)), (MixUp(), FlipShift()), (MixUp(), CutMix())]
)
def test_parts_in_another_order_are_refused(parts):
    with pytest.raises(InputError, match="Chained: expected parts of which none but the first crops"):
        Chained(parts)


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: Rotate(-1), "Rotate: expected degrees from 0 to 180, received -1"),
        (lambda: Rotate(float("nan")), "received nan"),
        (lambda: Brightness(1.5), "Brightness: expected shares from 0 to 1, received 1.5 and 0.25"),
        (lambda: Erasing(share=2), "Erasing: expected a share from 0 to 1"),
        (lambda: Erasing(area=(0.5, 0.1)), "received 0.5 and"),
        (lambda: MixUp(0), "MixUp: expected alpha above 0, received 0; give"),
        (lambda: CutMix(float("inf")), "CutMix: expected alpha above 0, received inf; give"),
    ],
)
def test_values_outside_their_bounds_are_refused(make, said):
    with pytest.raises(InputError, match=said):
        make()


# -------------------------------------------------------------------------------------------------- in a pipeline


def epoch_of(name, epoch, batch_size=5, views=None, classes=4):
    """Images, shares and the order, told by a data set whose labels are the images' numbers."""
    images, augment = random_images(13), policies.find(name, SIZE, mirror=True)
    batches = pipeline.training_batches(
        [images], np.arange(13), batch_size=batch_size, seed=4, epochs=epoch + 1, start_epoch=epoch, augment=augment,
        views=views, classes=13,
    )  # fmt: skip
    return [(shown, shares) for shown, shares in batches.as_numpy_iterator()]


@pytest.mark.parametrize("name", MIXED)
def test_mixed_batches_are_a_function_of_seed_and_epoch(name):
    crop = policies.find("crop", SIZE, mirror=True)
    crops = crop(random_images(13), crop.draw(13, seed=4, view=1)).numpy()
    augment, order = policies.find(name, SIZE, mirror=True), [labels for _, labels in epoch_of("crop", 1)]
    numbers = augment.draw(13, seed=4, view=1)
    for (shown, shares), rows in zip(epoch_of(name, 1), order, strict=True):
        expected, of_classes = augment.mix(tf.constant(crops[rows]), tf.one_hot(rows, 13), tf.gather(numbers, rows))
        np.testing.assert_array_equal(shown, expected)
        np.testing.assert_array_equal(shares, of_classes)
        assert shares.shape == (len(rows), 13) and shares.dtype == np.float32
    assert any(not np.array_equal(one[0], other[0]) for one, other in zip(epoch_of(name, 1), epoch_of(name, 2)))  # noqa: B905


def test_classes_are_counted_where_nobody_tells_them():
    batches = pipeline.training_batches(
        [random_images(4, 8, 8)], np.array([0, 2, 1, 2]), batch_size=4, seed=0, epochs=1, augment=MixUp()
    )
    assert batches.element_spec[1].shape.as_list() == [None, 3]


@pytest.mark.parametrize("name", MIXED)
def test_views_of_mixed_images_are_not_stored(name):
    with pytest.raises(InputError, match=r"--augment: .* received (MixUp|CutMix), which mixes .* name another policy"):
        pipeline.view_batches(random_images(4), policies.find(name, SIZE, True), seed=0, view=0, batch_size=2)


def test_what_is_measured_is_never_varied():
    images, labels = random_images(7), np.arange(7)
    shown, told = zip(*pipeline.evaluation_batches([images], labels).as_numpy_iterator(), strict=True)
    np.testing.assert_array_equal(np.concatenate(shown), images)
    np.testing.assert_array_equal(np.concatenate(told), labels)


# -------------------------------------------------------------------------------------------------- examples


def test_examples_are_what_training_shows():
    images, labels, names = random_images(5, 28, 30), np.array([0, 1, 2, 0, 1]), ("ant", "bee", "wasp")
    found = policies.examples(images, SIZE, mirror=True, seed=6)
    said = policies.answers(images, labels, names, SIZE, mirror=True, seed=6)
    assert list(found) == list(said) == list(policies.NAMES)
    assert {part.shape for part in found.values()} == {(5, 24, 24, 3)}
    centre = images[:, 2:26, 3:27]
    np.testing.assert_array_equal(found["none"], centre)
    for name in ALONE:
        augment = policies.find(name, SIZE, mirror=True)
        shown = next(
            pipeline.view_batches(images if augment.crops else centre, augment, 6, 0, batch_size=5).as_numpy_iterator()
        )
        np.testing.assert_array_equal(found[name], shown)
        assert said[name] == ["ant", "bee", "wasp", "ant", "bee"]


def test_answers_say_the_shares_of_mixed_images():
    images, labels = random_images(40), np.arange(40) % 2
    augment = policies.find("mixup", SIZE, mirror=True)
    own = augment.draw(40, seed=0, view=0).numpy()[:, -1]
    said = policies.answers(images, labels, ("ant", "bee"), SIZE, mirror=True)["mixup"]
    for share, label, text in zip(own, labels, said, strict=True):
        name, partner = ("ant", "bee") if label == 0 else ("bee", "ant")
        parts = sorted([(share, name), (1 - share, partner)], reverse=True)
        alone = parts[1][0] < 0.05
        assert text == (parts[0][1] if alone else " + ".join(f"{part:.1f} {which}" for part, which in parts))
    assert 5 < sum("+" in text for text in said) < 35


def test_images_that_are_too_small_have_no_examples():
    with pytest.raises(InputError, match="view: expected"):
        policies.examples(random_images(2, 20, 28), SIZE, mirror=True)


def test_every_policy_works_where_tensorflow_is_deterministic():
    """As in a training, in a process that has made no layer of keras-cv before."""
    code = (
        "import numpy as np; from tl_keras import quiet; quiet.import_tensorflow();"
        "from tl_keras.training import runtime; runtime.prepare(0); from tl_keras.data import policies;"
        "print(len(policies.examples(np.zeros((2, 40, 40, 3), 'uint8'), (32, 32), True)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.split()[-1] == str(len(policies.NAMES))
