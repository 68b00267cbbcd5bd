"""Stored activations after a crash: what is not there as it was written is computed anew, never taken for zeros."""

import json

import keras
import numpy as np
import pytest

from tests.conftest import made_up_split
from tl_keras.transfer import activations, row_files
from tl_keras.transfer.activations import Storage

ROWS, SYNCED = 40, 24


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def prefix():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, [keras.layers.Conv2D(2, 3)(inputs), pooled])


@pytest.fixture(scope="module")
def whole(prefix, tmp_path_factory):
    return [stored[:] for stored in stored_in(prefix, tmp_path_factory.mktemp("whole"))]


def stored_in(prefix, folder):
    return activations.store(prefix, made_up_split(ROWS), Storage(folder))


@pytest.fixture
def stopped(tmp_path, monkeypatch, prefix):
    """A folder where an extraction was killed after some rows, which are on the disk."""
    monkeypatch.setattr(row_files, "SYNC_SECONDS", 0.0)
    monkeypatch.setattr("tl_keras.data.pipeline.evaluation_batch_size", lambda images: 8)
    predict, calls = prefix.predict_on_batch, []

    def predict_and_stop(batch):
        if len(calls) == SYNCED // 8:
            raise Killed
        calls.append(len(batch))
        return predict(batch)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(prefix, "predict_on_batch", predict_and_stop)
        stored_in(prefix, tmp_path)
    return tmp_path


@pytest.fixture
def computed(monkeypatch, prefix):
    """How many images went through the network."""
    counts, predict = [], prefix.predict_on_batch
    monkeypatch.setattr(prefix, "predict_on_batch", lambda batch: counts.append(len(batch)) or predict(batch))
    return counts


def parts(folder):
    return sorted(folder.glob("*.part"))


def cut(folder, which, size):
    path = parts(folder)[which]
    path.write_bytes(path.read_bytes()[:size])


def zeros(folder, which, start, count):
    path = parts(folder)[which]
    content = bytearray(path.read_bytes())
    content[start : start + count] = bytes(count)
    path.write_bytes(bytes(content))


def progress(folder, content):
    (path,) = folder.glob("*.json")
    path.write_text(content if isinstance(content, str) else json.dumps(json.loads(path.read_text()) | content))


DAMAGE = {
    "nothing": lambda folder: cut(folder, 0, 0),
    "the header": lambda folder: cut(folder, 0, 128),
    "half of the rows": lambda folder: cut(folder, 0, 128 + SYNCED * 14 * 14 * 2 * 2),
    "all rows but one byte": lambda folder: cut(folder, 1, 128 + SYNCED * 3 * 4 - 1),
    "a hole": lambda folder: zeros(folder, 0, 4096, 4096),
    "a hole in the other": lambda folder: zeros(folder, 1, 200, 8),
    "one file": lambda folder: parts(folder)[1].unlink(),
    "more rows than were written": lambda folder: progress(folder, {"rows": SYNCED + 8}),
    "fewer": lambda folder: progress(folder, {"rows": 8}),
    "other kinds": lambda folder: progress(folder, {"rows": "24"}),
    "fractions": lambda folder: progress(folder, {"rows": 24.0}),
    "below zero": lambda folder: progress(folder, {"rows": -8, "checksums": [0, 0]}),
    "too many": lambda folder: progress(folder, {"rows": 10**30}),
    "one checksum": lambda folder: progress(folder, {"checksums": [1]}),
    "of another version": lambda folder: progress(folder, '{"rows": 24}'),
    "half of a JSON": lambda folder: progress(folder, '{"rows": 2'),
    "a list": lambda folder: progress(folder, "[]"),
    "an empty JSON": lambda folder: progress(folder, ""),
    "deep": lambda folder: progress(folder, "[" * 100_000),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_rows_that_are_not_as_they_were_written_are_computed_anew(stopped, prefix, whole, computed, capfd, damage):
    DAMAGE[damage](stopped)
    for stored, expected in zip(stored_in(prefix, stopped), whole, strict=True):
        np.testing.assert_allclose(stored[:], expected, rtol=1e-5, atol=1e-3)
    assert sum(computed) == ROWS
    told = [line for line in capfd.readouterr().err.splitlines() if "damaged" in line]
    assert len(told) == 1 and told[0].endswith(": the activations stored so far are damaged; computing them anew")


def test_rows_that_are_there_are_not(stopped, prefix, whole, computed, capfd):
    for path in parts(stopped):  # what came after the last sync
        path.write_bytes(path.read_bytes() + b"half a row")
    for stored, expected in zip(stored_in(prefix, stopped), whole, strict=True):
        np.testing.assert_allclose(stored[:], expected, rtol=1e-5, atol=1e-3)
    assert sum(computed) == ROWS - SYNCED and "damaged" not in capfd.readouterr().err


def test_a_second_damage_to_what_was_taken_up_is_seen_too(stopped, prefix, computed, monkeypatch):
    """The checksum goes on over what an earlier process wrote."""
    predict, left = prefix.predict_on_batch, [1]

    def predict_once(batch):
        if not left:
            raise Killed
        left.pop()
        return predict(batch)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(prefix, "predict_on_batch", predict_once)
        stored_in(prefix, stopped)
    (path,) = stopped.glob("*.json")
    assert json.loads(path.read_text())["rows"] == SYNCED + 8
    zeros(stopped, 0, 4096, 64)
    computed.clear()
    stored_in(prefix, stopped)
    assert sum(computed) == ROWS


@pytest.mark.parametrize("size", [0, 100, 128, 5000, -1])
def test_a_finished_file_that_was_cut_short_is_no_find(tmp_path, prefix, whole, computed, size):
    first, _ = stored_in(prefix, tmp_path)
    first.path.write_bytes(first.path.read_bytes()[:size])
    split = made_up_split(ROWS)
    assert activations.find(prefix, split, Storage(tmp_path)) is None
    computed.clear()
    for stored, expected in zip(stored_in(prefix, tmp_path), whole, strict=True):
        np.testing.assert_allclose(stored[:], expected, rtol=1e-5, atol=1e-3)
    assert sum(computed) == ROWS


def test_a_beginning_that_was_cut_short_is_none(tmp_path):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(3, 3)(inputs)
    shorter, longer = keras.Model(inputs, x), keras.Model(inputs, keras.layers.ReLU()(x))
    (stored,) = stored_in(shorter, tmp_path)
    content = stored.path.read_bytes()
    for damaged in (b"", b"no array at all", content[:-4], content + b"more"):
        stored.path.write_bytes(damaged)
        (found,) = stored_in(longer, tmp_path)
        np.testing.assert_allclose(
            found[:], longer.predict(made_up_split(ROWS).images, verbose=0), rtol=1e-5, atol=1e-3
        )
        found.path.unlink()
