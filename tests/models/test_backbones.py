"""The registry: every entry builds, preprocesses as published, is flat, and falls into stages; own models too."""

import os
import sys
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from keras.applications.imagenet_utils import preprocess_input

from tl_keras.errors import InputError
from tl_keras.models import backbones
from tl_keras.transfer.frozen import split_frozen

REAL = {
    "mobilenet_0.25": ("mobilenet_2_5_224_tf_no_top.h5", keras.applications.MobileNet, {"alpha": 0.25}),
    "mobilenet_v2_0.35": ("mobilenet_v2_0.35_224_no_top.weights.h5", keras.applications.MobileNetV2, {"alpha": 0.35}),
}
# By the first part of a name. EfficientNetV2's own function does nothing; its layers have a test for themselves. VGG's
# is moved into its first convolution: test_preprocessing.
PREPROCESSING = {
    "vgg16": partial(preprocess_input, mode="torch"),
    "vgg19": partial(preprocess_input, mode="torch"),
    "resnet50": keras.applications.resnet.preprocess_input,
    "densenet121": keras.applications.densenet.preprocess_input,
    "mobilenet": keras.applications.mobilenet.preprocess_input,
    "efficientnetv2b0": partial(preprocess_input, mode="torch"),
    "torch": partial(preprocess_input, mode="torch"),
    "vit": partial(preprocess_input, mode="tf"),
}


def pixels(number=2, side=64):
    return np.random.default_rng(0).integers(0, 256, (number, side, side, 3)).astype("uint8")


def weighted(model):
    return [layer.name for layer in model.layers if layer.weights]


@pytest.fixture(scope="module", params=backbones.names())
def model(request):
    if request.param.startswith(("torch", "vit")):
        pytest.importorskip("keras_hub", reason="the extra kerashub is not installed")
    return backbones.build(request.param, classes=5, size=64)


def test_every_entry_gives_logits_and_is_flat(model):
    outputs = np.array(model(pixels()))
    assert outputs.shape == (2, 5) and np.isfinite(outputs).all()
    assert [layer.name for layer in model.layers if isinstance(layer, keras.Model)] == []
    assert model.input.name == "images" and model.input_shape == (None, 64, 64, 3)
    logits = model.layers[-1]
    assert (logits.name, logits.activation, logits.dtype) == ("logits", keras.activations.linear, "float32")
    # A layer's output belongs to this model, not to the network that it was taken from.
    middle = model.layers[len(model.layers) // 2]
    keras.Model(model.input, middle.output)


def test_preprocessing_is_as_keras_has_it(model):
    published = PREPROCESSING[model.name.split("_")[0]](pixels().astype("float32"))
    ours = keras.Model(model.input, model.get_layer("rescale").output)(pixels())
    np.testing.assert_allclose(ours, published, atol=3e-5)


def test_stages_hold_the_layers_of_the_body_in_order(model):
    stages = backbones.stages(model)
    found = [name for stage in stages for name in stage]
    head = ["fc1", "fc2", "logits"] if model.name.startswith("vgg") else ["logits"]
    assert [name for name in found if model.get_layer(name).weights] + head == weighted(model)
    assert len(stages) == (13 if model.name.startswith("vit") else 5)
    assert all(any(model.get_layer(name).weights for name in stage) for stage in stages)


def test_frozen_body_is_the_prefix(model):
    for layer in model.layers:
        layer.trainable = layer.name == "logits"
    prefix, suffix = split_frozen(model)
    assert weighted(prefix) == weighted(model)[:-1] and weighted(suffix) == ["logits"]
    np.testing.assert_allclose(suffix(prefix(pixels())), model(pixels()), atol=1e-5)


def test_efficientnet_preprocesses_as_its_own_layers_do():
    own = keras.applications.EfficientNetV2B0(include_top=False, weights=None, input_shape=(64, 64, 3))
    last = next(layer for layer in own.layers if isinstance(layer, keras.layers.Normalization))
    own = keras.Model(own.input, last.output)
    np.testing.assert_allclose(own(pixels()), preprocess_input(pixels().astype("float32"), mode="torch"), atol=1e-5)


def test_vgg_stages_are_its_blocks_and_its_head_is_torchvisions():
    model = backbones.build("vgg16", classes=3, size=32)
    for number, stage in enumerate(backbones.stages(model), start=1):
        assert {name[:6] for name in stage if model.get_layer(name).weights} == {f"block{number}"}
    tail = ["flatten", "fc1", "fc1_dropout", "fc2", "fc2_dropout", "logits"]
    assert [layer.name for layer in model.layers][-6:] == tail
    assert model.get_layer("fc1_dropout").rate == 0.5 and model.get_layer("fc2").activation is keras.activations.relu


@pytest.mark.parametrize("name", REAL)
def test_real_weights_give_the_published_features(name):
    if "TL_KERAS_WEIGHTS" not in os.environ:
        pytest.skip("TL_KERAS_WEIGHTS names no folder of weight files")
    file, factory, options = REAL[name]
    path = str(Path(os.environ["TL_KERAS_WEIGHTS"]) / file)
    model = backbones.build(name, classes=4, weights=path)
    published = factory(include_top=False, weights=path, pooling="avg", input_shape=(224, 224, 3), **options)
    images = pixels(3, side=224)
    expected = published.predict(preprocess_input(images.astype("float32"), mode="tf"), verbose=0)
    found = keras.Model(model.input, model.get_layer("pooled").output).predict(images, verbose=0)
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_keras_file_round_trip(tmp_path):
    model = backbones.build("resnet50", classes=3, size=64)
    model.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(pixels()), model(pixels()))


