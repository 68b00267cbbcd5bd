"""A training that mixes images and averages weights goes on, killed at any moment, to the very same weights."""

import functools

import numpy as np
import pytest
from keras import layers

from tests.conftest import made_up_split
from tl_keras.data import policies
from tl_keras.errors import InputError
from tl_keras.quiet import keras
from tl_keras.run_folder import RunFolder
from tl_keras.training import callbacks, inference, loop, lr_range, runtime
from tl_keras.training.checkpoint import Checkpoint
from tl_keras.training.schedules import Recipe, accuracy, are_shares, cross_entropy
from tl_keras.transfer import activations, strategies
from tl_keras.transfer.strategies import Phase

MIXED = ["mixup", "cutmix"]
ALL = (Phase(),)
TWO_PHASES = (Phase(epochs=0.5), Phase(epochs=0.5, rate=0.1))


class Killed(Exception):
    pass


@pytest.fixture(autouse=True)
def every_epoch_is_saved(monkeypatch):
    monkeypatch.setattr(callbacks, "CHECKPOINT_SECONDS", 0.0)


def network():
    return keras.Sequential([
        keras.Input((16, 16, 3)), layers.Rescaling(1 / 128, -1), layers.Conv2D(4, 3, activation="relu"),
        layers.GlobalAveragePooling2D(), layers.Dense(16, activation="relu"), layers.Dropout(0.1), layers.Dense(3),
        layers.Softmax(),
    ])  # fmt: skip


