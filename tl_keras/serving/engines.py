"""Who runs the `pixels` signature of a version: TensorFlow, or ONNX Runtime where that is faster and gives the same.

As in training (`tl_keras.transfer.engine`) it is checked, never trusted: what differs is left to TensorFlow.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from tl_keras.data.view import View
from tl_keras.quiet import tf
from tl_keras.transfer.engine import OPSET

# What another order of summation may move: a probability by so much, a logit by such a part of the largest one.
TOLERANCES = {"logits": 1e-4, "probabilities": 1e-5}
OUTPUTS = tuple(TOLERANCES)
MOST_WEIGHTS = 200e6  # bytes: of larger networks the conversion takes long, and they gain little or nothing
LARGE_CONSTANT = 2**20  # bytes
TRIED = (1, 8)  # images: a request when little is asked, and a batch when much is
TRIES, TRY_SECONDS = 5, 0.5

Run = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Engine:
    """Who runs a network.

    Args:
        name: what the log and the status call it.
        run: from images (N, H, W, C), uint8 or float32, to `OUTPUTS`, float32 (N, K).
    """

    name: str
    run: Run


def choose(function: Any, view: View) -> Engine:
    """The engine that runs batches of this network fastest.

    Args:
        function: the `pixels` signature of a SavedModel that has been loaded.
        view: how it sees images.

    Returns:
        An engine whose probabilities are those of TensorFlow to 1e-5, on images that were made up.

    >>> choose(tf.saved_model.load("saved_models/flowers/1").signatures["pixels"], view).name  # doctest: +SKIP
    'onnxruntime, 1.9 times as fast as tensorflow'
    """
    plain = Engine("tensorflow", _with_tensorflow(function))
    weights = sum(np.prod(each.shape) * each.dtype.size for each in function.variables)
    if weights > MOST_WEIGHTS:
        return plain
    try:
        run = _with_onnxruntime(function, view)
        images = _samples(view, max(TRIED))
        _check_equal(plain.run(images), run(images))
        seconds, its_seconds = (sum(_seconds(each, images[:size]) for size in TRIED) for each in (plain.run, run))
    except Exception as error:  # converter and runtime raise whatever they like
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return Engine(f"tensorflow, since ONNX Runtime cannot ({reason})", plain.run)
    if its_seconds >= seconds:
        return plain
    return Engine(f"onnxruntime, {seconds / its_seconds:.1f} times as fast as tensorflow", run)


def _samples(view: View, count: int) -> np.ndarray:
    """Made-up images: noise, finer and coarser, brighter and darker, as no two photographs are alike."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *view.shape))
    for index in range(count):
        step = 2**index  # pixels of one colour
        images[index] = images[index, ::step, ::step].repeat(step, 0).repeat(step, 1)[: view.size[0], : view.size[1]]
    return (images * np.linspace(0.3, 1, count)[:, None, None, None]).astype(np.uint8)


def _seconds(run: Run, images: np.ndarray) -> float:
    """The fastest of a few runs, for each image."""
    run(images)
    seconds: list[float] = []
    while sum(seconds) < TRY_SECONDS and len(seconds) < TRIES:
        started = time.perf_counter()
        run(images)
        seconds.append(time.perf_counter() - started)
    return min(seconds) / len(images)


def _check_equal(expected: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> None:
    for name, one in expected.items():
        scale = np.abs(one).max(initial=0) if name == "logits" else 1.0
        difference = np.abs(one - found[name]).max(initial=0) if one.shape == found[name].shape else np.inf
        # Not `difference > ...`: what is no number is not equal either.
        if not difference <= TOLERANCES[name] * scale:
            raise ValueError(f"its {name} differ by {difference / scale if scale else difference:.1e}")


def _with_tensorflow(function: Any) -> Run:
    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = function(images=tf.constant(images, tf.float32))
        return {name: outputs[name].numpy() for name in OUTPUTS}

    return run


def _with_onnxruntime(function: Any, view: View) -> Run:
    import onnxruntime

    cores = len(os.sched_getaffinity(0))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a batch is parted among threads that need not meet after each layer
    options.log_severity_level = 4  # what it refuses is said as an exception
    session = onnxruntime.InferenceSession(_converted(function, view), options, providers=["CPUExecutionProvider"])
    (images_name,) = (each.name for each in session.get_inputs())
    pool = ThreadPoolExecutor(cores, "onnxruntime")

    def run_piece(piece: np.ndarray) -> list[np.ndarray]:
        return session.run(None, {images_name: piece.astype(np.float32)})

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        pieces = np.array_split(images, min(cores, len(images)))
        parts = zip(*pool.map(run_piece, pieces), strict=True)
        return {name: np.concatenate(outputs) for name, outputs in zip(OUTPUTS, parts, strict=True)}

    return run


def _converted(function: Any, view: View) -> bytes:
    """The network as an ONNX model: `OUTPUTS` of images, without the names of classes, which are texts.

    Weights of a megabyte and more are put in at the end: as constants they would be copied in every step of the
    conversion, which took 20 seconds of ResNet50 instead of 4.
    """
    # Else each of the converter's steps works on a copy of all, in case it fails.
    os.environ.setdefault("TF2ONNX_CATCH_ERRORS", "FALSE")
    import tf2onnx
    from onnx import numpy_helper
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)

    def outputs(images: tf.Tensor) -> list[tf.Tensor]:
        found = function(images=images)
        return [found[name] for name in OUTPUTS]

    images = tf.TensorSpec((None, *view.shape), tf.float32, name="images")
    frozen = convert_variables_to_constants_v2(tf.function(outputs, autograph=False).get_concrete_function(images))
    graph = frozen.graph.as_graph_def()
    large = _lifted(graph)
    names = [output.name for output in frozen.outputs]
    model, _ = tf2onnx.convert.from_graph_def(
        graph, input_names=[frozen.inputs[0].name, *large], output_names=names, opset=OPSET
    )
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in large.items())
    del model.graph.input[1:]
    return model.SerializeToString()


def _lifted(graph: Any) -> dict[str, np.ndarray]:
    """Make inputs of the large constants of a graph, and give their values by the names of these inputs."""
    large = {}
    for node in graph.node:
        if node.op == "Const" and node.attr["value"].tensor.ByteSize() >= LARGE_CONSTANT:
            array, dtype = tf.make_ndarray(node.attr["value"].tensor), node.attr["dtype"].type
            node.op = "Placeholder"
            node.ClearField("attr")
            node.attr["dtype"].type = dtype
            node.attr["shape"].shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
            large[f"{node.name}:0"] = array
    return large
