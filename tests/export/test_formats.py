"""A network answers in every format as it does here, or is not written."""

import json
import zipfile

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from tl_keras import values
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.export import formats
from tl_keras.models import cnn, heads, model_file, networks

VIEW = View((16, 16), scaled=(20, 18))
NAMES = ("Łódź", "red fox", "c")
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), "uint8")


def small():
    return cnn.build(3, (16, 16, 3), filters=(4, 4, 4, 4), units=8)


@pytest.fixture
def path(tmp_path):
    model_file.save(small(), tmp_path / "net.keras", VIEW, NAMES)
    return tmp_path / "net.keras"


def expected(path):
    return keras.models.load_model(path).predict(IMAGES, verbose=0)


def written(path, format):
    return formats.write(path, format, path.parent / "out", "net", "# card", IMAGES)


def test_onnx(path):
    found = written(path, "onnx")
    assert found == path.parent / "out/net.onnx"
    session = onnxruntime.InferenceSession(found)
    logits, probabilities = session.run(["logits", "probabilities"], {"images": IMAGES.astype("float32")})
    np.testing.assert_allclose(probabilities, expected(path), atol=1e-5)
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), probabilities, atol=1e-6)
    said = {each.key: each.value for each in onnx.load(found).metadata_props}
    assert said["labels"].split("\n") == list(NAMES)
    assert values.from_json(json.loads(said["tl_keras.json"])["view"]) == VIEW


def test_tflite(path):
    found = written(path, "tflite")
    with pytest.warns(UserWarning, match="deprecated"):
        runner = tf.lite.Interpreter(model_path=str(found)).get_signature_runner("pixels")
    for count in (5, 1):
        answer = runner(images=IMAGES[:count].astype("float32"))
        np.testing.assert_allclose(answer["probabilities"], expected(path)[:count], atol=1e-5)
    with zipfile.ZipFile(found) as files:
        assert files.read("labels.txt").decode().split("\n")[:3] == list(NAMES)
        assert values.from_json(json.loads(files.read("tl_keras.json"))["view"]) == VIEW


def test_keras_and_saved_model(path):
    assert written(path, "keras").read_bytes() == path.read_bytes()
    version = written(path, "savedmodel")
    assert version == path.parent / "out/net/1" and (version / "assets/README.md").read_text() == "# card"
    served = tf.saved_model.load(str(version))
    found = served.pixels(IMAGES.astype("float32"))["probabilities"]
    np.testing.assert_allclose(found, expected(path), atol=1e-5)


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_a_backbone_in_the_new_formats(tmp_path, format):
    view = View((64, 64))
    model_file.save(networks.build("mobilenet_0.25", 3, view), tmp_path / "net.keras", view, NAMES)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), "uint8")
    assert formats.write(tmp_path / "net.keras", format, tmp_path, "out", "", images).stat().st_size > 500_000


def test_a_vote_has_probabilities_alone(tmp_path):
    images, member = keras.Input((16, 16, 3)), small()
    vote = keras.layers.Average()([member(images), member(keras.ops.flip(images, axis=2))])
    model_file.save(keras.Model(images, vote), tmp_path / "net.keras", VIEW, NAMES)
    session = onnxruntime.InferenceSession(written(tmp_path / "net.keras", "onnx"))
    assert [output.name for output in session.get_outputs()] == ["probabilities"]


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_one_that_answers_otherwise_is_not_written(path, format, monkeypatch):
    before = heads.before_softmax
    monkeypatch.setattr(heads, "before_softmax", lambda model: scaled(before(model)))
    converted = formats._answers

    def plain(model):
        with monkeypatch.context() as patch:
            patch.setattr(heads, "before_softmax", before)
            return converted(model)

    monkeypatch.setattr(formats, "_answers", plain)
    with pytest.raises(InputError, match=rf"expected logits of {format} within 1e-05 of the network's, received"):
        written(path, format)
    assert list((path.parent / "out").glob("*")) == []


def scaled(model):
    return keras.Model(model.inputs, keras.layers.Rescaling(1.001)(model.output))


def test_layers_that_a_converter_does_not_know(tmp_path):
    images = keras.Input((16, 16, 3))
    odd = keras.ops.sum(keras.ops.fft2((images[..., 0], images[..., 1]))[0], axis=(1, 2))[:, None]
    model = keras.Model(images, keras.layers.Dense(3, activation="softmax")(odd))
    model_file.save(model, tmp_path / "net.keras", VIEW, NAMES)
    with pytest.raises(InputError, match=r"--format: expected a network that onnx knows all layers of, received"):
        written(tmp_path / "net.keras", "onnx")


def test_a_file_that_says_no_view(tmp_path):
    small().save(tmp_path / "net.keras")
    with pytest.raises(InputError, match="with a view and class names"):
        written(tmp_path / "net.keras", "onnx")
