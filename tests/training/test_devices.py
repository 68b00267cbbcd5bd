"""What two devices learn is what one device learns: two logical CPU devices, in a process of their own.

This file is also the program of that process.
"""

import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.conftest import made_up_split
from tests.fresh import python
from tl_keras import records, run
from tl_keras.config import FineTuningSettings
from tl_keras.data.mixing import MixUp
from tl_keras.errors import InputError
from tl_keras.models import model_file
from tl_keras.run_folder import RunFolder
from tl_keras.training import callbacks, devices, inference, loop, runtime
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
    "the norm of all gradients is bounded, weights are averaged, and the last batch has one image": (
        plain, Recipe(3, 16, 1e-2, clip_norm=0.05, ema=0.8), {},
    ),
    "BatchNorm trains, stages have their own rates and decay, images are mixed, and shares are uneven": (
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
    keep(folder / "whole", *train_with_dropout(folder / "whole"))
    stop_after(2, folder / "stopped")
    keep(folder / "stopped", *train_with_dropout(folder / "stopped"))
    stop_after(2, folder / "elsewhere")
    np.savez(folder / "drawn.npz", *what_is_drawn())
    np.savez(folder / "overflows.npz", *what_overflows())


def keep(path, model, training):
    np.savez(path.with_suffix(".npz"), *model.get_weights())
    path.with_suffix(".json").write_text(json.dumps(training.history))


def train_with_dropout(folder):
    phases = find("lp_ft").phases
    return train(folder, lambda: plain(dropout=0.4), Recipe(4, 16, 1e-2, ema=0.5), phases=phases)


def stop_after(epochs, folder):
    """Let a training end as if it were killed, with `epochs` epochs on disk."""
    save = callbacks.Checkpoint.save

    def save_and_stop(checkpoint, progress):
        save(checkpoint, progress)
        if progress.epoch == epochs:
            raise KeyboardInterrupt

    callbacks.Checkpoint.save = save_and_stop
    try:
        train_with_dropout(folder)
    except KeyboardInterrupt:
        return
    finally:
        callbacks.Checkpoint.save = save


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


def what_overflows():
    """How far weights move in float16 where the gradients of no device, the first or the second overflow."""
    moved = []
    for number in (None, 0, 1):
        copy, strategy = copy_on_all(plain, Recipe(1, 1, 0.1, clip_norm=1.0), "mixed_float16")
        weights, before = copy.trainable_variables, copy.get_weights()

        def step(number=number, weights=weights, optimizer=copy.optimizer):
            here = tf.distribute.get_replica_context().replica_id_in_sync_group
            overflows = tf.constant(False) if number is None else tf.equal(here, number)
            optimizer.apply([tf.fill(weight.shape, tf.where(overflows, np.inf, 1.0)) for weight in weights], weights)

        tf.function(lambda step=step, strategy=strategy: strategy.run(step))()
        moved.append(max(np.abs(new - old).max() for new, old in zip(copy.get_weights(), before, strict=True)))
    return moved


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
    assert history == whole and len(whole["epoch"]) == 5
    for one, other in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_does_not_go_on_with_another_number_of_devices(two_devices):
    with pytest.raises(InputError, match="'devices': 2}; resume with the settings of that run"):
        train_with_dropout(two_devices / "elsewhere")


def test_random_layers_draw_other_numbers_on_each_device(two_devices):
    with np.load(two_devices / "drawn.npz") as stored:
        drawn = [tuple(each.ravel() > 0) for each in stored.values()]
    assert len(set(drawn)) == 4, "on both devices, in both steps"
    assert all(16 < sum(each) < 48 for each in drawn)


def test_in_float16_no_step_is_done_where_any_device_overflows(two_devices):
    with np.load(two_devices / "overflows.npz") as stored:
        finite, *overflows = stored.values()
    assert 0 < finite < 1
    assert overflows == [0, 0]


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
    from pathlib import Path

    on_two_devices(Path(sys.argv[1]))
