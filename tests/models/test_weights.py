"""Weight files: what fits is loaded exactly, all else is refused in one line; a failed download is no accident."""

import importlib
import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from tl_keras.errors import InputError
from tl_keras.models import backbones, weights


def network(alpha=0.25, **options):
    return keras.applications.MobileNet(
        alpha=alpha, include_top=False, weights=None, input_shape=(64, 64, 3), **options
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One file of each kind, and the network whose weights stand in the good ones."""
    folder = tmp_path_factory.mktemp("weights")
    good = network()
    good.save_weights(folder / "good.weights.h5")
    good.save(folder / "good_legacy.h5")
    network(alpha=0.5).save_weights(folder / "wider.weights.h5")
    network(alpha=0.5).save(folder / "wider_legacy.h5")
    keras.applications.MobileNetV2(
        alpha=0.35, include_top=False, weights=None, input_shape=(64, 64, 3)
    ).save_weights(folder / "v2.weights.h5")  # fmt: skip
    deeper = keras.Model(good.input, keras.layers.Conv2D(3, 1, name="more")(good.output))
    deeper.save_weights(folder / "deeper.weights.h5")
    for name in ("good.weights.h5", "good_legacy.h5"):
        whole = (folder / name).read_bytes()
        (folder / f"cut_{name}").write_bytes(whole[: len(whole) // 2])
    (folder / "text.h5").write_text("no weights")
    (folder / "empty.weights.h5").write_bytes(b"")
    shutil.copy(folder / "good.weights.h5", folder / "good.bin")
    return folder, good


@pytest.mark.parametrize("name", ["good.weights.h5", "good_legacy.h5"])
def test_what_fits_is_loaded(files, name):
    folder, good = files
    model = backbones.build("mobilenet_0.25", classes=2, weights=str(folder / name), size=64)
    loaded = [weight for layer in model.layers if layer.name != "logits" for weight in layer.weights]
    for weight, expected in zip(loaded, good.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize(
    "name, message",
    [
        ("wider.weights.h5", r"expected 135 arrays of weights, received 135 \(.* is missing and .* belongs elsewhere"),
        ("wider_legacy.h5", "expected 135 arrays of weights, received 135"),
        ("v2.weights.h5", "expected 135 arrays of weights, received 260"),
        ("deeper.weights.h5", r"expected 135 .*received 137 \(\(1, 1, 256, 3\) belongs elsewhere\)"),
        ("cut_good.weights.h5", "whole Keras weight file, received"),
        ("cut_good_legacy.h5", "whole Keras weight file, received"),
        ("text.h5", "whole Keras weight file, received"),
        ("empty.weights.h5", "whole Keras weight file, received"),
        ("good.bin", "a file named .h5 or .weights.h5, received"),
        ("absent.h5", "imagenet, none or a weight file, received"),
        ("", "imagenet, none or a weight file, received"),
    ],
)
def test_what_does_not_fit_is_refused(files, name, message):
    with pytest.raises(InputError, match=message) as error:
        backbones.build("mobilenet_0.25", classes=2, weights=str(files[0] / name), size=64)
    assert "\n" not in str(error.value) and name in str(error.value) and len(str(error.value)) < 400


def test_a_file_of_another_network_changes_nothing(files):
    vessel = network()
    before = vessel.get_weights()
    with pytest.raises(InputError):
        weights.load("mobilenet_0.25", str(files[0] / "wider_legacy.h5"), vessel)
    for weight, expected in zip(vessel.weights, before, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_damage_among_the_arrays(files, tmp_path):
    """The list of arrays is whole, an array is not."""
    import h5py

    path = tmp_path / "damaged.h5"
    shutil.copy(files[0] / "good_legacy.h5", path)
    with h5py.File(path, "r+") as file:
        group = file["model_weights/conv1"]
        group.attrs["weight_names"] = ["gone"]
    with pytest.raises(InputError, match="whole Keras weight file"):
        backbones.build("mobilenet_0.25", classes=2, weights=str(path), size=64)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["spoilt.weights.h5", "spoilt.h5"])
def test_weights_that_are_no_numbers_are_refused(tmp_path, name, bad):
    spoilt = network()
    layer = spoilt.get_layer("conv_dw_7")
    layer.set_weights([np.where(np.arange(array.shape[2])[:, None] == 5, bad, array) for array in layer.get_weights()])
    (spoilt.save_weights if name.endswith("weights.h5") else spoilt.save)(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: expected finite weights, .* in conv_dw_7/kernel; fetch it anew"):
        backbones.build("mobilenet_0.25", classes=2, weights=str(tmp_path / name), size=64)


@pytest.mark.parametrize(
    "name, policy",
    [("spoilt.keras", "float32"), ("spoilt.keras", "float16"), ("spoilt.keras", "bfloat16"), ("spoilt.h5", "float32")],
)
def test_a_model_whose_weights_are_no_numbers_is_refused(tmp_path, name, policy):
    keras.config.set_dtype_policy(policy)
    body = [keras.layers.Flatten(), keras.layers.Dense(4, name="hidden"), keras.layers.Dense(3)]
    spoilt = keras.Sequential([keras.Input((8, 8, 3)), *body])
    bias = spoilt.get_layer("hidden").bias
    bias.assign([0, 0, np.nan, 0])
    spoilt.save(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: expected finite weights, .* in .*hidden/bias; fetch it anew"):
        backbones.build(str(tmp_path / name), classes=2)
    bias.assign([0, 0, 0, 0])
    spoilt.save(tmp_path / name)
    assert backbones.build(str(tmp_path / name), classes=2).output_shape == (None, 2)


def test_vgg_takes_fc1_and_fc2_where_the_file_has_them(tmp_path):
    whole = keras.applications.VGG16(weights=None, input_shape=(32, 32, 3))
    body = keras.Model(whole.input, whole.get_layer("block5_pool").output)
    whole.save_weights(tmp_path / "whole.weights.h5")
    body.save_weights(tmp_path / "body.weights.h5")
    with pytest.warns(UserWarning, match="no fc1 and fc2"):
        model = backbones.build("vgg16", 2, weights=str(tmp_path / "body.weights.h5"), size=32)
    for layer, is_loaded in (("block5_conv3", True), ("fc1", False), ("fc2", False)):
        pair = model.get_layer(layer).get_weights()[0], whole.get_layer(layer).get_weights()[0]
        assert np.array_equal(*pair) is is_loaded
    model = backbones.build("vgg16", 2, weights=str(tmp_path / "whole.weights.h5"), size=32)
    for layer in ("block1_conv2", "block5_conv3", "fc1", "fc2"):
        np.testing.assert_array_equal(model.get_layer(layer).kernel, whole.get_layer(layer).kernel)


def test_published_weights_that_lie_in_the_cache_are_at_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert weights.at_hand() == []
    (tmp_path / "models").mkdir()
    for name in ("mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5", "notes.txt",
                 "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"):  # fmt: skip
        (tmp_path / "models" / name).touch()
    assert weights.at_hand() == ["resnet50", "mobilenet_v2_0.35"]


def test_a_download_of_keras_has_the_name_that_is_looked_for(monkeypatch):
    asked = []

    def fetched(name, *given, **options):
        asked.append(name)
        raise OSError("no network")

    for module in ("mobilenet", "mobilenet_v2", "resnet", "densenet", "efficientnet_v2"):
        monkeypatch.setattr(f"keras.src.applications.{module}.file_utils.get_file", fetched)
    for name in weights._CACHED:
        if name.startswith("vgg"):  # a slow network to build, and Keras names its file
            source = importlib.import_module(f"keras.src.applications.{name}")
            asked.append(source.WEIGHTS_PATH.rpartition("/")[-1])
            continue
        with pytest.raises(InputError):
            backbones.build(name, 2, weights="imagenet", size=32)
    assert asked == list(weights._CACHED.values())


@pytest.mark.parametrize("name", ["mobilenet_0.5", "torch_resnet18"])
def test_no_download_no_model(name, monkeypatch, tmp_path):
    if name.startswith("torch"):
        pytest.importorskip("keras_hub", reason="the extra kerashub is not installed")
    # Nothing fetched earlier, and nobody at the proxy's address.
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    for variable in ("http_proxy", "https_proxy", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    with pytest.raises(
        InputError, match=f"published weights of {name} from .*--weights PATH .*--weights none"
    ) as error:
        backbones.build(name, classes=2, weights="imagenet")
    assert "\n" not in str(error.value)


def test_weights_that_were_never_published():
    with pytest.raises(InputError, match=r"published weights of mobilenet_0.3 .*0.25.*--weights none"):
        backbones.build("mobilenet_0.3", classes=2, weights="imagenet")


def test_real_files_of_one_network_are_refused_by_another():
    if "TL_KERAS_WEIGHTS" not in os.environ:
        pytest.skip("TL_KERAS_WEIGHTS names no folder of weight files")
    for name, file in (("mobilenet_0.5", "mobilenet_2_5_224_tf_no_top.h5"),
                       ("mobilenet_v2_0.5", "mobilenet_v2_0.35_224_no_top.weights.h5"),
                       ("mobilenet_v2_0.35", "mobilenet_2_5_224_tf_no_top.h5")):  # fmt: skip
        with pytest.raises(InputError, match="arrays of weights, received"):
            backbones.build(name, 2, weights=str(Path(os.environ["TL_KERAS_WEIGHTS"]) / file))
