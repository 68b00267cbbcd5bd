"""Who runs a network that does not train: one answer, the same bits of one engine, TensorFlow where in doubt."""

import keras
import numpy as np
import pytest
from keras import layers

from tl_keras.models import backbones, cnn
from tl_keras.training import inference
from tl_keras.transfer import engine

SIDE = 32


@pytest.fixture(autouse=True)
def nothing_tried():
    engine.forget()


def images(channels: int = 3, count: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, channels), "uint8")


def randomised(model: keras.Model) -> keras.Model:
    """Weights that are not at their beginnings, so that no BatchNorm is the identity."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if "seed" not in weight.path:
            weight.assign(rng.uniform(0.2, 1.0, weight.shape) * rng.choice([1, 1, -1], weight.shape) ** (
                "variance" not in weight.path) * 0.3)  # fmt: skip
    return model


def convolutional():
    return randomised(cnn.build(4))


def cut_in_the_middle():
    """Two outputs, one of them inside the network."""
    model = randomised(cnn.build(4))
    return keras.Model(model.input, [model.get_layer("relu2").output, model.get_layer("dense1").output])


def nested():
    inner = keras.Sequential([keras.Input((SIDE, SIDE, 3)), layers.Conv2D(4, 3), layers.BatchNormalization()])
    seen = keras.Input((SIDE, SIDE, 3))
    return randomised(keras.Model(seen, layers.GlobalAveragePooling2D()(inner(layers.Rescaling(1 / 255)(seen)))))


def normalised():
    seen = keras.Input((SIDE, SIDE, 3))
    normalization = layers.Normalization()
    normalization.adapt(images().astype("float32"))
    return keras.Model(seen, layers.Conv2D(4, 3, strides=2, padding="same")(normalization(seen)))


def preprocessed_by_itself():
    """A person's own preprocessing: channels swapped, means taken off."""
    seen = keras.Input((SIDE, SIDE, 3))
    x = keras.ops.flip(seen, axis=-1) - np.array([103.9, 116.8, 123.7], "float32")
    return keras.Model(seen, layers.Flatten()(layers.MaxPooling2D(4)(keras.ops.sqrt(keras.ops.abs(x)))))


def attending():
    """As a Vision Transformer: patches, attention, LayerNorm and GELU."""
    seen = keras.Input((SIDE, SIDE, 3))
    tokens = layers.Reshape((16, 24))(layers.Conv2D(24, 8, strides=8)(layers.Rescaling(1 / 255)(seen)))
    tokens = layers.Add()([tokens, layers.MultiHeadAttention(2, 12)(tokens, tokens)])
    return keras.Model(seen, layers.Dense(8, activation="gelu")(layers.LayerNormalization()(tokens)))


def grey():
    seen = keras.Input((SIDE, SIDE, 1))
    return keras.Model(seen, layers.Dropout(0.5)(layers.Conv2D(4, 5, activation="relu")(seen)))


def small_mobilenet():
    model = backbones.build("mobilenet_v2_0.35", 3)
    return keras.Model(model.input, model.get_layer("logits").input)


NETWORKS = [convolutional, cut_in_the_middle, nested, normalised, preprocessed_by_itself, attending, grey]


@pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)
def test_onnxruntime_gives_what_tensorflow_gives(build, capsys):
    network = build()
    seen = images(network.input_shape[-1])
    running = engine.choose(network, [seen], "onnxruntime")
    assert running.name.startswith("onnxruntime "), capsys.readouterr().err
    for rows in (slice(None), slice(3, 4)):
        expected = [np.asarray(output) for output in keras.tree.flatten(network(seen[rows].astype("float32")))]
        found = running.run([seen[rows]])
        assert [output.shape for output in found] == [output.shape for output in expected]
        for one, other in zip(expected, found, strict=True):
            assert np.abs(one - other).max() <= 1e-5 * np.abs(one).max()


def test_a_network_of_the_registry_at_its_own_size():
    seen = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), "uint8")
    network = small_mobilenet()
    running = engine.choose(network, [seen], "onnxruntime")
    assert running.name.startswith("onnxruntime ")
    expected = network.predict_on_batch(seen)
    assert np.abs(running.run([seen])[0] - expected).max() <= 1e-5 * np.abs(expected).max()


def test_several_inputs():
    one, other = keras.Input((4,)), keras.Input((SIDE, SIDE, 3))
    network = keras.Model([one, other], layers.Concatenate()([one, layers.Flatten()(other)]))
    given = [np.arange(48, dtype="float32").reshape(12, 4), images()]
    running = engine.choose(network, given, "onnxruntime")
    assert running.name.startswith("onnxruntime ")
    np.testing.assert_array_equal(running.run(given)[0], np.hstack([given[0], given[1].reshape(12, -1)]))


