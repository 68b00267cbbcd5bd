"""A SavedModel answers as the network does; versions count up; an error leaves nothing half-written."""

import json
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy.special import softmax
from tensorflow.python.tools.saved_model_utils import get_meta_graph_def

from tests.fresh import python
from tl_keras import values
from tl_keras.data.decode import decode
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.evaluation import interpret
from tl_keras.export import saved_model
from tl_keras.models import cnn, heads

VIEW = View((16, 16), scaled=(20, 18))


def small(classes=2, channels=3):
    return cnn.build(classes, (16, 16, channels), filters=(4, 4, 4, 4), units=8)


def random_images(count):
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3)).astype("float32")


def exported(model, folder, names=("a", "b"), view=VIEW, card=""):
    return saved_model.export(model, view, names, folder, card)


def test_any_number_of_images_gives_what_the_network_gives(tmp_path):
    model = small(3)
    loaded = tf.saved_model.load(str(exported(model, tmp_path / "net", ("a", "b", "c"))))
    for count in (1, 3):
        images = random_images(count)
        expected = model.predict(images, verbose=0)
        found = loaded.signatures["pixels"](images=tf.constant(images))
        np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)
        np.testing.assert_allclose(softmax(found["logits"], axis=1), expected, atol=1e-6)
        assert [name.decode() for name in found["class"].numpy()] == ["abc"[k] for k in expected.argmax(axis=1)]
        assert found["class_names"].numpy().tolist() == [[b"a", b"b", b"c"]] * count
    again = loaded.pixels(images)["logits"]
    np.testing.assert_array_equal(loaded.pixels(images)["logits"], again, "Dropout rests")


FRESH = """
import json, sys
import tensorflow as tf
served = tf.saved_model.load(sys.argv[1])
files = [open(path, "rb").read() for path in sys.argv[2:]]
examples = [tf.train.Example(features=tf.train.Features(feature={
    "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[file]))})).SerializeToString() for file in files]
answer = served.signatures["serving_default"](images=tf.constant(files))
classified = served.signatures["classify"](inputs=tf.constant(examples))
print(json.dumps([answer["probabilities"].numpy().tolist(), classified["scores"].numpy().tolist(),
                  [name for name in sys.modules if name.split(".")[0] == "tl_keras"]]))
"""


@pytest.mark.parametrize("channels", [3, 1])
def test_a_fresh_process_reads_files_as_the_network_saw_them(tmp_path, channels):
    model, view = small(2, channels), View((16, 16), scaled=(20, 18), channels=channels)
    rng, paths = np.random.default_rng(0), []
    for name, size in (("a.jpg", (40, 30)), ("b.png", (9, 50)), ("c.bmp", (16, 16)), ("d.gif", (300, 20))):
        paths.append(tmp_path / name)
        Image.fromarray(rng.integers(0, 256, (*size, 3), "uint8")).save(paths[-1])
    expected = model.predict(np.stack([view.of(decode(path)) for path in paths]), verbose=0)
    version = exported(model, tmp_path / "net", view=view)
    done = python("-c", FRESH, version, *paths)
    assert done.returncode == 0, done.stderr
    probabilities, scores, ours = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert ours == [], "a SavedModel needs none of our code"


def test_every_weight_is_stored_once(tmp_path):
    model = small()
    stored = tf.train.list_variables(str(exported(model, tmp_path / "net") / "variables" / "variables"))
    count = sum(int(np.prod(shape)) for name, shape in stored if "VARIABLE_VALUE" in name)
    assert count == model.count_params()


def test_the_method_of_each_signature_is_what_servers_ask_for(tmp_path):
    signatures = get_meta_graph_def(str(exported(small(), tmp_path / "net")), "serve").signature_def
    methods = {name: signature.method_name.rpartition("/")[2] for name, signature in signatures.items()}
    methods.pop("__saved_model_init_op")
    assert methods == dict.fromkeys(["serving_default", "serve", "pixels", "explain"], "predict") | {
        "classify": "classify"
    }


def test_the_map_is_that_of_grad_cam(tmp_path):
    model, images = small(3), random_images(4)
    loaded = tf.saved_model.load(str(exported(model, tmp_path / "net", ("a", "b", "c"))))
    explain = loaded.signatures["explain"]
    heat = explain(images=tf.constant(images), class_index=tf.constant([2, 0, 1, 1]))["heat"]
    np.testing.assert_allclose(heat, interpret.grad_cam(model, images, [2, 0, 1, 1]), rtol=1e-4, atol=1e-6)


