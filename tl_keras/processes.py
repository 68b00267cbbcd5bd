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
from multiprocessing.context import SpawnContext, SpawnProcess


@contextmanager
def pool(count: int, prepare: Callable | None = None, *arguments: object) -> Iterator[ProcessPoolExecutor]:
    """`count` fresh processes; what is still running or waiting when the block is left by an error is given up.

    Args:
        prepare: called in each process with `arguments`, first of all.

    >>> with pool(2) as workers:  # doctest: +SKIP
    ...     workers.submit(pow, 2, 10).result()
    1024
    """
    workers = ProcessPoolExecutor(count, _Fresh(), initializer=partial(_start, prepare, *arguments))
    try:
        yield workers
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        workers.shutdown(cancel_futures=True)


class _Deaf(SpawnProcess):
    """A process that never hears Ctrl-C, which a terminal sends to all, not even while it starts."""

    def start(self) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Fresh(SpawnContext):
    # Fresh processes: a fork of one that has started TensorFlow can hang.
    Process = _Deaf


def _start(prepare: Callable | None, *arguments: object) -> None:
    parent = multiprocessing.parent_process()

    def end_with_it():
        if parent:
            parent.join()
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()
    if prepare:
        prepare(*arguments)
