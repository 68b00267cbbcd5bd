"""The preview shows each image by each policy, in its place, and says what was mixed."""

import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from tl_keras.errors import InputError
from tl_keras.reporting import augmentation_figures, figures


def images(count=4, height=10, width=10, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def shown(figure):
    return [np.asarray(drawn.get_array()) for drawn in figure.axes[0].images]


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize("count", [1, 4, 9])
def test_each_image_stands_under_its_column_in_the_row_of_its_policy(count):
    examples = {"none": images(count), "flip": images(count, seed=1), "crop": images(count, seed=2)}
    figure = augmentation_figures.preview(examples)
    drawn = figure.axes[0].images
    assert texts(figure) == ["none", "flip", "crop"]
    for number, (found, expected) in enumerate(
        zip(shown(figure), np.concatenate(list(examples.values())), strict=True)
    ):
        np.testing.assert_array_equal(found, expected)
        left, _, _, top = drawn[number].get_extent()
        first_of_row, first_of_column = drawn[number - number % count], drawn[number % count]
        assert top == first_of_row.get_extent()[3] and left == first_of_column.get_extent()[0]
    boxes = [np.array(each.get_extent()) for each in drawn]
    assert all(bottom > top and right > left for left, right, bottom, top in boxes)
    for one, box in enumerate(boxes):
        for other in boxes[:one]:
            assert box[0] >= other[1] or box[3] >= other[2] or other[0] >= box[1], "no two overlap"
    assert max(box[1] for box in boxes) <= figure.get_figwidth() <= figures.FULL + 0.01


@pytest.mark.parametrize("height, width", [(10, 20), (20, 10)])
def test_images_keep_their_proportions(height, width):
    figure = augmentation_figures.preview({"none": images(3, height, width)})
    left, right, bottom, top = figure.axes[0].images[0].get_extent()
    assert (bottom - top) / (right - left) == pytest.approx(height / width)


def test_grey_images_are_shown_in_grey():
    figure = augmentation_figures.preview({"none": images(2, channels=1)})
    assert shown(figure)[0].shape == (10, 10) and figure.axes[0].images[0].get_cmap().name == "gray"


def test_labels_are_told_once_above_and_below_what_was_mixed():
    truth, mixed = ["ant", "bee", "ant", "bee"], ["0.7 ant + 0.3 bee", "bee", "ant", "0.9 bee + 0.1 ant"]
    examples = {name: images(4) for name in ("none", "flip", "mixup")}
    figure = augmentation_figures.preview(examples, {"none": truth, "flip": truth, "mixup": mixed})
    assert texts(figure) == [*truth, "none", "flip", "mixup", *mixed]
    lines = {text.get_text(): text.get_position()[1] for text in figure.axes[0].texts}
    last = figure.axes[0].images[-1].get_extent()
    assert lines["0.7 ant + 0.3 bee"] > last[2], "below the last row"


def test_long_names_are_broken_and_cut_so_that_no_two_run_into_each_other():
    truth = ["a very long class name indeed", "Labrador retriever", *["cat"] * 6]
    mixed = ["0.6 a very long class name indeed + 0.4 Labrador retriever", "Labrador retriever", *["cat"] * 6]
    figure = augmentation_figures.preview({"none": images(8), "mixup": images(8)}, {"none": truth, "mixup": mixed})
    figure.draw_without_rendering()
    said = [text for text in figure.axes[0].texts if text.get_text() not in ("none", "mixup")]
    assert said[8].get_text().startswith("0.6 a very") and "…\n+ 0.4 Lab" in said[8].get_text()
    boxes = [text.get_window_extent() for text in said]
    for row in (boxes[:8], boxes[8:]):
        assert all(one.x1 <= other.x0 for one, other in pairwise(row))
    assert max(box.y0 for box in boxes[8:]) >= 0 and min(box.y0 for box in boxes) >= 0, "inside the page"


def test_the_file_is_a_picture_with_the_pixels_of_the_images():
    red, blue = np.zeros((2, 2, 8, 8, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    picture = Image.open(io.BytesIO(figures.png(augmentation_figures.preview({"none": red, "flip": blue}))))
    pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    for colour in ((255, 0, 0), (0, 0, 255)):
        assert np.mean(np.all(pixels == colour, axis=1)) > 0.2


@pytest.mark.parametrize(
    "examples, answers",
    [
        ({}, None),
        ({"none": images(0)}, None),
        ({"none": images(2), "flip": images(3)}, None),
        ({"none": images(2)}, {"none": ["ant"]}),
        ({"none": images(2), "flip": images(2)}, {"none": ["ant", "bee"]}),
        ({"none": images(1), "flip": images(1)}, {"flip": ["ant"], "none": ["ant"]}),
    ],
)
def test_what_does_not_belong_together_is_refused(examples, answers):
    with pytest.raises(InputError, match=r"preview: expected the same images by each policy, .*; give as many"):
        augmentation_figures.preview(examples, answers)
