"""Models as they are exported, and the application over them, asked in this process."""

from contextlib import contextmanager

import pytest
from starlette.testclient import TestClient

from tests.serving import models
from tl_keras.serving import application
from tl_keras.serving.store import Store


@contextmanager
def asking(folder, limits=None, **options):
    """A client of the application over the models of a folder."""
    store = Store(folder, **options)
    app = application.build(store, limits)
    store.look()
    with TestClient(app, raise_server_exceptions=False) as client:
        client.store = store
        yield client
    store.close()


@pytest.fixture(scope="module")
def half_plus_two(tmp_path_factory):
    """The folder of a model with one version, 123."""
    folder = tmp_path_factory.mktemp("models") / "half_plus_two"
    models.half_plus_two(folder / "00000123")
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """An image model, version 1, in a folder of several; the network itself; how it sees images."""
    return models.image_model(tmp_path_factory.mktemp("models") / "cats")