def test_mixed_precision_keeps_pixels_and_logits_exact():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = backbones.build("mobilenet_0.25", classes=3, size=64)
    assert model.get_layer("rescale").output.dtype == model.output.dtype == "float32"
    assert model.get_layer("conv1").compute_dtype == "bfloat16"


def test_default_size_and_any_width():
    assert backbones.build("mobilenet_v2_0.1", classes=2).input_shape == (None, 224, 224, 3)
    entry = backbones.find("mobilenet_0.4")
    assert (entry.name, entry.top1, entry.input_size) == ("mobilenet_0.4", None, (224, 224))
    assert backbones.find("mobilenet_1").top1 == backbones.find("mobilenet_1.0").top1 == 0.704


@pytest.mark.parametrize(
    "name",
    ["vgg", "resnet", "mobilenet", "mobilenet_0", "mobilenet_x", "mobilenet_-1", "mobilenet_0.01", "mobilenet_9",
     "mobilenet_v2_nan", "mobilenet_v3_1.0", "torch_resnet", "", "absent.keras", "absent.h5"],
)  # fmt: skip
def test_unknown_names(name):
    with pytest.raises(InputError, match=r"expected vgg16.*mobilenet_A.*received .*; check the spelling") as error:
        backbones.build(name, classes=2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name, size", [("mobilenet_0.25", 16), ("vit_base", 72)])
def test_sizes_that_do_not_fit(name, size):
    with pytest.raises(InputError, match=f"size: expected .* received {size}"):
        backbones.build(name, classes=2, size=size)


def test_without_kerashub(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(InputError, match=r"torch_resnet18: expected the package keras-hub.*tl-keras\[kerashub\]"):
        backbones.build("torch_resnet18", classes=2)


def own_model(softmax=True):
    images = keras.Input((24, 24, 3))
    inner = keras.Sequential([keras.Input((24, 24, 6)), keras.layers.Conv2D(8, 3, strides=2, name="conv"),
                              keras.layers.BatchNormalization(), keras.layers.GlobalAveragePooling2D()])  # fmt: skip
    x = keras.layers.Rescaling(1 / 255)(images)
    x = inner(keras.layers.Conv2D(6, 3, padding="same", name="conv")(x))
    x = keras.layers.Dense(7, activation="relu", name="logits")(x)
    x = keras.layers.Dense(10)(x)
    return keras.Model(images, keras.layers.Softmax()(x) if softmax else x)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_own_model(tmp_path, suffix):
    path = str(tmp_path / f"mine.{suffix}")
    own = own_model(softmax=suffix == "h5")
    own.save(path)
    model = backbones.build(path, classes=3)
    assert (model.name, model.output_shape, model.input_shape) == ("mine", (None, 3), (None, 24, 24, 3))
    assert [layer for layer in model.layers if isinstance(layer, keras.Model)] == []
    features = keras.Model(own.input, own.get_layer("logits").output)(pixels(side=24))
    np.testing.assert_allclose(keras.Model(model.input, model.layers[-1].input)(pixels(side=24)), features, atol=1e-6)
    names = weighted(model)
    assert (names[:2], names[3:]) == (["conv", "conv_1"], ["logits_1", "logits"])
    assert [len(stage) for stage in backbones.stages(model)] == [2, 2]


def test_own_model_of_grey_images(tmp_path):
    layers = [keras.Input((28, 20, 1)), keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
    keras.Sequential(layers).save(tmp_path / "grey.keras")
    model = backbones.build(str(tmp_path / "grey.keras"), classes=3)
    assert (model.input_shape, model.output_shape) == ((None, 28, 20, 1), (None, 3))
    assert backbones.input_shape(str(tmp_path / "grey.keras")) == (28, 20, 1)
    assert backbones.input_shape("vgg16") == (224, 224, 3)


def test_own_model_that_cannot_be_used(tmp_path):
    def saved(name, model):
        model.save(tmp_path / name)
        return str(tmp_path / name)

    image, flat = keras.Input((8, 8, 3)), keras.layers.Flatten()
    cases = {
        "headless.keras": (keras.Model(image, keras.layers.Conv2D(4, 3)(image)), "ends in Conv2D"),
        "two.keras": (keras.Sequential([keras.Input((8, 8, 2)), flat, keras.layers.Dense(2)]), "received .*8, 8, 2"),
        "code.keras": (keras.Model(image, keras.layers.Lambda(lambda x: x * 2)(image)), "expected a Keras model"),
    }
    for name, (model, message) in cases.items():
        with pytest.raises(InputError, match=message) as error:
            backbones.build(saved(name, model), classes=2)
        assert "\n" not in str(error.value)
    own_model().save(tmp_path / "mine.keras")
    for options, message in (({"weights": "imagenet"}, "its own weights"), ({"size": 40}, "expected 24 x 24")):
        with pytest.raises(InputError, match=message):
            backbones.build(str(tmp_path / "mine.keras"), classes=2, **options)
    (tmp_path / "text.keras").write_text("no model")
    with pytest.raises(InputError, match=r"expected a Keras model, received .*text\.keras"):
        backbones.build(str(tmp_path / "text.keras"), classes=2)
