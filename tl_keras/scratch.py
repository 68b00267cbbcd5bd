"""A folder on this machine that processes share, gone when the last of them has ended, whatever ended it."""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from tl_keras.files import alone


@functools.cache
def shared(name: str) -> Path:
    """The folder of that name, made by the first who asks for it; it is this process's for the rest of its life.

    >>> shared("run 1")  # doctest: +SKIP
    PosixPath('/tmp/tl_keras-1000/run 1')
    """
    above = Path(tempfile.gettempdir()) / f"tl_keras-{os.getuid()}"
    above.mkdir(mode=0o700, exist_ok=True)
    folder = above / name
    with alone(above, wait=True):
        for other in above.iterdir():  # of a machine that was switched off
            _remove_unless_used(other)
        folder.mkdir(exist_ok=True)
        # Held until this process ends: never closed.
        fcntl.flock(os.open(folder, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_SH)
    # In a session of its own, and no child of this process, it outlives whatever ends this one and its children.
    command = [sys.executable, "-m", __name__, str(folder)]
    nothing = subprocess.DEVNULL
    subprocess.run(command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True, check=False)
    return folder


def _remove_when_unused(folder: Path) -> None:
    with suppress(OSError):  # another one has removed it
        with alone(folder, wait=True):
            pass
        with alone(folder.parent, wait=True):  # who comes now waits, and makes it anew
            _remove_unless_used(folder)


def _remove_unless_used(folder: Path) -> None:
    with suppress(OSError), alone(folder):
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__" and os.fork() == 0:
    _remove_when_unused(Path(sys.argv[1]))
