"""What frozen layers gave: stored once, found again, taken up when stopped, bounded."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

from tests.conftest import made_up_split
from tests.fresh import python
from tl_keras.data.augment import FlipShift
from tl_keras.data.lazy import CenterCrop
from tl_keras.errors import InputError
from tl_keras.models import cnn
from tl_keras.transfer import activations, frozen, row_files, strategies
from tl_keras.transfer.activations import Storage
from tl_keras.transfer.strategies import Phase


@pytest.fixture
def split():
    return made_up_split(40)


@pytest.fixture
def prefix():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    return keras.Model(inputs, [layers.Conv2D(2, 3)(inputs), layers.GlobalAveragePooling2D()(inputs)])


def arrays(folder):
    """The stored arrays and what is on its way to one; beside them lie empty files that processes lock."""
    return [path for path in folder.iterdir() if path.suffix != ".lock"]


def small_batches(monkeypatch):
    monkeypatch.setattr("tl_keras.data.pipeline.evaluation_batch_size", lambda images: 8)


def test_activations_are_stored_once_and_again_when_anything_changes(tmp_path, split, prefix):
    def paths():
        return {path.name: path.stat().st_mtime_ns for path in arrays(tmp_path)}

    (first, pooled) = activations.store(prefix, split, Storage(tmp_path))
    for stored, computed in zip((first, pooled), prefix.predict(split.images, verbose=0), strict=True):
        np.testing.assert_allclose(stored, computed, rtol=1e-5, atol=1e-3)
    before = paths()
    activations.store(prefix, split, Storage(tmp_path))
    assert paths() == before, "found again"
    views, _ = activations.store(prefix, split, Storage(tmp_path), augment=FlipShift(), views=3)
    assert len(views) == 3 * len(split)
    activations.store(prefix, split.take(np.arange(10)), Storage(tmp_path))
    prefix.layers[1].set_weights([weight + 1 for weight in prefix.layers[1].get_weights()])
    activations.store(prefix, split, Storage(tmp_path))
    assert len(paths()) == 2 * 4, "new views, new data and new weights are new entries"


def test_the_same_network_built_again_finds_its_activations(tmp_path):
    split = made_up_split(20, side=32)
    for _ in range(2):
        keras.utils.set_random_seed(0)
        model = cnn.build(2)
        strategies.set_trainable(model, Phase(last_layers=2))
        activations.store(frozen.split_frozen(model)[0], split, Storage(tmp_path))
    assert len(arrays(tmp_path)) == 1


def test_half_precision_takes_half_the_disk_and_keeps_three_digits(tmp_path, split, prefix):
    exact, _ = activations.store(prefix, split, Storage(tmp_path))
    half, _ = activations.store(prefix, split, Storage(tmp_path, dtype="float16"))
    assert half.dtype == "float16"
    np.testing.assert_allclose(half[:], exact[:], rtol=1e-3, atol=0.1)
    assert half.path.stat().st_size - 128 == (exact.path.stat().st_size - 128) / 2


class Killed(BaseException):
    pass


@pytest.mark.parametrize("batches", [1, 4, 7, 14])
def test_a_stopped_extraction_goes_on_where_it_stood(tmp_path, monkeypatch, split, prefix, batches):
    small_batches(monkeypatch)
    monkeypatch.setattr(row_files, "SYNC_SECONDS", 0.0)
    arguments = {"augment": FlipShift(), "seed": 3, "views": 3}
    whole = [stored[:] for stored in activations.store(prefix, split, Storage(tmp_path / "whole"), **arguments)]
    predict, calls = prefix.predict_on_batch, []

    def predict_and_stop(batch):
        if len(calls) == batches:
            raise Killed
        calls.append(len(batch))
        return predict(batch)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(prefix, "predict_on_batch", predict_and_stop)
        activations.store(prefix, split, Storage(tmp_path / "stopped"), **arguments)
    (progress,) = (tmp_path / "stopped").glob("*.json")
    assert json.loads(progress.read_text())["rows"] == 8 * batches
    # What came after the last sync may be there in part.
    for part in (tmp_path / "stopped").glob("*.part"):
        part.write_bytes(part.read_bytes() + b"half a row")
    calls.clear()
    monkeypatch.setattr(prefix, "predict_on_batch", lambda batch: calls.append(len(batch)) or predict(batch))
    resumed = activations.store(prefix, split, Storage(tmp_path / "stopped"), **arguments)
    assert sum(calls) == 3 * len(split) - 8 * batches, "nothing is computed twice"
    for stored, expected in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(stored[:], expected)
    assert {path.suffix for path in arrays(tmp_path / "stopped")} == {".npy"}


def test_the_limit_is_told_before_anything_is_computed(tmp_path, monkeypatch, split, prefix):
    monkeypatch.setattr(prefix, "predict_on_batch", lambda batch: pytest.fail("computed"))
    bytes_needed = len(split) * (14 * 14 * 2 + 3) * 4
    with pytest.raises(
        InputError, match=r"expected at most 0.00 GB, which the limit leaves, received .* raise the limit"
    ):
        activations.store(prefix, split, Storage(tmp_path, limit_gb=(bytes_needed - 1) / 1e9))
    assert arrays(tmp_path) == []


def test_the_limit_counts_what_is_there_already(tmp_path, split, prefix):
    size = len(split) * (14 * 14 * 2 + 3) * 4
    storage = Storage(tmp_path, limit_gb=(2 * size - 1) / 1e9)
    activations.store(prefix, split, storage)
    activations.store(prefix, split, storage)
    with pytest.raises(InputError, match="which the limit leaves"):
        activations.store(prefix, split, storage, augment=FlipShift())


def test_a_longer_prefix_starts_from_what_is_stored(tmp_path, split):
    keras.utils.set_random_seed(0)
    model = cnn.build(2, (16, 16, 3), filters=(4, 4, 4, 4), units=8)
    arguments = {"augment": FlipShift(), "seed": 1, "views": 2}
    prefixes = []
    for last_layers in (2, 1):
        strategies.set_trainable(model, Phase(last_layers=last_layers))
        prefixes.append(frozen.split_frozen(model)[0])
    (alone,) = activations.store(prefixes[1], split, Storage(tmp_path / "alone"), **arguments)
    (shorter,) = activations.store(prefixes[0], split, Storage(tmp_path / "both"), **arguments)
    shorter.path.write_bytes(shorter.path.read_bytes()[:-4] + np.float32(1e3).tobytes())
    (longer,) = activations.store(prefixes[1], split, Storage(tmp_path / "both"), **arguments)
    np.testing.assert_allclose(longer[:-1], alone[:-1], rtol=1e-5, atol=1e-6)
    assert not np.allclose(longer[-1], alone[-1]), "it was computed from the file"


def test_a_branch_that_passes_the_stored_tensor_by(tmp_path, split):
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(3, 3, padding="same")(inputs)
    beginning, whole = keras.Model(inputs, x), keras.Model(inputs, layers.Add()([layers.ReLU()(x), inputs]))
    activations.store(beginning, split, Storage(tmp_path))
    (stored,) = activations.store(whole, split, Storage(tmp_path))
    np.testing.assert_allclose(stored[:], whole.predict(split.images, verbose=0), rtol=1e-5, atol=1e-4)


# ------------------------------------------------------------------------------------------- parts of a whole


def parts_of(split):
    return [split.part(rows) for rows in ([7, 0, 3], np.arange(20, 40), slice(None, None, 2), np.arange(40) % 3 == 1)]


@pytest.mark.parametrize("lazy", [False, True])
def test_the_parts_of_a_whole_share_what_is_stored(tmp_path, monkeypatch, prefix, lazy):
    whole = made_up_split(40, side=20 if lazy else 16)
    if lazy:
        whole = replace(whole, images=CenterCrop(whole.images, (16, 16)))
    calls, predict = [], prefix.predict_on_batch
    monkeypatch.setattr(prefix, "predict_on_batch", lambda batch: calls.append(len(batch)) or predict(batch))
    for part in parts_of(whole):
        stored = activations.store(prefix, part, Storage(tmp_path))
        for array, computed in zip(stored, prefix.predict(part.images[:], verbose=0), strict=True):
            assert array.shape == computed.shape and len(array) == len(part)
            np.testing.assert_allclose(array[:], computed, rtol=1e-5, atol=1e-3)
            np.testing.assert_array_equal(array[[1, 0]], array[:][[1, 0]])
            np.testing.assert_array_equal(array[1:3], array[:][1:3])
    assert calls == [40], "the whole is computed once"
    assert len(arrays(tmp_path)) == 2


def test_a_part_of_another_whole_is_computed(tmp_path, prefix):
    for split in (made_up_split(40), made_up_split(40, seed=1)):
        activations.store(prefix, split.part([1, 2, 3]), Storage(tmp_path))
    assert len(arrays(tmp_path)) == 2 * 2


def test_augmented_views_of_a_part_are_its_own(tmp_path, prefix):
    """The row of an image decides how it is varied, and in a part that is another one."""
    whole = made_up_split(40)
    part = whole.part(np.arange(20, 40))
    arguments = {"augment": FlipShift(), "seed": 1, "views": 2}
    alone = activations.store(prefix, whole.take(np.arange(20, 40)), Storage(tmp_path / "alone"), **arguments)
    stored = activations.store(prefix, part, Storage(tmp_path / "part"), **arguments)
    for array, expected in zip(stored, alone, strict=True):
        assert len(array) == 2 * 20
        np.testing.assert_array_equal(array[:], expected[:])


def test_what_is_stored_is_found_and_nothing_else_is(tmp_path, split, prefix):
    storage = Storage(tmp_path)
    assert activations.find(prefix, split, storage) is None
    part = split.part([5, 1])
    stored = activations.store(prefix, part, storage)
    for found, expected in zip(activations.find(prefix, part, storage), stored, strict=True):
        np.testing.assert_array_equal(found[:], expected[:])
    (first, _) = activations.find(prefix, split.part(np.arange(40)), storage)
    assert len(first) == 40, "the other parts of the whole are there as well"
    assert activations.find(prefix, split.take([5, 1]), storage) is None
    half = Storage(tmp_path, dtype="float16")
    activations.store(prefix, split, half)
    assert activations.find(prefix, split, half) is None, "what a network says is not read from rounded numbers"
    prefix.layers[1].set_weights([weight + 1 for weight in prefix.layers[1].get_weights()])
    assert activations.find(prefix, part, storage) is None


# ------------------------------------------------------------------------------------------- several processes

STORING = """
import pathlib, sys, time
import keras
from tests.conftest import made_up_split
from tl_keras.data import pipeline
from tl_keras.transfer import activations, row_files
folder, views = pathlib.Path(sys.argv[1]), int(sys.argv[2])
pipeline.evaluation_batch_size = lambda images: 2
row_files.SYNC_SECONDS = 0.0
keras.utils.set_random_seed(0)
inputs = keras.Input((16, 16, 3))
prefix = keras.Model(inputs, [keras.layers.Conv2D(2, 3)(inputs), keras.layers.GlobalAveragePooling2D()(inputs)])
predict, calls = prefix.predict_on_batch, []
prefix.predict_on_batch = lambda batch: calls.append(len(batch)) or predict(batch)
predict(made_up_split(2).images)
(folder / f"ready{sys.argv[3]}").touch()
while len(list(folder.glob("ready*"))) < 2:
    time.sleep(0.01)
