"""A view makes the same pixels of one file, in serving, as lazy images make of the array of all, in training."""

import json

import numpy as np
import pytest
from PIL import Image

from tl_keras import values
from tl_keras.data.decode import resize
from tl_keras.data.lazy import CenterCrop, Grey, Resized
from tl_keras.data.selection import seen
from tl_keras.data.splits import Split
from tl_keras.data.view import View, standard
from tl_keras.errors import InputError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 41, 58, 3), dtype=np.uint8)  # neither square nor even
VIEWS = {
    "as they are": View((41, 58)),
    "reduced": View((16, 16)),
    "enlarged": View((64, 70)),
    "cut": View((30, 21), scaled=(41, 58)),
    "scaled and cut": View((24, 24), scaled=(29, 31)),
    "grey": View((16, 20), channels=1),
    "grey, scaled and cut": View((24, 23), scaled=(28, 28), channels=1),
    "as ImageNet's": standard((28, 28)),
}


def in_training(view: View) -> np.ndarray:
    images = CenterCrop(Resized(IMAGES, view.loaded), view.size)
    return (Grey(images) if view.channels == 1 else images)[:]


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_one_file_and_an_array_of_all_give_the_same_pixels(view):
    of_files = np.stack([view.of(Image.fromarray(image)) for image in IMAGES])
    assert of_files.dtype == np.uint8 and of_files.shape == (5, *view.shape)
    np.testing.assert_array_equal(of_files, in_training(view))
    split = Split(IMAGES, np.arange(5) % 2, ("a", "b"))
    np.testing.assert_array_equal(seen(split, view).images[:], of_files)
    assert seen(split, view).images.shape == of_files.shape


def test_the_window_is_the_centre_of_what_covers_the_scaled_size():
    view = View((20, 30), scaled=(25, 40))
    scaled = np.asarray(resize(Image.fromarray(IMAGES[0]), (25, 40)))
    np.testing.assert_array_equal(view.of(Image.fromarray(IMAGES[0])), scaled[2:22, 5:35])
    assert (view.loaded, view.loading) == ((25, 40), View((25, 40)))
    assert View((8, 8), mirror=False, channels=1).loading == View((8, 8), mirror=False, channels=1)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_grey_is_that_of_pillow(mode):
    image = Image.fromarray(IMAGES[0]).convert(mode)
    np.testing.assert_array_equal(View((41, 58), channels=1).of(image)[..., 0], np.asarray(image.convert("L")))


def test_grey_is_that_of_pillow_for_every_colour():
    steps = np.arange(0, 256, 5, dtype=np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, len(steps), -1, 3)
    expected = np.asarray(Image.fromarray(colours[0]).convert("L"))
    np.testing.assert_array_equal(Grey(colours)[0][..., 0], expected)


def test_the_standard_view_is_that_of_imagenet():
    assert standard((224, 224)) == View((224, 224), scaled=(256, 256))
    assert standard((160, 160), mirror=False) == View((160, 160), scaled=(183, 183), mirror=False)


@pytest.mark.parametrize(
    "size, scaled",
    [((0, 8), None), ((8, -1), None), ((8, 8), (7, 9)), ((8, 8), (9, 7)), ((8, 8), (0, 0)), ((1, 0), (4, 4)),
     ((8, 8, 8), None), ((8,), None), ((8, 8), (9,)), ((8.5, 8), None), (("8", "8"), None)],
)  # fmt: skip
def test_sizes_that_cannot_be(size, scaled):
    with pytest.raises(InputError, match=r"view: expected \(height, width\) of at least 1 .*received") as caught:
        View(size, scaled)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"resampling": "nearest"}, {"channels": 4}, {"channels": 0}])
def test_ways_to_see_that_there_are_not(options):
    with pytest.raises(InputError, match=r"view: expected bilinear.* and 1 or 3 channels, received"):
        View((8, 8), **options)


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_can_be_written_and_read(view):
    again = values.from_json(json.loads(json.dumps(values.to_json(view))))
    assert again == view and hash(again) == hash(view), "sizes are tuples again"