def train(folder, name="mixup", ema=0.9, phases=ALL, epochs=4, build=network, **given):
    runtime.prepare(seed=0)
    model, augment = build(), policies.find(name, (16, 16), mirror=True)
    recipe, out = Recipe(epochs, 16, 1e-2, ema=ema, **given), RunFolder(folder)
    split, plain, held = made_up_split(60, 3, side=20), made_up_split(60, 3), made_up_split(21, 3, seed=1)
    return model, loop.fit("net", model, split, held, recipe, out, augment=augment, phases=phases, plain=plain)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The undisturbed training with these options, trained once."""

    @functools.cache
    def trained(**options):
        return train(tmp_path_factory.mktemp("whole"), **options)

    return trained


def killed_after(folder, monkeypatch, epochs, before_saving, **options):
    save = Checkpoint.save

    def save_and_stop(self, progress):
        if before_saving and progress.epoch == epochs:
            raise Killed
        save(self, progress)
        if progress.epoch == epochs:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Checkpoint, "save", save_and_stop)
        train(folder, **options)


def assert_same(one, other):
    for first, second in zip(one[0].variables, other[0].variables, strict=True):
        np.testing.assert_array_equal(first.numpy(), second.numpy())
    assert one[1].history == other[1].history


@pytest.mark.parametrize("epochs, before_saving", [(1, True), (2, False), (3, True), (4, False)])
@pytest.mark.parametrize("name, phases, views", [("mixup", TWO_PHASES, None), ("cutmix", ALL, 2)])
def test_the_resumed_training_ends_with_the_same_weights(
    tmp_path, monkeypatch, name, phases, views, epochs, before_saving
):
    options = {"name": name, "phases": phases, "views": views}
    whole = train(tmp_path / "whole", **options)
    killed_after(tmp_path / "killed", monkeypatch, epochs, before_saving, **options)
    assert_same(train(tmp_path / "killed", **options), whole)
    assert_same(train(tmp_path / "killed", **options), whole)  # finished: read back


def test_averages_alone_resume(tmp_path, monkeypatch, undisturbed):
    options = {"name": "erasing", "phases": (Phase(last_layers=2),), "views": 2}
    whole = undisturbed(**options)
    killed_after(tmp_path / "killed", monkeypatch, 2, False, **options)
    assert_same(train(tmp_path / "killed", **options), whole)


def test_a_checkpoint_with_averages_is_not_one_without(tmp_path):
    train(tmp_path)
    with pytest.raises(InputError, match="resume with the settings of that run"):
        train(tmp_path, ema=None)


# ------------------------------------------------------------------------------------------ mixing in training


@pytest.mark.parametrize("name", MIXED)
def test_mixed_images_can_be_learned_from_and_what_is_measured_is_not_mixed(tmp_path, name):
    model, training = train(tmp_path, name, ema=None, epochs=30)
    held = made_up_split(21, 3, seed=1)
    said = inference.probabilities(model, held.images)
    measured = np.mean(said.argmax(axis=1) == held.labels)
    assert training.history["val_accuracy"][-1] == pytest.approx(measured) and measured > 0.9
    exact = -np.mean(np.log(said[np.arange(21), held.labels]))
    assert training.history["val_loss"][-1] == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize("name", MIXED)
def test_recorded_numbers_of_training_are_against_the_shares(tmp_path, name, monkeypatch):
    """With a rate of zero, one network sees the whole epoch, and its numbers can be computed from the batches."""
    from tl_keras.data import pipeline

    kept, batches = [], pipeline.training_batches
    monkeypatch.setattr(pipeline, "training_batches", lambda *a, **k: kept.append(batches(*a, **k)) or kept[-1])
    runtime.prepare(seed=0)
    model = network()
    model.get_layer(index=-3).rate = 0.0
    augment, split = policies.find(name, (16, 16), mirror=True), made_up_split(64, 3, side=20)
    recipe = Recipe(1, 16, 0.0, schedule="constant")
    training = loop.fit("net", model, split, made_up_split(9, 3), recipe, RunFolder(tmp_path), augment=augment)
    images, shares = (np.concatenate(part) for part in zip(*kept[0].as_numpy_iterator(), strict=True))
    said = inference.probabilities(model, images)
    expected = -np.mean(np.sum(shares * np.log(said), axis=1))
    assert training.history["loss"] == [pytest.approx(expected, rel=1e-4)]
    dominant = np.mean(said.argmax(axis=1) == shares.argmax(axis=1))
    assert training.history["accuracy"] == [pytest.approx(dominant)]
    assert shares.shape == (64, 3) and np.any((shares > 0.1) & (shares < 0.9))


def test_losses_against_shares_by_hand():
    probabilities = np.float32([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25], [1.0, 0.0, 0.0]])
    shares = np.float32([[0.6, 0.4, 0], [0, 1, 0], [0, 0.5, 0.5]])
    by_hand = [-0.6 * np.log(0.7) - 0.4 * np.log(0.2), np.log(2), 52 * np.log(2)]
    np.testing.assert_allclose(cross_entropy(shares, probabilities), by_hand, rtol=1e-5)
    plain = Recipe(1, 1, 1e-3, label_smoothing=0.0).loss(shares, probabilities)
    np.testing.assert_allclose(plain[:2], by_hand[:2], rtol=1e-5)
    smoothed = Recipe(1, 1, 1e-3, label_smoothing=0.3).loss(shares[:1], probabilities[:1])
    np.testing.assert_allclose(smoothed, [-np.dot(0.7 * shares[0] + 0.1, np.log(probabilities[0]))], rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_whole_shares_are_labels(smoothing):
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 4, 4), keras.ops.softmax(rng.normal(size=(4, 4)).astype("float32"))
    one_hot, recipe = np.eye(4, dtype="float32")[labels], Recipe(1, 1, 1e-3, label_smoothing=smoothing)
    for loss in (recipe.loss, cross_entropy, accuracy):
        np.testing.assert_allclose(loss(one_hot, probabilities), loss(labels, probabilities), rtol=1e-6)
        np.testing.assert_array_equal(loss(labels[:, None], probabilities), loss(labels, probabilities))
    assert not are_shares(np.zeros((1, 1)), np.ones((1, 1))), "of one class a column is the number of the class"


@pytest.mark.parametrize("strategy", ["last_layer", "last_two", "gradual"])
def test_frozen_layers_do_not_see_mixed_images(tmp_path, strategy):
    expected = r"--augment: .* received MixUp, .* name another policy or a strategy that trains all layers"
    with pytest.raises(InputError, match=expected):
        train(tmp_path, phases=strategies.find(strategy).phases)
    assert not list(tmp_path.rglob("*.npy")) and not list(tmp_path.rglob("*.npz")), "nothing was computed before"


def test_stored_views_are_not_mixed(tmp_path):
    inputs = keras.Input((16, 16, 3))
    prefix = keras.Model(inputs, layers.GlobalAveragePooling2D()(inputs))
    augment = policies.find("mixup", (16, 16), mirror=True)
    with pytest.raises(InputError, match="which mixes images while all layers train"):
        activations.store(prefix, made_up_split(9, side=20), activations.Storage(tmp_path), augment=augment, views=2)


def test_a_solved_head_reads_plain_images_before_all_layers_train_on_mixed_ones(tmp_path):
    _, training = train(tmp_path, phases=strategies.find("lp_ft").phases)
    assert training.history["epoch"] == [1, 2, 3, 4, 5]


def test_a_normalisation_in_front_is_no_frozen_layer(tmp_path):
    def normalising():
        return keras.Sequential([
            keras.Input((16, 16, 3)), layers.Normalization(mean=[100.0] * 3, variance=[900.0] * 3), layers.Conv2D(4, 3),
            layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax"),
        ])  # fmt: skip

    _, training = train(tmp_path, build=normalising)
    assert training.prefix_engine is None and len(training.history["epoch"]) == 4


def test_the_range_test_sees_mixed_images(tmp_path):
    split, augment = made_up_split(60, 3, side=20), policies.find("cutmix", (16, 16), mirror=True)
    found = lr_range.find(network(), split, Recipe(1, 16, None), Phase(), augment=augment, steps=20)
    assert 0 < found.suggestion < 1 and len(found.losses) > 5
