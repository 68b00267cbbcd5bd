"""TensorFlow without its remarks on the machine, which would bury what a person wants to read.

Its C++ part writes them to file descriptor 2, and no setting silences all of them. A filter takes the place of that
descriptor: a small process, this file run as a program, so that the last words of a process that crashes still arrive.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import io
import os
import re
import select
import signal
import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING

# How a message of the log begins: with I, W or E for a remark, with F for what ends the process.
HEAD = re.compile(
    rb"([IWEF])\d{4} \d\d:\d\d:\d+\.\d+ +\d+ [^ \n]+:\d+\] |WARNING: All log messages before absl::InitializeLog\(\)"
)
READY = b"!"


def import_tensorflow() -> None:
    """Import TensorFlow, and see nothing of its log. A failure to import is a Python exception, and still seen.

    >>> import_tensorflow()
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what is never written need not be taken out
    filter_log()
    importlib.import_module("tensorflow")


def filter_log() -> None:
    """Take TensorFlow's remarks out of what this process, and those it starts, write to file descriptor 2.

    Everything else passes unaltered: the message of a fatal error, those of other libraries. What Python writes to
    `sys.stderr` does not even go through the filter. A second call does nothing, nor does one in a child process.

    >>> filter_log()
    """
    # Without a filter (no descriptor 2, no process to be had) there is more to read, and the work goes on.
    with contextlib.suppress(OSError):
        if sys.platform == "linux" and not fcntl.fcntl(2, fcntl.F_GETFL) & os.O_DIRECT:
            _start_filter()


def _start_filter() -> None:
    # With O_DIRECT, by which filter_log knows its pipe, each read gets what one write put in: a whole message.
    source, sink = os.pipe2(os.O_DIRECT | os.O_CLOEXEC)
    try:
        # In a session of its own, no key of the terminal (Ctrl-C, Ctrl-\) ends it before those who write to it.
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__], stdin=source, stdout=subprocess.PIPE, start_new_session=True
        )
        assert process.stdout is not None
        with process.stdout:
            works = process.stdout.read(1) == READY
        process.returncode = 0  # nobody waits for it: it ends when the last process that can write to it has
        if works:
            _lead_python_past()
            os.dup2(sink, 2)
    finally:
        os.close(source)
        os.close(sink)


def _lead_python_past() -> None:
    """Let `sys.stderr` go on to write where descriptor 2 leads now; what has replaced it (pytest, Jupyter) stays."""
    now = sys.stderr
    with contextlib.suppress(OSError, ValueError):  # closed, or without a descriptor
        if isinstance(now, io.TextIOWrapper) and now.fileno() == 2:
            now.flush()
            past = open(os.dup(2), "wb", buffering=0 if now.write_through else -1)  # noqa: SIM115, it stays open
            sys.stderr = io.TextIOWrapper(
                past, now.encoding, now.errors, line_buffering=True, write_through=now.write_through
            )


def _filter() -> None:
    """Write to descriptor 2 the messages that come in at descriptor 0, except for TensorFlow's remarks."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # sent to all processes of a job, they must not end it first either
    with contextlib.suppress(BrokenPipeError):  # who started this one has been stopped meanwhile
        os.write(1, READY)
    os.close(1)
    goes_on = False
    while message := os.read(0, 1 << 16):
        head = HEAD.match(message)
        remark = head[1] != b"F" if head else goes_on
        # The kernel cuts long messages into pieces.
        goes_on = remark and len(message) >= select.PIPE_BUF and not message.endswith(b"\n")
        # Where the terminal is gone, those who write must not be stopped by it.
        with contextlib.suppress(OSError):
            while message and not remark:
                message = message[os.write(2, message) :]


class _Late(ModuleType):
    """A module, imported when something of it is first asked for: what answers at once must not wait for TensorFlow.

    lazy_loader would put its stand-in where every other `import keras` finds it, half loaded.
    """

    def __getattr__(self, name: str):
        return getattr(importlib.import_module(self.__name__), name)


if TYPE_CHECKING:
    import keras as keras
    import tensorflow as tf
else:
    keras, tf = _Late("keras"), _Late("tensorflow")

if __name__ == "__main__":
    _filter()
