"""TensorFlow without its remarks on the machine, which would bury what a person wants to read."""

from __future__ import annotations

import importlib
import os


def import_tensorflow() -> None:
    """Import TensorFlow silently. A failure to import is a Python exception, and still seen.

    >>> import_tensorflow()
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # What it writes while it is imported obeys no setting, only the file descriptor.
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        importlib.import_module("tensorflow")
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


class _Keras:
    """Keras, imported when something of it is first asked for: what answers at once must not wait for TensorFlow.

    lazy_loader would put its stand-in where every other `import keras` finds it, half loaded.
    """

    def __getattr__(self, name: str):
        return getattr(importlib.import_module("keras"), name)


keras = _Keras()
