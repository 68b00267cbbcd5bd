"""Every test of the data room has a home of its own, no network, and no data directory."""

import pytest

CLOSED = "http://127.0.0.1:9"  # a proxy that refuses: no test waits for a network


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("TL_KERAS_DATA", "KERAS_HOME", "XDG_CACHE_HOME", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, CLOSED)
    return home
