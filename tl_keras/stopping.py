"""Ctrl-C and SIGTERM are one request to stop: an exception in the main thread, at any moment."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE_SECONDS = 3.0
_came: list[int] = []


class Stopped(KeyboardInterrupt):
    """One of the signals came."""

    # A class of its own: where a KeyboardInterrupt itself was seen in `exec` (it makes every dataclass), Python ends by
    # a signal, whatever exit code it was given.


@contextmanager
def on_signals() -> Iterator[None]:
    """In the block the first of the signals raises Stopped, a second one ends the process at once.

    What is raised while an object is freed, or in code that others call, may be lost: until somebody has `asked`, it is
    raised again and again. What the process was told to ignore (`nohup`, a job in the background) stays ignored.

    >>> with on_signals():
    ...     pass
    """
    _came.clear()
    if threading.current_thread() is not threading.main_thread():  # it may not say what a signal does
        yield
        return
    heard = [number for number in SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = {number: signal.getsignal(number) for number in (*heard, signal.SIGALRM)}
    hook = sys.unraisablehook

    def stop(number: int, frame: object) -> None:
        _came.append(number)
        for each in heard:
            signal.signal(each, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS)
        raise Stopped

    def tell(lost) -> None:
        if not isinstance(lost.exc_value, Stopped):
            hook(lost)

    for number in before:
        signal.signal(number, stop)
    sys.unraisablehook = tell
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def asked(error: BaseException) -> bool:
    """Whether `error` is the request to stop, or what a library made of it.

    >>> asked(KeyboardInterrupt()), asked(ValueError())
    (True, False)
    """
    if _came:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return isinstance(error, KeyboardInterrupt) or bool(_came)
