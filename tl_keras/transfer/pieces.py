"""A network run in pieces, each by one thread alone: what comes out is the same however many threads there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tl_keras.quiet import keras, tf

Run = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


def in_onnxruntime(content: bytes, size: int, threads: int) -> Run:
    """An ONNX model as a function: from a batch of each of its inputs to the list of its outputs.

    Args:
        content: the model; TensorFlow is not needed for it.
        size: rows of a piece. What a layer makes of two large images stays in the cache for the next layer, and threads
            need not meet after each.
        threads: how many pieces are run at a time.

    >>> in_onnxruntime(content, 2, threads=2)([np.zeros((32, 224, 224, 3), "uint8")])[0].shape  # doctest: +SKIP
    (32, 1280)
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # what it refuses is said as an exception
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    keys = [each.name for each in session.get_inputs()]
    return _in_pieces(lambda arrays: session.run(None, dict(zip(keys, arrays, strict=True))), size, threads)


def in_tensorflow(network: keras.Model, size: int, threads: int) -> Run:
    """The same of a Keras model of one input, in a process that `one_thread_each` was called in.

    >>> in_tensorflow(network, 2, threads=2)([np.zeros((32, 224, 224, 3), "uint8")])[0].shape  # doctest: +SKIP
    (32, 1280)
    """
    shape = tf.TensorSpec((None, *network.input_shape[1:]), "uint8")
    call = tf.function(lambda images: network(tf.cast(images, network.inputs[0].dtype), training=False), [shape])
    return _in_pieces(lambda arrays: [call(tf.constant(arrays[0])).numpy()], size, threads)


def one_thread_each(threads: int) -> None:
    """Let each operation of TensorFlow be done by one thread, up to `threads` of them at a time.

    Raises:
        RuntimeError: TensorFlow has computed something in this process already.

    >>> one_thread_each(2)  # doctest: +SKIP
    """
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(max(2, threads))


def _in_pieces(call: Callable[[list[np.ndarray]], list[np.ndarray]], size: int, threads: int) -> Run:
    pool = ThreadPoolExecutor(threads)

    def run(batch: Sequence[np.ndarray]) -> list[np.ndarray]:
        arrays = [np.asarray(array) for array in batch]
        starts = range(0, len(arrays[0]), size)
        found = pool.map(lambda start: call([array[start : start + size] for array in arrays]), starts)
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]

    return run
