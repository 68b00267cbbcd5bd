"""Who runs a network that does not train: TensorFlow, or ONNX Runtime where that is faster and gives the same.

On two cores ONNX Runtime ran frozen networks up to several times as fast (benchmarks/prefix_engine.py). It is checked,
never trusted: a network of which another answer comes than TensorFlow's, or none, is left to TensorFlow.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from tl_keras.config import ENGINES
from tl_keras.data import pipeline
from tl_keras.data.lazy import Rows
from tl_keras.quiet import keras, tf

AUTO, TENSORFLOW, ONNXRUNTIME = ENGINES
# Of the largest number of an output: what another order of summation may differ by in float32.
TOLERANCE = 1e-5
# Converting a network takes as long as this many seconds of work can gain.
WORTH_SECONDS = 10.0
OPSET = 18
# A batch is run a few times where it is quick, for at most so long, and the fastest run counts.
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


def names(wanted: str = AUTO) -> list[str]:
    """The names that an engine which was asked for can have on this machine.

    >>> names("tensorflow")  # doctest: +SKIP
    ['tensorflow 2.21.0, 2 threads']
    """
    return [_name(engine) for engine in ENGINES[1:] if wanted in (AUTO, engine)]


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
        Whatever was asked for, where that cannot be had it is TensorFlow, and a line says why.

    >>> choose(network, [images]).name  # doctest: +SKIP
    'onnxruntime 1.31.1, 2 threads'
    """
    engine = _with_tensorflow(network)
    count = len(inputs[0])
    if wanted == TENSORFLOW or not count:
        return engine
    tried = min(count, max(1, pipeline.evaluation_batch_size(inputs[0]) // 2))
    batch = [array[np.linspace(0, count - 1, tried).astype(int)] for array in inputs]
    expected, seconds = _timed(engine, batch)
    if wanted == AUTO and seconds * (rows or count) / tried < WORTH_SECONDS:
        return engine
    try:
        faster = _with_onnxruntime(network, batch)
        found, other_seconds = _timed(faster, batch)
        _check_equal(expected, found)
    except _NotConverted as error:
        print(f"{network.name}: left to TensorFlow, {error}", file=sys.stderr, flush=True)
        return engine
    if wanted == AUTO and other_seconds > seconds:
        return engine
    print(f"frozen layers: {faster.name}, {seconds / other_seconds:.1f} times as fast as TensorFlow", flush=True)
    return faster


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


def _check_equal(expected: list[np.ndarray], found: list[np.ndarray]) -> None:
    for one, other in zip(expected, found, strict=True):
        scale = np.abs(one).max(initial=0)
        difference = np.abs(one - other).max(initial=0)
        # Not `difference > ...`: what is no number is not equal either.
        if one.shape != other.shape or not difference <= TOLERANCE * scale:
            raise _NotConverted(
                f"since ONNX Runtime's outputs differ by {difference / scale if scale else difference:.1e} of the "
                f"largest number, where {TOLERANCE:.0e} is allowed"
            )


def _with_tensorflow(network: keras.Model) -> Engine:
    def run(batch: Sequence[np.ndarray]) -> list[np.ndarray]:
        outputs = network.predict_on_batch(batch[0] if len(batch) == 1 else tuple(batch))
        return [np.asarray(output) for output in keras.tree.flatten(outputs)]

    return Engine(_name(TENSORFLOW), run)


def _with_onnxruntime(network: keras.Model, batch: Sequence[np.ndarray]) -> Engine:
    """The network, converted for inputs of the shapes and types of `batch`."""
    if any(layer.compute_dtype != "float32" for layer in network.layers if isinstance(layer, keras.layers.Layer)):
        raise _NotConverted("since it does not compute in float32 alone")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.log_severity_level = 4  # what it refuses is said as an exception
    try:
        content = _converted(network, batch)
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # converter and runtime raise whatever they like
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise _NotConverted(f"since it cannot be converted ({reason})") from error
    keys = [each.name for each in session.get_inputs()]

    def run(batch: Sequence[np.ndarray]) -> list[np.ndarray]:
        return session.run(None, {key: np.asarray(array) for key, array in zip(keys, batch, strict=True)})

    return Engine(_name(ONNXRUNTIME), run)


def _converted(network: keras.Model, batch: Sequence[np.ndarray]) -> bytes:
    """The network in inference mode as an ONNX model."""
    import tf2onnx
    from onnx import numpy_helper

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    signature = [
        tf.TensorSpec((None, *array.shape[1:]), array.dtype, name=f"input_{number}")
        for number, array in enumerate(batch)
    ]

    def outputs(*inputs: tf.Tensor) -> list[tf.Tensor]:
        cast = [tf.cast(tensor, given.dtype) for tensor, given in zip(inputs, network.inputs, strict=True)]
        return keras.tree.flatten(network(cast[0] if len(cast) == 1 else cast, training=False))

    function = tf.function(outputs)
    handlers: dict[str, tuple] = {"Erfc": (_as_erf, [])}
    model, _ = tf2onnx.convert.from_function(
        function, input_signature=signature, opset=OPSET, custom_op_handlers=handlers
    )
    # Variables become constants, but constants that Python holds, such as the means of Normalization, become inputs.
    captured = function.get_concrete_function(*signature).captured_inputs
    constants = [tensor for tensor in captured if tensor.dtype != tf.resource]
    for given, tensor in zip(model.graph.input[len(signature) :], constants, strict=True):
        model.graph.initializer.append(numpy_helper.from_array(tensor.numpy(), given.name))
    del model.graph.input[len(signature) :]
    return model.SerializeToString()


def _as_erf(graph, node, name: str, arguments) -> None:
    """TensorFlow's GELU has erfc(x), which ONNX has not: 1 - erf(x)."""
    node.type, node.domain = "Erf", ""
    one = graph.make_const(f"{name}_one", np.ones((), "float32")).output[0]
    found = node.output[0]
    graph.insert_new_node_on_output("Sub", found, name=f"{name}_complement", inputs=[one, found])


def _name(engine: str) -> str:
    return f"{engine} {version(engine)}, {threads()} threads"


def threads() -> int:
    """How many threads run a network: as many as TensorFlow was given, or one for each core of this process."""
    return tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))