def test_a_network_that_sees_no_places_explains_nothing(tmp_path):
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(inputs)))
    loaded = tf.saved_model.load(str(exported(model, tmp_path / "net")))
    assert "explain" not in loaded.signatures and "pixels" in loaded.signatures


def test_of_a_vote_the_logits_are_logarithms(tmp_path):
    images = keras.Input((16, 16, 3))
    members = [heads.with_softmax(backbones_of(seed)) for seed in range(2)]
    vote = keras.layers.Add()([0.25 * members[0](images), 0.75 * members[1](images)])
    model = keras.Model(images, vote)
    loaded = tf.saved_model.load(str(exported(model, tmp_path / "net")))
    answer = loaded.pixels(random_images(3))
    expected = 0.25 * members[0].predict(random_images(3)) + 0.75 * members[1].predict(random_images(3))
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)
    np.testing.assert_allclose(answer["logits"], np.log(expected), atol=1e-5)


def backbones_of(seed):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((16, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    return keras.Model(inputs, heads.logits(pooled, classes=2))


@pytest.mark.parametrize(
    "layer", [keras.layers.RandomFlip(), keras.Sequential([keras.layers.RandomRotation(0.1)])], ids=["flat", "nested"]
)
def test_augmentation_never_gets_in(tmp_path, layer):
    images = keras.Input((16, 16, 3))
    model = keras.Model(images, small()(layer(images)))
    with pytest.raises(InputError, match="augments nothing, received layers random_"):
        exported(model, tmp_path / "net")
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(
    ("names", "view", "said"),
    [
        (("a", "b", "c"), VIEW, "3 classes"),
        (("a", "b"), View((32, 32)), r"images \(32, 32, 3\)"),
        (("a", "b\nc"), VIEW, "one line each"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, names, view, said):
    with pytest.raises(InputError, match=said):
        exported(small(), tmp_path / "net", names, view)
    assert not (tmp_path / "net").exists()


def test_versions_count_up_and_hold_their_own_weights(tmp_path):
    folder, model, images = tmp_path / "saved/net", small(), random_images(2)
    first = exported(model, folder)
    before = model.predict(images, verbose=0)
    model.layers[-1].set_weights([weight + np.array([3, 0], "float32") for weight in model.layers[-1].get_weights()])
    second = exported(model, folder)
    assert (first, second) == (folder / "1", folder / "2")
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]
    old, new = (tf.saved_model.load(str(version)) for version in (first, second))
    np.testing.assert_allclose(old.pixels(images)["probabilities"], before, atol=1e-6)
    assert not np.allclose(new.pixels(images)["probabilities"], before, atol=1e-3)


def test_the_next_version_is_above_all_others(tmp_path):
    for name in ("9", "10", "3x", "notes", "1²"):
        (tmp_path / name).mkdir()
    assert exported(small(), tmp_path) == tmp_path / "11"


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
        found = list(pool.map(lambda _: exported(model, tmp_path), range(3)))
    assert sorted(version.name for version in found) == ["1", "2", "3"]
    assert all((version / "assets/labels.txt").is_file() for version in found)


def test_what_a_killed_process_left_goes(tmp_path):
    left = tmp_path / ".unfinished-0123/variables"
    left.mkdir(parents=True)
    (left / "variables.index").touch()
    assert exported(small(), tmp_path).name == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_labels_view_and_card_travel_with_the_model(tmp_path):
    version = exported(small(), tmp_path / "net", ("Łódź", "red fox"), card="# a card")
    assert (version / "assets/labels.txt").read_text(encoding="utf-8") == "Łódź\nred fox\n"
    assert (version / "assets/README.md").read_text() == "# a card"
    said = json.loads((version / "assets/tl_keras.json").read_text())
    assert values.from_json(said["view"]) == VIEW and said["class_names"] == ["Łódź", "red fox"]
    assert (version / "saved_model.pb").is_file()


def test_an_error_leaves_nothing_half_written(tmp_path):
    with pytest.raises(TypeError):
        exported(small(), tmp_path / "net", card=5)  # no text
    assert list((tmp_path / "net").iterdir()) == []
    assert exported(small(), tmp_path / "net").name == "1"


def test_mixed_precision_serves_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model, images = small(), random_images(2)
    loaded = tf.saved_model.load(str(exported(model, tmp_path)))
    found = loaded.pixels(images)["probabilities"]
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, model.predict(images, verbose=0), atol=1e-2)
