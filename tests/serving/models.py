"""Models to be served: an image model, and TensorFlow Serving's toy y = x / 2 + 2 and its relatives, made anew."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from PIL import Image

from tl_keras.data.view import View
from tl_keras.export import saved_model
from tl_keras.models import cnn
from tl_keras.quiet import tf

PREDICT, CLASSIFY, REGRESS = (f"tensorflow/serving/{verb}" for verb in ("predict", "classify", "regress"))
NAMES = ("cat", "dög", "42")


class ImageModel(NamedTuple):
    """An exported network, and what it was exported from."""

    folder: Path
    network: keras.Model
    view: View


def image_model(folder: Path, seed: int = 0, channels: int = 3) -> ImageModel:
    """Write the next version of a small network with random weights."""
    keras.utils.set_random_seed(seed)
    view = View((16, 12), scaled=(20, 15), channels=channels)
    network = cnn.build(len(NAMES), view.shape, filters=(4, 4, 4, 4), units=8)
    for layer in network.layers:  # random weights say nearly the same of all images
        layer.set_weights([weight * (1 + 2 * (weight.ndim == 2)) for weight in layer.get_weights()])
    saved_model.export(network, view, NAMES, folder)
    return ImageModel(folder, network, view)


def image_file(seed: int = 0, size: tuple[int, int] = (40, 30), kind: str = "PNG") -> bytes:
    """An encoded image of coloured blocks; size is (width, height)."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype("uint8")
    buffer = io.BytesIO()
    Image.fromarray(blocks).resize(size).save(buffer, kind)
    return buffer.getvalue()


def encoded(content: bytes) -> dict[str, str]:
    """Bytes as JSON holds them."""
    return {"b64": base64.b64encode(content).decode()}


def half_plus_two(folder: Path, plus: float = 2.0) -> Path:
    """Write it to the folder of a version.

    x and x2 are floats, or are read from serialized examples. They are said to be (any, 1), and take any shape.
    """
    tf1 = tf.compat.v1
    with tf1.Graph().as_default(), tf1.Session() as session:
        examples = tf1.placeholder(tf.string, name="tf_example")
        features = {
            "x": tf1.FixedLenFeature([1], tf.float32),
            "x2": tf1.FixedLenFeature([1], tf.float32, default_value=[0.0]),
        }
        parsed = tf1.parse_example(examples, features)
        x, x2 = (tf.reshape(parsed[name], [-1, 1], name=name) for name in ("x", "x2"))
        a, b, c = (tf1.get_variable(name, initializer=value) for name, value in {"a": 0.5, "b": plus, "c": 3.0}.items())
        y = tf.add(a * x, b, name="y")
        y2 = tf.add(a * x, c, name="y2")
        y3 = tf.add(a * x2, c, name="y3")
        session.run(tf1.global_variables_initializer())
        builder = tf1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session, ["serve"], {
                "serving_default": signature(PREDICT, x=x, outputs={"y": y}),
                "regress_x_to_y": signature(REGRESS, inputs=examples, outputs={"outputs": y}),
                "regress_x_to_y2": signature(REGRESS, inputs=examples, outputs={"outputs": y2}),
                "regress_x2_to_y3": signature(REGRESS, inputs=x2, outputs={"outputs": y3}),
                "classify_x_to_y": signature(CLASSIFY, inputs=examples, outputs={"scores": y}),
                "classify_x2_to_y3": signature(CLASSIFY, inputs=x2, outputs={"scores": y3}),
            },
        )  # fmt: skip
        builder.save()
    return folder


def signature(method, outputs, **inputs):
    build = tf.compat.v1.saved_model.utils.build_tensor_info
    given, made = ({name: build(tensor) for name, tensor in tensors.items()} for tensors in (inputs, outputs))
    return tf.compat.v1.saved_model.signature_def_utils.build_signature_def(given, made, method)
