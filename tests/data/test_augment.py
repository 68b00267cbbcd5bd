"""FlipShift against numpy, RandomResizedCrop against torchvision, RandAugment against keras-cv; all repeat exactly."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.torchvision_reference import torchvision_part
from tl_keras.data import pipeline
from tl_keras.data.augment import FlipShift, RandAugment, RandomResizedCrop
from tl_keras.errors import InputError

# ---------------------------------------------------------------------------------- FlipShift


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


# -------------------------------------------------------------- what the others promise


def smooth_images(count, height=40, width=40):
    """Noise with the finest detail removed, as in photographs."""
    noise = random_images(count, height // 4, width // 4)
    return np.stack([np.asarray(Image.fromarray(image).resize((width, height))) for image in noise])


@pytest.mark.parametrize("augment", [RandomResizedCrop((24, 20)), RandAugment(), RandAugment(0.2, layers=1)], ids=repr)
def test_the_same_seed_view_and_image_give_the_same_pixels_in_any_batch(augment):
    images = smooth_images(24)

    def made(view, batch_size):
        batches = pipeline.view_batches(images, augment, seed=5, view=view, batch_size=batch_size)
        return np.concatenate(list(batches.as_numpy_iterator()))

    whole = made(view=0, batch_size=24)
    assert whole.dtype == np.uint8
    np.testing.assert_array_equal(whole, made(view=0, batch_size=7))
    np.testing.assert_array_equal(whole[3:5], augment(images[3:5], augment.draw(24, seed=5, view=0)[3:5]))
    assert np.any(whole != made(view=1, batch_size=24), axis=(1, 2, 3)).mean() > 0.6, "views differ"


@pytest.mark.parametrize("augment", [RandomResizedCrop((24, 20)), RandAugment()], ids=repr)
def test_training_shows_what_is_stored_per_view(augment):
    images, labels = smooth_images(9), np.arange(9)
    stored = pipeline.view_batches(images, augment, seed=2, view=1, batch_size=4)
    stored = np.concatenate(list(stored.as_numpy_iterator()))
    batches = pipeline.training_batches(
        [images], labels, batch_size=5, seed=2, epochs=4, start_epoch=3, augment=augment, views=2
    )
    for shown, numbers in batches.as_numpy_iterator():
        np.testing.assert_array_equal(shown, stored[numbers])
    assert batches.element_spec[0].shape.as_list() == [None, *stored.shape[1:]]


# ---------------------------------------------------------------------------------------- RandomResizedCrop


@pytest.mark.parametrize("height, width, size", [(256, 256, 224), (300, 200, 224), (64, 64, 96), (1024, 768, 64)])
def test_crops_are_those_of_torchvision(height, width, size):
    functional = torchvision_part("transforms").functional
    images, augment = smooth_images(8, height, width), RandomResizedCrop((size, size))
    numbers = augment.draw(8, seed=1, view=0)
    made = augment(tf.constant(images), numbers).numpy()
    boxes = augment.boxes(numbers, height, width).numpy()
    for image, row, box, mirrored in zip(images, made, boxes.tolist(), numbers[:, 22] < 0.5, strict=True):
        expected = functional.resized_crop(Image.fromarray(image), *box, [size, size])
        expected = functional.hflip(expected) if mirrored else expected
        np.testing.assert_allclose(row.astype(int), np.asarray(expected, int), atol=1)


@pytest.mark.parametrize("height, width", [(256, 256), (200, 320)])
def test_boxes_are_spread_as_those_of_torchvision(height, width):
    kind, count = torchvision_part("transforms").RandomResizedCrop, 3000
    picture = Image.new("RGB", (width, height))
    theirs = np.array([kind.get_params(picture, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(count)])
    augment = RandomResizedCrop()
    ours = augment.boxes(augment.draw(count, seed=0, view=0), height, width).numpy()
    assert np.all(ours >= [0, 0, 1, 1]) and np.all(ours[:, :2] + ours[:, 2:] <= [height, width])
    for measure in (lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 3] / b[:, 2], lambda b: b[:, 0], lambda b: b[:, 1]):
        steps = [10, 30, 50, 70, 90]
        scale = np.ptp(measure(theirs))
        np.testing.assert_allclose(
            np.percentile(measure(ours), steps), np.percentile(measure(theirs), steps), atol=0.05 * scale
        )


def test_a_panorama_gives_its_largest_allowed_part():
    augment = RandomResizedCrop(area=(0.9, 1.0))
    numbers = augment.draw(50, seed=0, view=0)
    for height, width, largest in ((30, 300, [30, 40]), (300, 30, [40, 30])):
        boxes = augment.boxes(numbers, height, width).numpy()
        assert boxes[:, 2:].tolist() == [largest] * 50
        assert np.all(boxes[:, :2] + boxes[:, 2:] <= [height, width]) and len(np.unique(boxes, axis=0)) > 20


def test_the_whole_image_is_left_as_it_is():
    images, augment = smooth_images(30), RandomResizedCrop((40, 40), area=(1, 1), aspect=(1, 1))
    numbers = augment.draw(30, seed=0, view=0)
    mirrored = numbers.numpy()[:, 22] < 0.5
    assert 5 < mirrored.sum() < 25
    expected = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    np.testing.assert_array_equal(augment(tf.constant(images), numbers), expected)
    plain = RandomResizedCrop((40, 40), area=(1, 1), aspect=(1, 1), flip=False)
    np.testing.assert_array_equal(plain(tf.constant(images), numbers), images)


# ---------------------------------------------------------------------------------------------- RandAugment


def one_layer(operation, spread, strength=0.5, threshold=0.5):
    """Numbers that choose one operation, from its place in the list, with these parameters."""
    return tf.constant([[[(operation + 0.5) / 11, spread, strength, threshold]]], tf.float32)


def test_each_operation_is_that_of_keras_cv():
    from keras_cv import core, layers

    exactly, image, magnitude = core.ConstantFactorSampler, smooth_images(1) // 2 + 40, 0.4
    spread, strength, threshold = 0.75, 0.8413447, 0.1586553  # one standard deviation above and below the mean
    reference = {
        1: layers.AutoContrast((0, 255)),
        2: layers.Equalization((0, 255)),
        3: layers.Solarization((0, 255), exactly(110 * 0.55), exactly(255 * 0.75)),
        4: layers.RandomColorDegeneration(exactly(0.55)),
        6: layers.RandomBrightness(exactly(0.2)),
        9: layers.RandomTranslation(0, (0.2, 0.2)),
        10: layers.RandomTranslation((0.2, 0.2), 0),
    }
    augment = RandAugment(magnitude, layers=1)
    for operation, layer in reference.items():
        made = augment(tf.constant(image), one_layer(operation, spread, strength, threshold)).numpy().astype(int)
        np.testing.assert_allclose(made, layer(image.astype("float32")), atol=1, err_msg=str(operation))
        assert np.any(made != image), f"{layer.name} changes the image"
    contrast = augment(tf.constant(image), one_layer(5, spread)).numpy()
    mean = image.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(contrast, np.clip(mean + 1.2 * (image - mean), 0, 255), atol=1)
    np.testing.assert_array_equal(augment(tf.constant(image), one_layer(0, spread)), image)


def test_shears_go_both_ways_along_one_axis():
    image = np.zeros((1, 40, 40, 3), np.uint8)
    image[:, :20, :20] = 255
    augment = RandAugment(0.4, layers=1)
    left, right = (augment(tf.constant(image), one_layer(7, spread)).numpy() for spread in (0.2, 0.8))
    np.testing.assert_array_equal(left[:, 0], image[:, 0], "sheared about the top row")
    assert np.all(right[0, 10, :16] == 255) and right[0, 10, 17, 0] == 0, "row 10 moves left by 4"
    assert left[0, 10, 22, 0] == 255
    across = augment(tf.constant(image), one_layer(8, 0.8)).numpy()
    np.testing.assert_array_equal(across, right.transpose(0, 2, 1, 3))


def test_images_change_as_much_as_by_keras_cv():
    from keras_cv import layers

    images = smooth_images(300, 24, 24)
    theirs = layers.RandAugment((0, 255), augmentations_per_image=2, magnitude=0.3, seed=1)
    augment = RandAugment(0.3, layers=2)
    batches = tf.data.Dataset.from_tensor_slices(images).batch(100)
    reference = np.concatenate(list(batches.map(theirs).as_numpy_iterator()))
    made = pipeline.view_batches(images, augment, seed=0, view=0, batch_size=100)
    made = np.concatenate(list(made.as_numpy_iterator()))
    ours, expected = (np.abs(batch.astype(float) - images).mean((1, 2, 3)) for batch in (made, reference))
    steps = [25, 50, 75]
    np.testing.assert_allclose(np.percentile(ours, steps), np.percentile(expected, steps), rtol=0.2, atol=3)


def test_magnitudes_on_other_scales_are_refused():
    with pytest.raises(InputError, match="expected a magnitude from 0 to 1, received 9; divide"):
        RandAugment(magnitude=9)