def test_the_same_name_gives_the_same_bits():
    network, seen = convolutional(), images()
    once = engine.choose(network, [seen], "onnxruntime")
    engine.forget()  # else it would be the same one, and not one converted anew
    again = engine.choose(network, [seen], "onnxruntime")
    assert once is not again
    assert once.name == again.name
    np.testing.assert_array_equal(once.run([seen])[0], again.run([seen])[0])


# ------------------------------------------------------------------------------------------ left to TensorFlow


def in_half_precision():
    seen = keras.Input((SIDE, SIDE, 3))
    return keras.Model(seen, layers.Conv2D(4, 3, dtype="mixed_bfloat16")(seen))


@keras.saving.register_keras_serializable("tests")
class InPython(layers.Layer):
    """Its result comes from Python, which no other program has."""

    def call(self, inputs):
        import tensorflow as tf

        outputs = tf.numpy_function(lambda array: array * 2, [inputs], "float32")
        outputs.set_shape(inputs.shape)
        return outputs

    def compute_output_shape(self, shape):
        return shape


def in_python():
    seen = keras.Input((SIDE, SIDE, 3))
    return keras.Model(seen, InPython()(seen))


def all_rounding():
    """What is left of sums in two orders is rounding, which no two programs share."""
    seen = keras.Input((SIDE, SIDE, 3))
    parts = seen / 255.0 / 3.0
    by_rows = keras.ops.mean(keras.ops.mean(parts, axis=2), axis=1)
    return keras.Model(seen, by_rows - keras.ops.mean(parts, axis=(1, 2)))


def no_number():
    seen = keras.Input((SIDE, SIDE, 3))
    network = keras.Model(seen, layers.Conv2D(4, 3)(seen))
    network.layers[1].set_weights([weight * np.nan for weight in network.layers[1].get_weights()])
    return network


@pytest.mark.parametrize(
    "build, said",
    [
        (in_half_precision, "does not compute in float32"),
        (in_python, "cannot be converted"),
        (all_rounding, "where 1e-05 is allowed"),
        (no_number, "outputs differ by nan"),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_what_cannot_be_converted_runs_on_tensorflow_and_says_why(build, said, capsys):
    network = build()
    assert engine.choose(network, [images()], "onnxruntime").name.startswith("tensorflow ")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{network.name}: left to TensorFlow, since ") and said in line


def test_little_work_is_not_worth_a_conversion(monkeypatch):
    monkeypatch.setattr(engine, "_with_onnxruntime", lambda *given: pytest.fail("converted"))
    assert engine.choose(convolutional(), [images()]).name.startswith("tensorflow ")


@pytest.mark.parametrize("faster", ["tensorflow", "onnxruntime"])
def test_auto_takes_the_faster_one(monkeypatch, faster):
    """How fast they are is not the test's to say."""
    timed = engine._timed
    monkeypatch.setattr(
        engine, "_timed", lambda running, batch: (timed(running, batch)[0], 1 + (faster not in running.name))
    )
    monkeypatch.setattr(engine, "WORTH", 0.0)
    assert engine.choose(convolutional(), [images()]).name.startswith(faster)


def test_a_network_is_converted_once_for_all_its_images(monkeypatch):
    network, convert, calls = convolutional(), engine.to_onnx, []
    monkeypatch.setattr(engine, "to_onnx", lambda *given: calls.append(1) or convert(*given))
    for seen in (images(), images(count=5)):
        engine.choose(network, [seen], "onnxruntime")
    assert len(calls) == 1
    network.layers[-1].set_weights([weight + 1 for weight in network.layers[-1].get_weights()])
    running = engine.choose(network, [images()], "onnxruntime")
    assert len(calls) == 2, "other weights, another network"
    np.testing.assert_allclose(running.run([images()])[0], network.predict_on_batch(images()), atol=1e-5)


def test_large_weights():
    """They take another way through the converter."""
    seen = keras.Input((SIDE, SIDE, 3))
    dense = layers.Dense(engine.LARGE_WEIGHT // 512 + 1)
    network = randomised(keras.Model(seen, dense(layers.BatchNormalization()(layers.Conv2D(4, 9, 2)(seen)))))
    big = keras.Model(seen, layers.Dense(128)(layers.Flatten()(network(seen))))
    assert sum(np.prod(weight.shape) >= engine.LARGE_WEIGHT for weight in big.weights) == 1
    running = engine.choose(big, [images()], "onnxruntime")
    assert running.name.startswith("onnxruntime ")


def test_no_images():
    assert engine.choose(convolutional(), [images(count=0)], "auto").name.startswith("tensorflow ")


def test_predictions_are_the_same_on_both():
    model, seen = convolutional(), images(count=40)
    with_tensorflow, with_onnxruntime = (
        inference.probabilities(model, seen, wanted=wanted) for wanted in ("tensorflow", "onnxruntime")
    )
    np.testing.assert_allclose(with_onnxruntime, with_tensorflow, atol=1e-5)
    np.testing.assert_array_equal(with_onnxruntime.argmax(axis=1), with_tensorflow.argmax(axis=1))