activations.store(prefix, made_up_split(40), activations.Storage(folder / "stored"), views=views)
print("computed", sum(calls))
"""


@pytest.mark.parametrize("views", [(1, 1), (1, 2)], ids=["the same", "others"])
def test_two_processes_at_once_leave_whole_files(tmp_path, prefix, views):
    with ThreadPoolExecutor(2) as both:
        done = list(both.map(lambda number: python("-c", STORING, tmp_path, views[number], number), range(2)))
    assert [each.returncode for each in done] == [0, 0], "".join(each.stderr[-2000:] for each in done)
    computed = sorted(int(each.stdout.split()[-1]) for each in done)
    assert computed == ([0, 40] if views == (1, 1) else [40, 80]), "nothing is computed by both"
    assert {path.suffix for path in arrays(tmp_path / "stored")} == {".npy"}
    assert len(arrays(tmp_path / "stored")) == (2 if views == (1, 1) else 4)
    for count in views:
        expected = activations.store(prefix, made_up_split(40), Storage(tmp_path / "alone"), views=count)
        stored = activations.store(prefix, made_up_split(40), Storage(tmp_path / "stored"), views=count)
        for array, other in zip(stored, expected, strict=True):
            assert array.path.name == other.path.name, "the same network has the same name everywhere"
            np.testing.assert_allclose(array[:], other[:], rtol=1e-5, atol=1e-3)


def test_a_file_that_another_process_takes_away_is_no_trouble(tmp_path, split, prefix):
    tmp_path.joinpath(".4711.gone.json").symlink_to(tmp_path / "nowhere")  # as if it went while the folder is measured
    stored, _ = activations.store(prefix, split, Storage(tmp_path))
    assert len(stored) == 40
