"""A SavedModel answers as the network does; versions count up; an error leaves nothing half-written."""

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fresh import python
from tl_keras.export import saved_model
from tl_keras.models import cnn


def small(classes=2):
    return cnn.build(classes, (16, 16, 3), filters=(4, 4, 4, 4), units=8)


def random_images(count):
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3)).astype("float32")


def test_any_number_of_images_gives_what_the_network_gives(tmp_path):
    model = small(3)
    loaded = tf.saved_model.load(str(saved_model.export(model, ("a", "b", "c"), tmp_path / "net")))
    for count in (1, 3):
        images = random_images(count)
        expected = model.predict(images, verbose=0)
        np.testing.assert_allclose(loaded.serve(images), expected, atol=1e-6)
        (served,) = loaded.signatures["serving_default"](tf.constant(images)).values()
        np.testing.assert_allclose(served, expected, atol=1e-6)
    np.testing.assert_array_equal(loaded.serve(images), loaded.serve(images), "Dropout rests")


def test_versions_count_up_and_hold_their_own_weights(tmp_path):
    folder, model, images = tmp_path / "saved/net", small(), random_images(2)
    first = saved_model.export(model, ("a", "b"), folder)
    before = model.predict(images, verbose=0)
    model.layers[-1].set_weights([weight + np.array([3, 0], "float32") for weight in model.layers[-1].get_weights()])
    second = saved_model.export(model, ("a", "b"), folder)
    assert (first, second) == (folder / "1", folder / "2")
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]
    old, new = (tf.saved_model.load(str(version)) for version in (first, second))
    np.testing.assert_allclose(old.serve(images), before, atol=1e-6)
    assert not np.allclose(new.serve(images), before, atol=1e-3)


def test_the_next_version_is_above_all_others(tmp_path):
    for name in ("9", "10", "3x", "notes", "1²"):
        (tmp_path / name).mkdir()
    assert saved_model.export(small(), ("a", "b"), tmp_path) == tmp_path / "11"


NUMBERING = """
import fcntl, sys
from pathlib import Path
from tl_keras.export import saved_model
folder, name, locks = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "with locks"
def unsupported(opened, how):
    raise OSError(9, "Bad file descriptor")
fcntl.flock = fcntl.flock if locks else unsupported
(folder / f"ready{name}").touch()
while len(list(folder.glob("ready*"))) < 2:
    pass
for number in range(100):
    with saved_model._unfinished(folder / "net") as unfinished:
        (unfinished / f"{name} {number}").touch()
        print(saved_model._numbered(unfinished).name)
"""


@pytest.mark.parametrize("locks", ["with locks", "without"])
def test_two_processes_at_once_take_versions_of_their_own(tmp_path, locks):
    with ThreadPoolExecutor(2) as both:
        done = list(both.map(lambda name: python("-c", NUMBERING, tmp_path, name, locks), "ab"))
    assert [each.returncode for each in done] == [0, 0], done[0].stderr + done[1].stderr
    taken = [int(version) for each in done for version in each.stdout.split()]
    assert sorted(taken) == list(range(1, 201))
    written = [path.name for path in (tmp_path / "net").glob("*/*")]
    assert sorted(written) == sorted(f"{name} {number}" for name in "ab" for number in range(100)), "each holds its own"
    assert all(path.name.isdecimal() for path in (tmp_path / "net").iterdir())


def test_threads_take_versions_of_their_own(tmp_path):
    model = small()
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: saved_model.export(model, ("a", "b"), tmp_path), range(3)))
    assert sorted(version.name for version in found) == ["1", "2", "3"]
    assert all((version / "assets.extra/labels.txt").is_file() for version in found)


def test_what_a_killed_process_left_goes(tmp_path):
    left = tmp_path / ".unfinished-0123/variables"
    left.mkdir(parents=True)
    (left / "variables.index").touch()
    assert saved_model.export(small(), ("a", "b"), tmp_path).name == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_labels_lie_beside_the_model(tmp_path):
    version = saved_model.export(small(), ("Łódź", "red fox"), tmp_path / "net")
    assert (version / "assets.extra/labels.txt").read_text(encoding="utf-8") == "Łódź\nred fox\n"
    assert (version / "saved_model.pb").is_file()


def test_an_error_leaves_nothing_half_written(tmp_path):
    with pytest.raises(TypeError):
        saved_model.export(small(), (1, 2), tmp_path / "net")  # names that are no text
    assert list((tmp_path / "net").iterdir()) == []
    assert saved_model.export(small(), ("a", "b"), tmp_path / "net").name == "1"


def test_mixed_precision_serves_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model, images = small(), random_images(2)
    loaded = tf.saved_model.load(str(saved_model.export(model, ("a", "b"), tmp_path)))
    assert loaded.serve(images).dtype == tf.float32
    np.testing.assert_allclose(loaded.serve(images), model.predict(images, verbose=0), atol=1e-2)
