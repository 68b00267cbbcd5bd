"""What two devices learn is what one device learns: two logical CPU devices, in a process of their own.

This file is also the program of that process.
"""

import itertools
import json
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.conftest import made_up_split
from tests.fresh import python
from tl_keras import records
from tl_keras.config import FineTuningSettings
from tl_keras.data.mixing import MixUp
from tl_keras.data.selection import ByClass
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.models import model_file
from tl_keras.run_folder import RunFolder
from tl_keras.study import runner
from tl_keras.study.trial import Trial
from tl_keras.training import callbacks, devices, loop, runtime
from tl_keras.training.schedules import Recipe
from tl_keras.transfer.strategies import Phase, find

IMAGES = 33  # in batches of 16: the last one has one image, which two devices cannot share
SEED = 3


def plain(dropout=0.0):
    return keras.Sequential([
        keras.Input((16, 16, 3)), layers.Rescaling(1 / 128, -1), layers.Conv2D(4, 3, activation="relu"),
        layers.GlobalAveragePooling2D(), layers.Dense(8, activation="relu"), layers.Dropout(dropout, seed=SEED),
        layers.Dense(2), layers.Softmax(dtype="float32"),
    ])  # fmt: skip


def normalised():
    return keras.Sequential([
        keras.Input((16, 16, 3)), layers.Rescaling(1 / 64, -2), layers.Conv2D(4, 3, strides=2, use_bias=False),
        layers.BatchNormalization(momentum=0.8), layers.ReLU(), layers.Conv2D(4, 3, strides=2),
        layers.GlobalAveragePooling2D(), layers.Dense(2), layers.Softmax(),
    ])  # fmt: skip


def train(folder, build, recipe, **options):
    runtime.prepare(seed=0)
    model = build()
    split, held = made_up_split(IMAGES), made_up_split(20, seed=1)
    training = loop.fit("net", model, split, held, recipe, RunFolder(folder), devices="all", **options)
    return model, training


CASES = {
    "behind a probe, with bounded gradients, averaged weights and a last batch of one image": (
        plain, Recipe(2, 16, 1e-2, clip_norm=0.05, ema=0.8), {"phases": find("lp_ft").phases},
    ),
    "with trained BatchNorm, rates by depth, weight decay, mixed images and uneven shares": (
        normalised, Recipe(2, 15, 0.1, "sgd", weight_decay=0.1, clip_norm=0.5),
        {"phases": [Phase(layer_decay=0.5, batch_norm=True)], "augment": MixUp()},
    ),
}  # fmt: skip


# ---------------------------------------------------------------------------------- what two devices come to


def on_two_devices(folder):
    """Everything that is asked of two devices, in one process: to start TensorFlow takes longer than all of it."""
    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    for number, case in enumerate(CASES.values()):
        keep(folder / f"case{number}", *train(folder / f"case{number}", *case[:2], **case[2]))
    callbacks.CHECKPOINT_SECONDS = 0.0
    with as_left_after(2, folder / "whole", [folder / "stopped", folder / "elsewhere"]):
        keep(folder / "whole", *train_with_dropout(folder / "whole"))
    keep(folder / "stopped", *train_with_dropout(folder / "stopped"))
    plain().save(folder / "mine.keras")
    runner.run([whole_trial(folder)], RunFolder.create(folder / "run", {"experiment": "try", "settings": {}}))
    np.savez(folder / "drawn.npz", *what_is_drawn())
    np.savez(folder / "moved.npz", *how_far_weights_move())


def keep(path, model, training):
    np.savez(path.with_suffix(".npz"), *model.get_weights())
    path.with_suffix(".json").write_text(json.dumps(training.history))


def train_with_dropout(folder):
    return train(folder, lambda: plain(dropout=0.4), Recipe(3, 16, 1e-2, ema=0.5))


@contextmanager
def as_left_after(epochs, folder, copies):
    """Keep copies of a run folder as it lay on disk after `epochs` epochs: what a kill at that moment leaves."""
    save = callbacks.Checkpoint.save

    def save_and_copy(checkpoint, progress):
        save(checkpoint, progress)
        if progress.epoch == epochs:
            for copy in copies:
                shutil.copytree(folder, copy)

    callbacks.Checkpoint.save = save_and_copy
    yield
    callbacks.Checkpoint.save = save


def whole_trial(folder):
    """Digits by a network from a file, as `finetune` compares its strategies."""
    images, recipe = ByClass("digits", limit=150, classes=(1, 7)), Recipe(2, 16, 1e-3, clip_norm=1.0)
    return Trial("full", "full", "full fine-tuning", images, View((16, 16)), str(folder / "mine.keras"), recipe,
                 strategy=find("full"), devices="all")  # fmt: skip


def copy_on_all(build, recipe, precision="float32"):
    runtime.prepare(seed=0, precision=precision)
    copy = devices.mirrored(build(), Phase(), "all")
    loop.compile_for(copy, recipe, steps=4)
    return copy, copy.distribute_strategy


