"""Stored activations and who computed them: each engine's are its own, and who begins an extraction ends it."""

import signal

import numpy as np
import pytest

from tests.conftest import made_up_split
from tests.fresh import python
from tests.transfer.test_engine import SIDE, convolutional, in_python
from tl_keras.data.augment import RandomResizedCrop
from tl_keras.transfer import activations, engine, frozen
from tl_keras.transfer.activations import Storage


@pytest.fixture(autouse=True)
def nothing_tried():
    engine.forget()


@pytest.fixture
def split():
    return made_up_split(40, side=SIDE)


@pytest.fixture
def prefix():
    model = convolutional()
    for layer in model.layers[:-1]:
        layer.trainable = False
    return frozen.split_frozen(model)[0]


def test_each_engine_has_its_own_activations(tmp_path, split, prefix, monkeypatch):
    (one,), (other,) = (
        activations.store(prefix, split, Storage(tmp_path, engine=wanted)) for wanted in ("tensorflow", "onnxruntime")
    )
    assert one.path != other.path and one.engine.split()[0] == "tensorflow" and other.engine.split()[0] == "onnxruntime"
    np.testing.assert_allclose(other[:], one[:], atol=1e-5 * np.abs(one[:]).max())
    for wanted, stored in (("tensorflow", one), ("onnxruntime", other)):
        (found,) = activations.find(prefix, split, Storage(tmp_path, engine=wanted))
        assert found.path == stored.path
    monkeypatch.setattr(engine, "threads", lambda: 7)
    assert activations.find(prefix, split, Storage(tmp_path, engine="auto")) is None, "other threads, other bits"


def test_crops_of_larger_images(tmp_path, prefix):
    """The network is tried on what it will see."""
    larger = made_up_split(12, side=SIDE + 8)
    one, other = (
        activations.store(
            prefix, larger, Storage(tmp_path, engine=wanted), augment=RandomResizedCrop((SIDE, SIDE)), views=2
        )[0]
        for wanted in ("tensorflow", "onnxruntime")
    )
    assert other.engine.startswith("onnxruntime ")
    np.testing.assert_allclose(other[:], one[:], atol=1e-5 * np.abs(one[:]).max())


def test_what_was_left_to_tensorflow_is_stored_and_found(tmp_path, split, monkeypatch):
    storage, network = Storage(tmp_path, engine="onnxruntime"), in_python()
    (stored,) = activations.store(network, split, storage)
    assert stored.engine.startswith("tensorflow ")
    np.testing.assert_array_equal(stored[:], split.images * np.float32(2))
    monkeypatch.setattr(engine, "choose", lambda *given: pytest.fail("computed again"))
    assert activations.store(network, split, storage)[0].path == stored.path
    assert activations.find(network, split, storage)[0].path == stored.path


def test_a_longer_prefix_goes_on_with_the_engine_of_the_shorter(tmp_path, split, monkeypatch):
    model = convolutional()
    for layer in model.layers[:-3]:
        layer.trainable = False
    shorter = frozen.split_frozen(model)[0]
    for layer in model.layers[:-1]:
        layer.trainable = False
    longer = frozen.split_frozen(model)[0]
    storage = Storage(tmp_path, engine="auto")
    with monkeypatch.context() as patch:
        patch.setattr(engine, "WORTH", 0.0)
        patch.setattr(engine, "_timed", lambda running, batch: (running.run(batch), 1.0 + ("onnx" not in running.name)))
        activations.store(shorter, split, storage)
    (stored,) = activations.store(longer, split, storage)
    assert stored.engine.startswith("onnxruntime "), "although so little work would be TensorFlow's"
    expected = longer.predict_on_batch(split.images)
    np.testing.assert_allclose(stored[:], expected, atol=1e-5 * np.abs(expected).max())


STORING = """
import os, pathlib, signal, sys
from tests.conftest import made_up_split
from tl_keras.data.augment import FlipShift
from tests.transfer.test_engine import SIDE, convolutional
from tl_keras.transfer import frozen
from tl_keras.data import pipeline
from tl_keras.transfer import activations, engine, row_files
folder, faster, batches = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
engine.WORTH = 0.0
engine._timed = lambda running, batch: (running.run(batch), 1.0 + (faster not in running.name))
pipeline.evaluation_batch_size = lambda images: 8
row_files.SYNC_SECONDS = 0.0
append, calls = row_files.RowFiles.append, []
def append_and_die(self, outputs):
    if len(calls) == batches:
        os.kill(os.getpid(), signal.SIGKILL)
    calls.append(len(outputs[0]))
    append(self, outputs)
row_files.RowFiles.append = append_and_die
model = convolutional()
for layer in model.layers[:-1]:
    layer.trainable = False
prefix = frozen.split_frozen(model)[0]
storage = activations.Storage(folder, engine="auto")
(stored,) = activations.store(prefix, made_up_split(40, side=SIDE), storage, augment=FlipShift(), views=2)
print(stored.engine.split()[0], sum(calls), stored.path.name)
"""


def test_a_killed_extraction_goes_on_with_the_engine_that_began_it(tmp_path):
    never = 1000
    whole = python("-c", STORING, tmp_path / "whole", "onnxruntime", never)
    assert whole.returncode == 0, whole.stderr[-2000:]
    killed = python("-c", STORING, tmp_path / "killed", "onnxruntime", 3)
    assert killed.returncode == -signal.SIGKILL
    resumed = python("-c", STORING, tmp_path / "killed", "tensorflow", never)
    engine_name, computed, file = resumed.stdout.split()[-3:]
    assert engine_name == "onnxruntime", "although TensorFlow was faster this time"
    assert int(computed) == 2 * 40 - 3 * 8, "nothing is computed twice"
    assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
