"""What is set once for a process before it trains: seeds, determinism, precision, memory."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tl_keras.quiet import keras, tf

# glibc's mallopt parameters (malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def prepare(seed: int, precision: str = "float32") -> None:
    """Make runs with one seed equal, bit for bit on CPU, and set the precision of new layers.

    >>> prepare(seed=0)
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(precision)
    # Each network of a study is traced once; TensorFlow takes several networks for one that is traced too often.
    tf.get_logger().setLevel("ERROR")
    _keep_freed_memory()


@contextmanager
def forgetting_gradients() -> Iterator[None]:
    """Give up in the end what TensorFlow noted, within, of how single operations are differentiated.

    Swish is one, and so is the sum of gradients over devices, be there one alone. What is noted would keep the graph of
    each training for good.

    >>> with forgetting_gradients():  # doctest: +SKIP
    ...     model.fit(images, labels)
    """
    from tensorflow.python.framework.ops import gradient_registry

    noted = gradient_registry._registry
    before = set(noted)
    try:
        yield
    finally:
        for name in [name for name in noted if name.startswith("CustomGradient-") and name not in before]:
            del noted[name]


def release_memory() -> None:
    """Give freed memory back to the system, before another process needs it.

    >>> release_memory()
    """
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _keep_freed_memory() -> None:
    # TensorFlow allocates and frees each activation in every step. By default glibc gives blocks that large back to
    # the system at once, and faulting their pages in again took up to half of a step (benchmarks/throughput.py).
    # Another C library has nothing to tune, and nothing depends on it.
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 2**26)
