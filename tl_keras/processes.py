"""Worker processes that end with the process that started them, and leave Ctrl-C to it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial


@contextmanager
def pool(count: int, prepare: Callable | None = None, *arguments: object) -> Iterator[ProcessPoolExecutor]:
    """`count` fresh processes; what is still running or waiting when the block is left by an error is given up.

    Args:
        prepare: called in each process with `arguments`, first of all.

    >>> with pool(2) as workers:  # doctest: +SKIP
    ...     workers.submit(pow, 2, 10).result()
    1024
    """
    # Fresh processes: a fork of one that has started TensorFlow can hang.
    context = multiprocessing.get_context("spawn")
    workers = ProcessPoolExecutor(count, context, initializer=partial(_start, prepare, *arguments))
    try:
        yield workers
    except BaseException:
        for process in list((workers._processes or {}).values()):
            process.terminate()
        raise
    finally:
        workers.shutdown(cancel_futures=True)


def _start(prepare: Callable | None, *arguments: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_it():
        if parent:
            parent.join()
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()
    if prepare:
        prepare(*arguments)
