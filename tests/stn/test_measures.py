"""What is measured while a network is at hand: on images that say themselves what was done to them."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates

from experiments.stn import affine, measures
from experiments.stn.copies import THIRDS, Copies, thirds
from experiments.stn.deformations import DEFORMATIONS
from tl_keras import models
from tl_keras.data import deform, selection, sources
from tl_keras.data.view import View

VIEW = View((28, 28), mirror=False)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def model():
    """A transformer that does something: its last weights are zero before it is trained."""
    found = models.stn_network.build((28, 28, 3), classes=10)
    rng = np.random.default_rng(0)
    for weight in found.get_layer("transformer").trainable_weights[-2:]:
        weight.assign(weight.numpy() + rng.normal(0, 0.1, weight.shape))
    return found


@pytest.fixture(scope="module")
def digits():
    return selection.Selection("digits", limit=60).load(VIEW)


@pytest.fixture(scope="module")
def copies():
    return Copies("digits", limit=50, seed=1).load(VIEW)


def test_what_is_undone_is_told_for_every_deformation(model, digits):
    numbers, curves = measures.Undone(probed=12)(model, digits)
    assert list(numbers) == list(curves) == [kind.name for kind in DEFORMATIONS]
    for kind in DEFORMATIONS:
        told, curve = numbers[kind.name], curves[kind.name]
        assert told["images"] == 12 and told["interval_95"][0] < told["slope"] < told["interval_95"][1]
        assert curve[:, 0].tolist() == told["undone"] and (curve[:, 1] <= curve[:, 0]).all()
        assert told["undone"][told["applied"].index(0)] == pytest.approx(0, abs=1e-5), "an image that is not deformed"


def test_images_that_are_not_deformed_are_recognised_as_ever(model, digits):
    numbers, _ = measures.Deformed()(model, digits)
    right = (model.predict(digits.test.images, verbose=0).argmax(axis=1) == digits.test.labels).sum()
    assert numbers["images"] == 60 and numbers["right"]["rotation"][4] == numbers["right"]["shear"][4] == right


def test_theta_and_the_images_at_its_ends(model, digits):
    numbers, seen = measures.Theta(extremes=2)(model, digits)
    theta = models.stn_network.thetas(model, digits.test.images)
    parts = affine.decompose(theta)
    np.testing.assert_allclose(seen["parts"], parts, rtol=1e-6)
    for number, rows in enumerate(seen["rows"]):
        ranked = np.sort(parts[:, number])
        assert parts[rows, number].tolist() == [*ranked[:2], *ranked[-2:]]
    last = seen["rows"][5, 3]
    np.testing.assert_array_equal(seen["before"][5, 3], digits.test.images[last])
    after = affine.deform(digits.test.images[last][None], theta[last][None])[0]
    assert np.abs(seen["after"][5, 3] - after).max() < 0.51
    assert numbers["shear"]["mean"] == parts[:, 3].mean() and 0 < numbers["shear"]["between_classes"] < 1


def test_few_images_are_each_shown_once(model, digits):
    _, seen = measures.Theta(extremes=31)(model, digits)
    assert seen["rows"].shape == (6, 60) and all(len(set(rows)) == 60 for rows in seen["rows"])


@pytest.mark.parametrize(
    "values, share", [([1, 1, 3, 3], 1.0), ([1, 3, 1, 3], 0.0), ([0, 2, 2, 4], 0.5), ([5, 5, 5, 5], 0.0)]
)
def test_variance_between_classes_by_hand(values, share):
    assert measures.between_classes(np.array(values, float), np.array([0, 0, 1, 1])) == pytest.approx(share)


# -------------------------------------------------------------------------------------- deformed copies


def test_every_image_comes_three_times(copies):
    test, parts = copies.test, thirds(150)
    assert (len(copies.train), len(test), list(copies.watched)) == (150, 150, list(THIRDS))
    for name, rows in parts.items():
        np.testing.assert_array_equal(copies.watched[name].images, test.images[rows])
        np.testing.assert_array_equal(test.labels[rows], test.labels[parts["original"]])
    np.testing.assert_array_equal(
        test.images[parts["zoomed_out"]], deform.ZoomOut(4)(test.images[parts["original"]], 0)
    )
    assert [str(test.ids[row]).partition("-")[2] for row in (0, 50, 100)] == ["", "elastic", "zoomed_out"]
    assert test.images.shape[-1] == 3 and test.images.strides[-1] == 0, "three channels take the memory of one"


def test_the_fields_that_are_measured_are_those_of_the_images(model, copies):
    elastic = Copies("digits", limit=50, seed=1).elastic("test")
    numbers, seen = measures.ElasticUndone(elastic, probed=15)(model, copies)
    originals, bent, _ = seen["before"][:, :4, ..., 0]
    for image, copy, field in zip(originals, bent, seen["fields"][0], strict=True):
        places = np.moveaxis(field, -1, 0) + np.indices((28, 28))
        assert np.abs(map_coordinates(image.astype(float), places, order=3).clip(0, 255) - copy).max() < 0.51
    assert numbers["images"] == len(seen["wanted"]) == 15 and seen["parts"].shape == (3, 15, 6)
    assert (seen["pixels"][1] < seen["pixels"][0]).all(), "the best affine map leaves less"
    told = {name: numbers["elastic"][name]["mean"] for name in ("undone", "centring", "beyond_centring")}
    assert told["beyond_centring"] == pytest.approx(told["undone"] - told["centring"])
    assert numbers["elastic"]["pixels_after_best_affine"] < numbers["elastic"]["pixels_after_transformer"]
    assert list(numbers["elastic"]["slopes"]) == list(affine.PARTS)
    assert list(numbers["theta_spread_pixels"]) == list(THIRDS)
    assert numbers["zoom"]["affine_share"]["mean"] == pytest.approx(1)


def test_train_and_test_images_have_fields_of_their_own():
    for seed in (0, 1):
        seeds = [Copies("digits", seed=seed).elastic(part).seed for part in ("train", "test")]
        assert seeds == [2 * seed, 2 * seed + 1]


def test_colours_become_the_grey_that_the_network_reads(tmp_path):
    rng = np.random.default_rng(0)
    for number, name in enumerate(("ant", "bee")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(10):
            pixels = rng.integers(0, 100, (28, 28, 3), "uint8") + np.uint8(100 * number)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    train = Copies(str(tmp_path / "photos")).load(VIEW).train
    colours = sources.load(tmp_path / "photos", size=(28, 28)).train
    grey = train.images[: len(colours)]
    assert len(train) == 3 * len(colours)
    assert np.abs(grey.astype(float) - colours.images[:].mean(axis=-1, keepdims=True)).max() < 1
