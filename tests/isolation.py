"""A machine with no data directory, no Keras cache and no network, for tests that start runs."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CLOSED = "http://127.0.0.1:9"  # a proxy that refuses: no test waits for a network


def isolate(monkeypatch: pytest.MonkeyPatch, empty: Path) -> None:
    """Let this process and those it starts find nothing; they import the library from this checkout."""
    empty.mkdir()
    monkeypatch.delenv("TL_KERAS_DATA", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(empty))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, CLOSED)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
