"""Who runs a served network: ONNX Runtime where it gives what TensorFlow gives, TensorFlow elsewhere."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import digamma

from tl_keras.data.view import View
from tl_keras.serving import engines


def images_of(view, count):
    return np.random.default_rng(0).integers(0, 256, (count, *view.shape)).astype("uint8")


@pytest.mark.parametrize("lifted", [2**20, 2**7], ids=["weights as constants", "weights put in at the end"])
def test_onnx_runtime_gives_what_tensorflow_gives(images, monkeypatch, lifted):
    monkeypatch.setattr(engines, "LARGE_CONSTANT", lifted)
    loaded = tf.saved_model.load(str(images.folder / "1"))
    function = loaded.signatures["pixels"]
    run = engines._with_onnxruntime(function, images.view)
    for count in (1, 2, 3, 33):
        pixels = images_of(images.view, count)
        found = run(pixels)
        np.testing.assert_allclose(found["probabilities"], images.network.predict(pixels, verbose=0), atol=1e-5)
        np.testing.assert_allclose(
            found["logits"], function(images=tf.constant(pixels, tf.float32))["logits"], atol=1e-4
        )
        for name, array in run(pixels.astype("float32")).items():
            np.testing.assert_array_equal(array, found[name])


def test_the_engine_that_is_chosen_is_named(images):
    loaded = tf.saved_model.load(str(images.folder / "1"))
    engine = engines.choose(loaded.signatures["pixels"], images.view)
    assert engine.name == "tensorflow" or engine.name.startswith("onnxruntime, ")


def saved(folder, answer, weights=()):
    """A network of 4 by 4 images that gives what `answer` makes of the sum of each, as logits and as probabilities."""
    module = tf.Module()
    module.weights = [tf.Variable(weight) for weight in weights]

    def outputs(images):
        found = tf.stack([answer(tf.reduce_sum(images, (1, 2, 3))), tf.ones(tf.shape(images)[0])], 1)
        return {"logits": found, "probabilities": found} | {
            str(index): weight * 1 for index, weight in enumerate(module.weights)
        }

    signature = tf.function(outputs, input_signature=[tf.TensorSpec((None, 4, 4, 3), tf.float32, name="images")])
    tf.saved_model.save(module, str(folder), signatures={"pixels": signature})
    return tf.saved_model.load(str(folder))


def test_what_gives_something_else_is_left_to_tensorflow(tmp_path, monkeypatch):
    loaded = saved(tmp_path, tf.cos)
    honest = engines._with_onnxruntime
    monkeypatch.setattr(
        engines,
        "_with_onnxruntime",
        lambda *given: lambda images: {name: out * 1.001 for name, out in honest(*given)(images).items()},
    )
    engine = engines.choose(loaded.signatures["pixels"], View((4, 4)))
    assert engine.name.startswith("tensorflow, since ONNX Runtime cannot (its logits differ by 1")
    images = images_of(View((4, 4)), 3)
    np.testing.assert_allclose(engine.run(images)["logits"][:, 0], np.cos(images.sum((1, 2, 3))), atol=1e-5)


def test_what_cannot_be_converted_is_left_to_tensorflow(tmp_path):
    loaded = saved(tmp_path, tf.math.digamma)
    engine = engines.choose(loaded.signatures["pixels"], View((4, 4)))
    assert engine.name.startswith("tensorflow, since ONNX Runtime cannot (")
    images = images_of(View((4, 4)), 2)
    np.testing.assert_allclose(engine.run(images)["logits"][:, 0], digamma(images.sum((1, 2, 3))), rtol=1e-5)


def test_what_is_large_is_not_even_tried(tmp_path, monkeypatch):
    loaded = saved(tmp_path, tf.cos, [np.ones(100, "float32")])
    monkeypatch.setattr(engines, "MOST_WEIGHTS", 399)
    monkeypatch.setattr(engines, "_with_onnxruntime", lambda *given: pytest.fail("tried"))
    assert engines.choose(loaded.signatures["pixels"], View((4, 4))).name == "tensorflow"


def test_samples_are_images_of_many_kinds():
    samples = engines._samples(View((16, 12), channels=1), 8)
    assert samples.shape == (8, 16, 12, 1) and samples.dtype == np.uint8
    assert samples[7].max() > 200 > samples[0].max()
