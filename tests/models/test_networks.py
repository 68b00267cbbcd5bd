"""Every network that a trial can name: how it sees images, with what it starts, what comes out."""

import keras
import numpy as np
import pytest

from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.models import model_file, networks

SHAPES = {"colour": (32, 32, 3), "grey": (28, 28, 1), "large": (144, 160, 3), "open": (None, None, 3)}


def own_model(path, shape, units=10):
    """A person's classifier, saved by plain Keras."""
    layers = [keras.Input(shape), keras.layers.Conv2D(4, 3, name="conv"), keras.layers.GlobalMaxPooling2D(),
              keras.layers.Dense(units, activation="softmax")]  # fmt: skip
    model = keras.Sequential(layers)
    model.save(path)
    return str(path), model


def images(view, count=2):
    return np.random.default_rng(0).integers(0, 256, (count, *view.shape)).astype("float32")


# -------------------------------------------------------------------------------------------------- own models


@pytest.mark.parametrize("kind", ["colour", "grey"])
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_persons_model_is_a_backbone(tmp_path, kind, suffix):
    name, own = own_model(tmp_path / f"mine.{suffix}", SHAPES[kind])
    view = networks.view(name, mirror=kind == "colour")
    assert view == View(SHAPES[kind][:2], channels=SHAPES[kind][2], mirror=kind == "colour")
    assert view.shape == SHAPES[kind], "all of a small image is seen"
    model = networks.build(name, 3, view, networks.weights_of(name, None))
    assert model.output_shape == (None, 3) and model.input_shape == (None, *SHAPES[kind])
    np.testing.assert_allclose(np.sum(model(images(view)), axis=1), 1, atol=1e-6)
    for weight, kept in zip(model.get_layer("conv").get_weights(), own.get_layer("conv").get_weights(), strict=True):
        np.testing.assert_array_equal(weight, kept)


def test_a_persons_model_brings_its_weights(tmp_path):
    name, _ = own_model(tmp_path / "mine.keras", SHAPES["grey"])
    assert networks.weights_of(name, None) == networks.weights_of(name, "none") == "none"
    for given in ("imagenet", "weights.h5"):
        with pytest.raises(InputError, match=f"--weights: expected none with a model file, received {given}; .*mine"):
            networks.weights_of(name, given)


def test_a_larger_model_of_colours_is_shown_the_centre_unless_all_is_asked_for(tmp_path):
    name, _ = own_model(tmp_path / "mine.keras", SHAPES["large"])
    assert networks.view(name, mirror=True) == View((144, 160), scaled=(165, 183))
    assert networks.view(name, mirror=False, margin=False) == View((144, 160), mirror=False)


def test_a_model_of_any_size_is_shown_that_of_imagenet(tmp_path):
    name, _ = own_model(tmp_path / "mine.keras", SHAPES["open"])
    view = networks.view(name, mirror=True)
    assert view == View((224, 224), scaled=(256, 256))
    assert networks.build(name, 2, view).input_shape == (None, 224, 224, 3)


@pytest.mark.parametrize("saved", [View((28, 28), scaled=(40, 36), channels=1), View((28, 28), channels=1)], ids=repr)
def test_a_model_of_ours_is_shown_what_it_was_trained_with(tmp_path, saved):
    _, own = own_model(tmp_path / "plain.keras", SHAPES["grey"])
    model_file.save(own, tmp_path / "ours.keras", saved, tuple("0123456789"))
    for margin in (True, False):
        view = networks.view(str(tmp_path / "ours.keras"), mirror=False, margin=margin)
        assert view == View(saved.size, saved.scaled, channels=1, mirror=False), (
            "the data say whether it may be mirrored"
        )
    assert networks.build(str(tmp_path / "ours.keras"), 2, view).output_shape == (None, 2)


@pytest.mark.parametrize(
    "kind, other",
    [("colour", View((32, 32), channels=1)), ("colour", View((28, 28))), ("grey", View((28, 28))),
     ("grey", View((28, 32), channels=1))],
)  # fmt: skip
def test_another_view_than_the_model_sees_is_refused(tmp_path, kind, other):
    name, _ = own_model(tmp_path / "mine.keras", SHAPES[kind])
    with pytest.raises(InputError, match=r"expected .*received .*") as caught:
        networks.build(name, 3, other)
    assert "\n" not in str(caught.value) and "mine.keras" in str(caught.value)
    assert str(SHAPES[kind]) in str(caught.value) and str(other.shape) in str(caught.value)


# -------------------------------------------------------------------------------------------- of the registry


@pytest.mark.parametrize("name", ["mobilenet_0.25", "vgg16", "mobilenet_v2_0.3"])
def test_a_published_network_is_shown_images_as_it_was_tested(name):
    assert networks.view(name, mirror=True) == View((224, 224), scaled=(256, 256))
    assert networks.view(name, mirror=False, margin=False) == View((224, 224), mirror=False)


def test_published_weights_are_the_default_of_published_networks():
    asked = [networks.weights_of("vgg16", given) for given in (None, "none", "imagenet", "mine.h5", "")]
    assert asked == ["imagenet", "none", "imagenet", "mine.h5", ""], "an empty name is no default"


def test_a_published_network_is_built_for_the_size_that_is_seen():
    view = View((64, 64))
    model = networks.build("mobilenet_0.25", 5, view)
    assert model.input_shape == (None, 64, 64, 3)
    np.testing.assert_allclose(np.sum(model(images(view)), axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("view", [View((64, 64), channels=1), View((64, 96))], ids=repr)
def test_a_view_that_a_published_network_cannot_have_is_refused(view):
    with pytest.raises(InputError, match=r"--backbone mobilenet_0.25: expected images .*received a view of") as caught:
        networks.build("mobilenet_0.25", 5, view)
    assert str(view.shape) in str(caught.value)


# ------------------------------------------------------------------------------------------------ the project's own


@pytest.mark.parametrize("name", networks.OWN)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_projects_own_networks_see_what_the_view_says(name, channels):
    view = View((28, 28), channels=channels)
    model = networks.build(name, 4, view)
    assert (model.input_shape, model.output_shape) == ((None, 28, 28, channels), (None, 4))
    np.testing.assert_allclose(np.sum(model(images(view)), axis=1), 1, atol=1e-5)
    kinds = {type(layer).__name__ for layer in model.layers}
    assert ("SpatialTransformer" in kinds) == (name == "stn")


def test_a_network_that_is_not_known():
    with pytest.raises(InputError, match=r"--backbone: expected vgg16.*received 'lenet'"):
        networks.build("lenet", 4, View((28, 28)))
    for ask in (lambda: networks.view("absent.keras", mirror=True), lambda: networks.weights_of("absent.keras", None)):
        with pytest.raises(InputError, match=r"--backbone: .*received 'absent\.keras'"):
            ask()
