"""Who runs a network that does not train: TensorFlow, or ONNX Runtime where that is faster and gives the same.

On two cores ONNX Runtime ran frozen networks up to several times as fast (benchmarks/prefix_engine.py). It is checked,
never trusted: a network of which another answer comes than TensorFlow's, or none, is left to TensorFlow.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from tl_keras.config import ENGINES
from tl_keras.data import pipeline
from tl_keras.data.lazy import Rows
from tl_keras.quiet import keras, tf
from tl_keras.transfer import pieces

AUTO, TENSORFLOW, ONNXRUNTIME = ENGINES
# Of the largest number of an output: what another order of summation may differ by in float32.
TOLERANCE = 1e-5
# And where the fastest of two is not the question: 1.4e-5 was seen of MobileNetV2 on 32 photographs.
ROUNDING = 1e-4
# To convert and try a network takes about a second, and at worst one more for so many bytes of weights. Less work than
# so many times that, as TensorFlow does it, is not worth it: large networks gain little, and may gain nothing.
BYTES_A_SECOND, WORTH = 1e7, 5.0
OPSET = 18
LARGE_WEIGHT = 2**18  # numbers: a megabyte
PIECES = 16  # of a batch, each run by one thread
# A batch is tried a few times where it is quick, for at most so long, and the fastest run counts.
TRIES, TRY_SECONDS = 5, 0.5


@dataclass(frozen=True)
class Engine:
    """A network as a function, and who runs it.

    Args:
        name: engine, version and number of threads. The same name gives the same bits, another one may not.
        run: from a batch of each input of the network to the list of its outputs, as numpy arrays.
    """

    name: str
    run: Callable[[Sequence[np.ndarray]], list[np.ndarray]]


def names() -> list[str]:
    """The names that an engine can have on this machine.

    >>> names()  # doctest: +SKIP
    ['tensorflow 2.21.0, 2 threads', 'onnxruntime 1.31.1, 2 threads']
    """
    return [_name(engine) for engine in ENGINES[1:]]


def kind(name: str) -> str:
    """The engine of a name: tensorflow or onnxruntime.

    >>> kind("onnxruntime 1.31.1, 2 threads")
    'onnxruntime'
    """
    return name.split()[0]


def choose(network: keras.Model, inputs: Sequence[Rows], wanted: str = AUTO, rows: int | None = None) -> Engine:
    """Who runs `network` over `inputs`: the engine asked for, or the one that is faster on a batch of these.

    Where little is to be done, converting a network would take longer than it saves: TensorFlow runs it, at once.

    Args:
        inputs: one array (N, ...) for each input of the network, of which some rows are tried.
        wanted: auto, tensorflow or onnxruntime.
        rows: how many there are to run; N by default.

    Returns:
        An engine whose outputs, on a batch drawn evenly from the inputs, are within `TOLERANCE` of TensorFlow's.
        Whatever was asked for, where that cannot be had it is TensorFlow, and a line says why. The same network needs
        no second trial.

    >>> choose(network, [images]).name  # doctest: +SKIP
    'onnxruntime 1.31.1, 2 threads'
    """
    plain, count = _with_tensorflow(network), len(inputs[0])
    if wanted == TENSORFLOW or not count:
        return plain
    key = f"{fingerprint(network)} {[(array.shape[1:], array.dtype) for array in inputs]} {wanted}"
    if key not in _tried:
        size = min(count, max(1, pipeline.evaluation_batch_size(inputs[0]) // 2))
        batch = [array[np.linspace(0, count - 1, size).astype(int)] for array in inputs]
        outputs, seconds = _timed(plain, batch)
        if wanted == AUTO and seconds * (rows or count) / size < WORTH * _seconds_to_convert(network):
            return plain
        _tried.clear()
        _tried[key] = _converted_if_better(network, batch, outputs, seconds, wanted)
    return _tried[key] or plain


# Of the network that was tried last: what it was converted to, None where TensorFlow runs it. Its other images follow.
_tried: dict[str, Engine | None] = {}


def forget() -> None:
    """Free what the network that was tried last was converted to.

    >>> forget()
    """
    _tried.clear()


def fingerprint(network: keras.Model) -> str:
    """SHA-256 of the layers of a network and their weights, without the names, which Keras counts up."""
    layers = [
        (type(layer).__name__, {**layer.get_config(), "name": None}, layer.output.shape) for layer in network.layers
    ]
    digest = hashlib.sha256(repr(layers).encode())
    for weight in network.weights:
        digest.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return digest.hexdigest()


def _seconds_to_convert(network: keras.Model) -> float:
    return 1 + 4 * network.count_params() / BYTES_A_SECOND


def _converted_if_better(
    network: keras.Model, batch: Sequence[np.ndarray], expected: list[np.ndarray], seconds: float, wanted: str
) -> Engine | None:
    """The network on ONNX Runtime, where it gives what is expected and, unless that was asked for, in less time."""
    try:
        converted = _with_onnxruntime(network, batch)
        found, its_seconds = _timed(converted, batch)
        _check_equal(expected, found)
    except _NotConverted as error:
        print(f"{network.name}: left to TensorFlow, {error}", file=sys.stderr, flush=True)
        return None
    if wanted == AUTO and its_seconds > seconds:
        return None
    print(f"{network.name}: run by {converted.name}, {seconds / its_seconds:.1f} times as fast", flush=True)
    return converted


class _NotConverted(Exception):
    """A network that ONNX Runtime does not run as TensorFlow does, and why."""


def _timed(engine: Engine, batch: Sequence[np.ndarray]) -> tuple[list[np.ndarray], float]:
    """The outputs, and the seconds of a run; one before it prepares what is prepared once."""
    outputs = engine.run(batch)
    seconds: list[float] = []
    while sum(seconds) < TRY_SECONDS and len(seconds) < TRIES:
        started = time.perf_counter()
        engine.run(batch)
        seconds.append(time.perf_counter() - started)
    return outputs, min(seconds)


def _check_equal(expected: list[np.ndarray], found: list[np.ndarray], most: float = TOLERANCE) -> None:
    for one, other in zip(expected, found, strict=True):
        scale = np.abs(one).max(initial=0)
        difference = np.abs(one - other).max(initial=0)
        # Not `difference > ...`: what is no number is not equal either.
        if one.shape != other.shape or not difference <= most * scale:
            raise _NotConverted(
                f"since ONNX Runtime's outputs differ by {difference / scale if scale else difference:.1e} of the "
                f"largest number, where {most:.0e} is allowed"
            )


def _with_tensorflow(network: keras.Model) -> Engine:
    def run(batch: Sequence[np.ndarray]) -> list[np.ndarray]:
        outputs = network.predict_on_batch(batch[0] if len(batch) == 1 else tuple(batch))
        return [np.asarray(output) for output in keras.tree.flatten(outputs)]

    return Engine(_name(TENSORFLOW), run)


def _with_onnxruntime(network: keras.Model, batch: Sequence[np.ndarray]) -> Engine:
    """The network, converted for inputs of the shapes and types of `batch`."""
    size = max(1, pipeline.evaluation_batch_size(batch[0]) // PIECES)
    return Engine(_name(ONNXRUNTIME), _converted(network, batch, size, threads())[1])


def _converted(network: keras.Model, batch: Sequence[np.ndarray], size: int, threads: int) -> tuple[bytes, pieces.Run]:
    """The network as an ONNX model, and as ONNX Runtime runs it (`pieces.in_onnxruntime`)."""
    if any(layer.compute_dtype != "float32" for layer in network.layers if isinstance(layer, keras.layers.Layer)):
        raise _NotConverted("since it does not compute in float32 alone")
    try:
        content = to_onnx(network, batch)
        return content, pieces.in_onnxruntime(content, size, threads)
    except Exception as error:  # converter and runtime raise whatever they like
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise _NotConverted(f"since it cannot be converted ({reason})") from error


def as_onnx(network: keras.Model, batch: Sequence[np.ndarray]) -> bytes | None:
    """The network as an ONNX model, where ONNX Runtime makes of `batch` what TensorFlow does; else None, said why.

    Equal is what differs by less than `ROUNDING`. No time is taken: the same network gives the same answer anywhere.

    >>> as_onnx(network, [images]) is None  # doctest: +SKIP
    False
    """
    try:
        content, run = _converted(network, batch, len(batch[0]), 1)
        _check_equal(_with_tensorflow(network).run(batch), run(batch), ROUNDING)
    except _NotConverted as error:
        print(f"{network.name}: left to TensorFlow, {error}", file=sys.stderr, flush=True)
        return None
    return content


def to_onnx(network: keras.Model, batch: Sequence[np.ndarray]) -> bytes:
    """The network in inference mode as an ONNX model, for inputs of the shapes and types of `batch`.

    >>> to_onnx(network, [np.zeros((1, 224, 224, 3), "float32")])  # doctest: +SKIP
    b'...'
    """
    # Else each of the converter's steps works on a copy of all, in case it fails.
    os.environ.setdefault("TF2ONNX_CATCH_ERRORS", "FALSE")
    import tf2onnx
    from onnx import numpy_helper

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    call, large = _as_function(network, len(batch))
    signature = [tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in batch]
    signature += [tf.TensorSpec(array.shape, array.dtype) for array in large]
    handlers: dict[str, tuple] = {"Erfc": (_as_erf, [])}
    model, _ = tf2onnx.convert.from_function(call, input_signature=signature, opset=OPSET, custom_op_handlers=handlers)
    # Constants that Python holds, such as the means of Normalization, have become inputs as well.
    captured = [tensor.numpy() for tensor in call.get_concrete_function(*signature).captured_inputs]
    for given, array in zip(model.graph.input[len(batch) :], large + captured, strict=True):
        model.graph.initializer.append(numpy_helper.from_array(array, given.name))
    del model.graph.input[len(batch) :]
    return model.SerializeToString()


def _as_function(network: keras.Model, inputs: int) -> tuple[Any, list[np.ndarray]]:
    """The network as a function of its inputs and its large weights, and these weights.

    As constants these would be copied in every step of the conversion: VGG16 took 75 seconds instead of 7.
    """
    trainable = len(network.trainable_variables)
    weights = [variable.numpy() for variable in network.trainable_variables + network.non_trainable_variables]

    def outputs(*given: tf.Tensor) -> list[tf.Tensor]:
        cast = [tf.cast(tensor, each.dtype) for tensor, each in zip(given[:inputs], network.inputs, strict=True)]
        large = iter(given[inputs:])
        used = [next(large) if weight.size >= LARGE_WEIGHT else tf.constant(weight) for weight in weights]
        answer, _ = network.stateless_call(
            used[:trainable], used[trainable:], cast[0] if len(cast) == 1 else cast, training=False
        )
        return keras.tree.flatten(answer)

    return tf.function(outputs, autograph=False), [weight for weight in weights if weight.size >= LARGE_WEIGHT]


def _as_erf(graph, node, name: str, arguments) -> None:
    """TensorFlow's GELU has erfc(x), which ONNX has not: 1 - erf(x)."""
    node.type, node.domain = "Erf", ""
    one = graph.make_const(f"{name}_one", np.ones((), "float32")).output[0]
    found = node.output[0]
    graph.insert_new_node_on_output("Sub", found, name=f"{name}_complement", inputs=[one, found])


def _name(engine: str) -> str:
    return f"{engine} {_version(engine)}, {threads()} threads"


_version = functools.cache(version)


def threads() -> int:
    """How many threads run a network: as many as TensorFlow was given, or one for each core of this process."""
    return tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))