def what_is_drawn():
    """Which features Dropout leaves on each device."""
    copy, strategy = copy_on_all(
        lambda: keras.Sequential([keras.Input((64,)), layers.Dropout(0.5), layers.Dense(1)]), Recipe(1, 1, 0.1)
    )
    devices.draw_apart(copy)
    dropout = copy.layers[-2]
    left = tf.function(lambda: strategy.run(lambda: dropout(tf.ones((1, 64)), training=True)))
    return [each.numpy() for _ in range(2) for each in strategy.experimental_local_results(left())]


def how_far_weights_move():
    """In a step in float16 in which the gradients overflow on the first device, on the second, on none."""
    copy, strategy = copy_on_all(plain, Recipe(1, 1, 0.1, clip_norm=1.0), "mixed_float16")
    weights = copy.trainable_variables

    def step(where):
        overflows = tf.equal(tf.distribute.get_replica_context().replica_id_in_sync_group, where)
        gradients = [tf.fill(weight.shape, tf.where(overflows, np.inf, 1.0)) for weight in weights]
        copy.optimizer.apply(gradients, weights)

    run, states = tf.function(lambda where: strategy.run(step, (where,))), [copy.get_weights()]
    for where in (0, 1, 2):
        run(tf.constant(where))
        states.append(copy.get_weights())
    return [
        max(np.abs(new - old).max() for new, old in zip(after, before, strict=True))
        for before, after in itertools.pairwise(states)
    ]


# ---------------------------------------------------------------------------------------------------- tests


@pytest.fixture(scope="module")
def two_devices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_devices")
    done = python(__file__, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "train on 2 devices" in done.stdout
    return folder


def kept(path):
    with np.load(path.with_suffix(".npz")) as stored:
        return list(stored.values()), json.loads(path.with_suffix(".json").read_text())


@pytest.mark.parametrize("case", CASES)
def test_two_devices_learn_what_one_learns(two_devices, tmp_path, capsys, case):
    build, recipe, options = CASES[case]
    model, training = train(tmp_path, build, recipe, **options)
    assert "devices" not in capsys.readouterr().out, "there is one here, and all of one is one"
    weights, history = kept(two_devices / f"case{list(CASES).index(case)}")
    assert list(history) == list(training.history)
    for column, values in training.history.items():
        np.testing.assert_allclose(history[column], values, rtol=2e-5, atol=1e-6, err_msg=column)
    for found, expected in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


def test_a_stopped_training_goes_on_to_the_very_same_weights(two_devices):
    (weights, history), (expected, whole) = kept(two_devices / "stopped"), kept(two_devices / "whole")
    assert history == whole and len(whole["epoch"]) == 3
    for one, other in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_does_not_go_on_with_another_number_of_devices(two_devices):
    with pytest.raises(InputError, match="'devices': 2}; resume with the settings of that run"):
        train_with_dropout(two_devices / "elsewhere")


def test_a_trial_leaves_a_network_for_one_device_and_its_record(two_devices):
    asked = whole_trial(two_devices)
    record = records.read(RunFolder(two_devices / "run"), "full")
    assert Trial.from_json(record.trial) == asked
    images = asked.images.load(asked.view)
    model = model_file.load(two_devices / "run/models/full.keras")
    said = model.predict(images.test.images, verbose=0)
    np.testing.assert_allclose(record.test.probabilities, said, atol=1e-6)
    learned = np.abs(model.get_weights()[0] - model_file.load(two_devices / "mine.keras").get_weights()[0])
    assert 1e-4 < learned.max() < 0.1


def test_random_layers_draw_other_numbers_on_each_device(two_devices):
    with np.load(two_devices / "drawn.npz") as stored:
        drawn = [tuple(each.ravel() > 0) for each in stored.values()]
    assert len(set(drawn)) == 4, "on both devices, in both steps"
    assert all(16 < sum(each) < 48 for each in drawn)


def test_in_float16_no_step_is_done_where_any_device_overflows(two_devices):
    with np.load(two_devices / "moved.npz") as stored:
        first, second, none = stored.values()
    assert first == second == 0 < none < 1


@pytest.mark.parametrize("phase", [Phase(last_layers=1), Phase(last_layers=1, solved="softmax"), Phase()])
def test_one_device_trains_the_network_itself(phase):
    model = plain()
    assert devices.mirrored(model, phase, "all") is devices.mirrored(model, phase, "one") is model
    assert devices.count(model) == 1 and devices.identity(model) == {}
    batches = tf.data.Dataset.from_tensors((tf.zeros((1, 16, 16, 3)), tf.zeros(1, tf.int32)))
    assert devices.shared_out(batches, model) is batches


def test_settings():
    assert FineTuningSettings().devices == "one"
    with pytest.raises(InputError, match="--devices: expected one of one, all, received 'two'"):
        FineTuningSettings(devices="two")
    FineTuningSettings(devices="all").refuse_ignored(["probe", "lp_ft"])
    with pytest.raises(InputError, match="--devices: expected a strategy that reads it, received probe, last_layer"):
        FineTuningSettings(devices="all").refuse_ignored(["probe", "last_layer"])


if __name__ == "__main__":
    on_two_devices(Path(sys.argv[1]))
