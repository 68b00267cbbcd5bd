"""A model's file says how its network sees images and what its classes are called, and is still a plain .keras file."""

import json
import time
import zipfile

import keras
import numpy as np
import pytest

from tests.fresh import python
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.models import cnn, model_file, stn_network

VIEW = View((16, 16), scaled=(20, 18), mirror=False)
NAMES = ("Łódź", "red fox", 'say "dog"')


def small(**options):
    return cnn.build(3, (16, 16, 3), filters=(4, 4, 4, 4), units=8, **options)


def random_images(count=3):
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3)).astype("float32")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "models/net.keras"
    model_file.save(small(), path, VIEW, NAMES)
    return path


def test_the_file_carries_the_view_and_the_class_names(path):
    assert model_file.view(path) == VIEW
    assert model_file.class_names(path) == NAMES


def test_the_network_comes_back_as_it_was(tmp_path):
    model, path, images = small(), tmp_path / "net.keras", random_images()
    model.compile("adamw", "categorical_crossentropy")
    model_file.save(model, path, VIEW, NAMES)
    loaded = model_file.load(path)
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), model.predict(images, verbose=0))
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
    assert loaded.name == model.name and not loaded.compiled and model.compiled, "how it was trained stays here"


PLAIN = """
import sys
import keras
import numpy as np
model = keras.models.load_model(sys.argv[1], safe_mode=True)
np.save(sys.argv[2], model.predict(np.load(sys.argv[3]), verbose=0))
print([name for name in sys.modules if name.startswith("tl_keras")])
"""


def test_plain_keras_reads_the_file(tmp_path):
    model, images = small(), random_images()
    model_file.save(model, tmp_path / "net.keras", VIEW, NAMES)
    np.save(tmp_path / "images.npy", images)
    done = python("-c", PLAIN, *(tmp_path / name for name in ("net.keras", "answers.npy", "images.npy")))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    np.testing.assert_array_equal(np.load(tmp_path / "answers.npy"), model.predict(images, verbose=0))


def test_the_same_network_gives_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        keras.utils.set_random_seed(0)
        model = small()  # built anew: its parts lie elsewhere in memory
        model_file.save(model, tmp_path / f"{name}.keras", VIEW, NAMES)
        time.sleep(1.1)  # Keras writes the second in which it saves
    first = (tmp_path / "first.keras").read_bytes()
    assert first == (tmp_path / "second.keras").read_bytes()
    model_file.save(model, tmp_path / "other.keras", View((16, 16)), NAMES)
    assert first != (tmp_path / "other.keras").read_bytes()
    with zipfile.ZipFile(tmp_path / "first.keras") as archive:
        metadata, config = (json.loads(archive.read(name)) for name in ("metadata.json", "config.json"))
    assert metadata == {"keras_version": keras.__version__, "date_saved": None}
    assert "shared_object_id" in json.dumps(config), "layers share things, which are numbered now"


def test_the_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path, model, images = tmp_path / "models/net.keras", small(), random_images()
    model_file.save(model, path, VIEW, NAMES)
    assert [file.name for file in path.parent.iterdir()] == ["net.keras"]
    before = path.read_bytes()

    def full(*given, **options):
        raise OSError("no space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError):
        patched.setattr(zipfile.ZipFile, "writestr", full)
        model_file.save(small(), path, VIEW, NAMES)
    with pytest.raises(ValueError):
        model_file.save(model, path.with_name("net.unknown"), VIEW, NAMES)
    assert [file.name for file in path.parent.iterdir()] == ["net.keras"] and path.read_bytes() == before
    loaded = keras.models.load_model(path, safe_mode=True)
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), model.predict(images, verbose=0))


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_file_of_another_program_says_nothing(tmp_path, suffix):
    small().save(tmp_path / f"net.{suffix}")
    assert model_file.view(tmp_path / f"net.{suffix}") is None
    assert model_file.class_names(tmp_path / f"net.{suffix}") is None
    assert model_file.load(tmp_path / f"net.{suffix}").output_shape == (None, 3)


def test_a_network_with_a_layer_of_ours_is_loaded(tmp_path):
    model, path = stn_network.build((28, 28, 1), 10), tmp_path / "stn.keras"
    model_file.save(model, path, View((28, 28), channels=1), tuple("0123456789"))
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1)).astype("float32")
    np.testing.assert_allclose(model_file.load(path)(images), model(images), atol=1e-6)


def code(path):
    images = keras.Input((8, 8, 3))
    keras.Model(images, keras.layers.Lambda(lambda x: x * 2)(images)).save(path)


@pytest.mark.parametrize("write", [code, lambda path: path.write_text("no model"), lambda path: None],
                         ids=["code", "text", "absent"])  # fmt: skip
def test_what_is_no_model_or_would_run_code_is_refused(tmp_path, write):
    write(tmp_path / "net.keras")
    with pytest.raises(InputError, match=r"expected a Keras model, received .*net\.keras") as caught:
        model_file.load(tmp_path / "net.keras")
    assert "\n" not in str(caught.value)
    assert model_file.view(tmp_path / "net.keras") is None


KIND = {"kind": "tl_keras.data.view.View", "size": [8, 8]}


@pytest.mark.parametrize(
    "said",
    [
        "{", "[]", "{}",
        json.dumps({"view": KIND}),
        json.dumps({"view": {"size": [8, 8]}, "class_names": []}),
        json.dumps({"view": KIND | {"kind": "os.system"}, "class_names": []}),
        json.dumps({"view": KIND | {"size": [0, 8]}, "class_names": []}),
        json.dumps({"view": KIND | {"turned": 90}, "class_names": []}),
        json.dumps({"view": {"kind": "tl_keras.data.selection.Selection", "data": "digits"}, "class_names": []}),
        json.dumps({"view": KIND, "class_names": [1, 2]}),
    ],
)  # fmt: skip
def test_what_a_file_says_is_checked(path, tmp_path, said):
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "changed.keras", "w") as changed:
        for name in whole.namelist():
            changed.writestr(name, said if name == model_file.ENTRY else whole.read(name))
    for ask in (model_file.view, model_file.class_names):
        with pytest.raises(
            InputError, match=r"changed\.keras: expected tl_keras\.json with a view .*received"
        ) as caught:
            ask(tmp_path / "changed.keras")
        assert "\n" not in str(caught.value)
