"""Features in shards: what they are, that nothing changes their bytes, and what is refused."""

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from PIL import Image

from tests.fresh import python, table
from tests.isolation import ROOT
from tests.test_finetune import own_images, own_network
from tl_keras.data import manifest as manifests
from tl_keras.data.decode import decode
from tl_keras.errors import InputError
from tl_keras.files import alone
from tl_keras.folders import Folder
from tl_keras.models import networks
from tl_keras.training import runtime
from tl_keras.transfer import extraction, shards

SHARD = 7  # of 40 images: six shards


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Forty images, one of them broken, of which four are hidden."""
    place = own_images(tmp_path_factory.mktemp("photos"))
    (place / "train/bee/5.jpg").write_bytes(b"no image")
    return place


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return own_network(tmp_path_factory.mktemp("network") / "mine.keras")


def plan_in(folder, images, network, wanted="auto", shard_size=SHARD):
    listed = manifests.make(str(images), None, folder, shard_size, "local")
    runtime.prepare(seed=0)  # as the command does, whatever precision another test has left
    view = networks.view(str(network), mirror=True)
    model = networks.build(str(network), 3, view)
    return extraction.planned(folder, listed, model, view, "mine", wanted), listed


def extracted(folder, images, network, engine="local", **given):
    plan, listed = plan_in(folder, images, network, **given)
    return extraction.extract(folder, plan, listed, engine)


def features(folder):
    """The bytes of every file of features and of every marker."""
    return {name: hashlib.sha256(folder.read(name)).hexdigest() for name in folder.names("features")}


@pytest.fixture(scope="module")
def store(tmp_path_factory, images, network):
    folder = Folder(tmp_path_factory.mktemp("store"))
    extracted(folder, images, network)
    return folder


def test_features_are_what_the_network_makes_of_each_image(store, images, network):
    listed = manifests.Manifest(store)
    uris = listed.column("uri").tolist()
    found = np.concatenate([np.load(store.local / shards.names(shard)[0]) for shard in range(6)])
    view = networks.view(str(network), mirror=True)
    kept = [uri for uri in uris if uri != "train/bee/5.jpg"]
    pixels = np.stack([view.of(decode(images / uri)) for uri in kept])
    expected = shards.to_features(networks.build(str(network), 3, view)).predict(pixels, verbose=0)
    assert found.shape == (39, 8)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_what_was_done_is_told(store):
    done = json.loads(store.read("done.json"))
    assert (done["images"], done["features"], done["left_out"], done["width"]) == (40, 39, 1, 8)
    assert done["shards"] == {name: digest for name, digest in features(store).items() if name.endswith(".npy")}
    rows = table(store.local / "quarantine.csv")
    assert [row["path"] for row in rows] == ["train/bee/5.jpg"] and "expected a readable JPEG" in rows[0]["reason"]


def test_processes_and_memory_write_the_same_bytes(store, images, network, tmp_path):
    for folder, engine in ((Folder(tmp_path / "store"), "processes:2"), (Folder("memory://shards"), "local")):
        extracted(folder, images, network, engine)
        assert features(folder) == features(store)
        assert folder.read("quarantine.csv") == store.read("quarantine.csv")


def test_tensorflow_writes_the_same_bytes_with_any_number_of_processes(images, network, tmp_path):
    found = []
    for engine in ("local", "processes:2"):
        folder = Folder(tmp_path / engine)
        extracted(folder, images, network, engine, wanted="tensorflow", shard_size=20)
        assert shards.plan_of(folder).runs_tensorflow
        found.append(features(folder))
    assert found[0] == found[1]


def test_what_was_killed_goes_on_to_the_same_bytes(store, images, network, tmp_path):
    command = [sys.executable, "-m", "tl_keras.run", "extract", str(images), "--backbone", str(network)]
    command += ["--to", "store", "--shard-size", str(SHARD), "--engine", "processes:1"]
    here = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(ROOT)}, "stderr": subprocess.DEVNULL}
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True, **here)
    first = tmp_path / "store" / shards.names(0)[1]
    while not first.exists() and running.poll() is None:
        time.sleep(0.001)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert first.exists() and not (tmp_path / "store/done.json").exists()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, **here)
    assert "39 x 8 features; 1 left out, see quarantine.csv" in done.stdout
    assert features(Folder(tmp_path / "store")) == features(store)


@pytest.fixture
def copy(store, tmp_path):
    shutil.copytree(store.local, tmp_path / "store")
    return Folder(tmp_path / "store")


@pytest.mark.parametrize("damage", ["no marker", "cut short", "gone", "half a marker", "left behind"])
def test_half_a_shard_is_computed_anew(copy, store, images, network, damage):
    path, marker = (copy.local / name for name in shards.names(2))
    if damage == "no marker":
        marker.unlink()
    elif damage == "cut short":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "gone":
        path.unlink()
    elif damage == "half a marker":
        marker.write_bytes(marker.read_bytes()[:9])
    else:
        (path.parent / f".1.{path.name}").write_bytes(b"of a killed process")
    done = extracted(copy, images, network)
    assert done["last_run"]["images"] == (0 if damage == "left behind" else SHARD)
    assert features(copy) == features(store)
    assert not list(path.parent.glob(".*"))


def test_another_network_is_refused(copy, images, tmp_path):
    keras.utils.set_random_seed(1)
    other = own_network(tmp_path / "other.keras")
    with pytest.raises(InputError, match=r"expected a store of features of one network.*name another folder"):
        plan_in(copy, images, other)


def test_another_view_is_refused(copy, images, tmp_path):
    with pytest.raises(InputError, match="expected a store of "):
        plan_in(copy, images, own_network(tmp_path / "larger.keras", side=40))


def test_another_engine_is_refused(copy, images, network):
    with pytest.raises(InputError, match="expected a store of one engine, onnxruntime, received tensorflow"):
        plan_in(copy, images, network, wanted="tensorflow")


def test_a_store_of_other_versions_is_refused(copy, images, network):
    text = copy.read("extraction.json").decode()
    (copy.local / "extraction.json").write_text(text.replace('"pillow ', '"pillow 0.'))
    with pytest.raises(InputError, match=r"one set of versions.*pillow 0"):
        plan_in(copy, images, network)


def test_two_extractions_do_not_share_a_folder(copy):
    with alone(copy.local), pytest.raises(InputError, match="no other extraction writes into"):
        extraction.keep_alone(copy)


def test_a_file_that_is_gone_costs_nothing_that_was_done(images, network, store, tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(images, photos)
    folder = Folder(tmp_path / "store")
    plan, listed = plan_in(folder, photos, network)
    gone = photos / listed.shard(2).uri[3]
    content = gone.read_bytes()
    gone.unlink()
    with pytest.raises(InputError, match="which it names, received none"):
        extraction.extract(folder, plan, listed, "local")
    assert folder.exists(shards.names(1)[1]) and not folder.exists(shards.names(2)[1])
    Image.new("RGB", (40, 40)).save(gone)
    with pytest.raises(InputError, match="as it was listed, received another content"):
        extraction.extract(folder, plan, listed, "local")
    gone.write_bytes(content)
    assert extraction.extract(folder, plan, listed, "local")["last_run"]["images"] == 40 - 2 * SHARD
    assert features(folder) == features(store)


def test_what_does_not_fit_is_refused_at_once(images, network, tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    plan, listed = plan_in(folder, images, network)
    monkeypatch.setattr(extraction.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 4 * 8 * 40 - 1}))
    with pytest.raises(InputError, match=r"which the disk of .* has, received 0.00 GB of features"):
        extraction.extract(folder, plan, listed, "local")
    assert not folder.names("features")


FULL = """
import resource, sys
from tl_keras.run import main
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
sys.exit(main(sys.argv[1:]))
"""


def test_a_disk_that_fills_up_is_told_in_a_line(images, tmp_path):
    network = own_network(tmp_path / "mine.keras")
    done = python(
        "-c", FULL.replace("2_000_000", "300"), "extract", images, "--backbone", network, "--to", tmp_path / "s"
    )
    assert done.returncode == 1 and "File too large" in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr


def test_images_of_which_none_can_be_read_are_refused(network, tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "1.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match="received 2 that cannot, in"):
        plan_in(Folder(tmp_path / "store"), tmp_path / "photos", network)


def test_ray_writes_the_same_bytes(store, images, network, tmp_path):
    if not importlib.util.find_spec("ray"):  # to import it would settle what it reads of the environment
        pytest.skip("needs ray")
    folder = Folder(tmp_path / "store")
    extracted(folder, images, network, "ray")
    assert features(folder) == features(store)
