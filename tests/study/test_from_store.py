"""A store of features in the place of images: the same results, nothing computed twice, no other network."""

import numpy as np
import pytest
from PIL import Image

from experiments import competition, finetune
from tests.test_finetune import own_network
from tl_keras.data import manifest as manifests
from tl_keras.data import selection, sources, splits
from tl_keras.data.lazy import Mirrored
from tl_keras.errors import InputError
from tl_keras.folders import Folder
from tl_keras.models import networks
from tl_keras.run_folder import RunFolder
from tl_keras.study import from_store, runner
from tl_keras.training import runtime
from tl_keras.transfer import extraction, feature_store, shards
from tl_keras.transfer.activations import Storage, store


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Images to learn from, to choose by and to measure on; one is broken."""
    place, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for part, each in (("train", 12), ("validation", 4), ("test", 5)):
        for number, name in enumerate(("ant", "bee", "cat")):
            (place / part / name).mkdir(parents=True)
            for index in range(each):
                pixels = rng.integers(0, 90, (40 + index, 48, 3), "uint8")
                pixels[..., number] += 140
                Image.fromarray(pixels).save(place / part / name / f"{index}.jpg")
    (place / "train/bee/5.jpg").write_bytes(b"no image")
    return place


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    runtime.prepare(seed=3)
    return own_network(tmp_path_factory.mktemp("network") / "mine.keras")


def extracted(folder, images, network):
    listed = manifests.make(str(images), None, folder, 7, "local")
    runtime.prepare(seed=0)  # as the command does, whatever precision another test has left
    view = networks.view(str(network), mirror=True)
    plan = extraction.planned(folder, listed, networks.build(str(network), 3, view), view, "mine", "auto")
    extraction.extract(folder, plan, listed, "local")
    return folder


@pytest.fixture(scope="module")
def stored(tmp_path_factory, images, network):
    return extracted(Folder(tmp_path_factory.mktemp("stores") / "features"), images, network)


def run(data, network, out, strategies):
    """The records of a study, of one seed and two epochs."""
    settings = finetune.Settings(data=str(data), backbone=network and str(network), strategies=strategies, epochs=2)
    folder = RunFolder.create(out, {"experiment": "finetune"})
    loaded = finetune.load(settings)
    settings = finetune.resolve(settings, loaded, folder)
    return runner.run(finetune.trials(settings, loaded), folder)


def test_a_store_is_the_data_set_that_it_was_made_of(stored, images):
    one, other = sources.load(images, size=(40, 40)), sources.load(stored.url, size=(40, 40))
    assert [entry.id for entry in other.quarantine] == ["train/bee/5.jpg"]
    assert other.class_names == one.class_names and other.comes_with_test
    for name, split in one.splits.items():
        same = other.splits[name]
        assert same.ids.tolist() == split.ids.tolist() and same.labels.tolist() == split.labels.tolist()
        np.testing.assert_array_equal(same.images[:], split.images[:])
        rows = np.array([3, 0, 3, 5])
        np.testing.assert_array_equal(same.images[rows], split.images[rows])
        np.testing.assert_array_equal(same.images[1], split.images[1])
        assert len(np.unique(same.contents)) == len(same)


def test_joined_parts_of_a_store_are_read_when_they_are_asked_for(stored):
    data = sources.load(stored.url, size=(40, 40))
    joined = splits.joined([data.test, data.train])
    assert joined.ids.tolist() == sorted([*data.train.ids, *data.test.ids])
    row = joined.ids.tolist().index(str(data.test.ids[4]))
    np.testing.assert_array_equal(joined.images[row], data.test.images[4])


def test_the_same_head_comes_of_features_and_of_images(stored, images, network, tmp_path):
    (one,) = run(stored.url, None, tmp_path / "features", "probe")
    (other,) = run(images, network, tmp_path / "images", "probe")
    assert RunFolder(tmp_path / "images").activations.exists()
    assert not RunFolder(tmp_path / "features").activations.exists()
    assert one.test.ids.tolist() == other.test.ids.tolist()
    np.testing.assert_allclose(one.test.probabilities, other.test.probabilities, atol=1e-4)


def test_fine_tuning_reads_the_images_of_a_store(stored, images, network, tmp_path):
    (one,) = run(stored.url, None, tmp_path / "features", "full")
    (other,) = run(images, network, tmp_path / "images", "full")
    np.testing.assert_array_equal(one.test.probabilities, other.test.probabilities)


def prefix_and_split(stored):
    plan = shards.plan_of(stored)
    data = selection.Selection(stored.url).load(plan.view)
    model = networks.build(str(stored.local / "mine.keras"), 3, plan.view)
    return shards.to_features(model), data.train


def test_features_are_read_row_by_row(stored, tmp_path):
    prefix, split = prefix_and_split(stored)
    (found,) = store(prefix, split, Storage(tmp_path))
    expected = prefix.predict(split.images[:], verbose=0)
    assert found.shape == expected.shape == (35, 8) and found.engine.startswith("onnxruntime")
    for rows in (slice(None), slice(5, 20), np.array([9, 2, 2]), 4):
        np.testing.assert_allclose(found[rows], expected[rows], rtol=1e-5, atol=1e-6)
    (part,) = store(prefix, split.part(np.arange(10, 14)), Storage(tmp_path))
    np.testing.assert_array_equal(part[:], found[10:14])
    assert not list(tmp_path.iterdir())


def test_other_pixels_are_not_those_of_the_store(stored):
    prefix, split = prefix_and_split(stored)
    assert feature_store.of(prefix, split.images) is not None
    assert feature_store.of(prefix, Mirrored(split.images)) is None
    assert feature_store.of(prefix, split.images[:]) is None
    prefix.layers[-2].set_weights([weight + 1 for weight in prefix.layers[-2].get_weights()])
    assert feature_store.of(prefix, split.images) is None


@pytest.mark.parametrize("backbone", ["mobilenet_0.25=none", "other.keras", "mine.keras,mobilenet_0.25=none"])
def test_no_other_network_than_that_of_the_store(stored, network, tmp_path, monkeypatch, backbone):
    monkeypatch.chdir(tmp_path)
    own_network(tmp_path / "other.keras")
    (tmp_path / "mine.keras").write_bytes(network.read_bytes())
    with pytest.raises(InputError, match=r"--backbone: expected the network of .*, mine with the weights that it had"):
        run(stored.url, backbone, tmp_path / "run", "probe")


def test_a_store_elsewhere_brings_its_network(images, network, tmp_path):
    folder = extracted(Folder("memory://elsewhere/features"), images, network)
    settings = finetune.Settings(data=folder.url, strategies="probe")
    out = RunFolder.create(tmp_path / "run", {"experiment": "finetune"})
    named = from_store.named(settings, finetune.load(settings), out)
    assert named.backbone == str(tmp_path / "run/mine.keras") and named.weights == "none"
    (record,) = runner.run(finetune.trials(named, finetune.load(named)), out)
    assert len(record.test.ids) == 15


def test_an_extraction_that_was_stopped_is_no_data_set(images, network, tmp_path):
    folder = Folder(tmp_path / "store")
    manifests.make(str(images), None, folder, 7, "local")
    with pytest.raises(InputError, match=r"expected a finished store of features.*go on"):
        sources.load(folder.url, size=(40, 40))


def test_a_store_needs_a_size(stored):
    with pytest.raises(InputError, match="expected images of one size, received a store of features"):
        sources.load(stored.url)


def test_the_competition_stacks_what_is_stored(stored, tmp_path):
    settings = competition.Settings(data=stored.url, strategies="none", heads="kernel,logistic")
    folder = RunFolder.create(tmp_path / "run", {"experiment": "competition"})
    loaded = competition.load(settings)
    settings = competition.resolve(settings, loaded, folder)
    kernel, logistic, _ = runner.run(competition.trials(settings, loaded), folder)
    assert kernel.measured["features"] == logistic.measured["features"] == 8
    assert not folder.activations.exists()
    assert kernel.predictions["out-of-fold"].accuracy > 0.9
