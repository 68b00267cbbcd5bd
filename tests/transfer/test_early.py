"""A linear probe on earlier features: where networks are cut, which stage is taken, and what is saved."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

from tests.conftest import made_up_split
from tests.study.test_trial import trial
from tl_keras import records
from tl_keras.data import selection
from tl_keras.data.selection import Selection
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.models import backbones, networks
from tl_keras.run_folder import RunFolder
from tl_keras.study import runner
from tl_keras.training import loop
from tl_keras.transfer import activations, early, probe, strategies


@pytest.fixture
def storage(tmp_path):
    return activations.Storage(tmp_path / "activations")


@pytest.fixture
def out(tmp_path):
    yield RunFolder.create(tmp_path / "run", {"experiment": "try", "settings": {}})
    selection.forget()


def network(side=8, channels=1, classes=4):
    """Three convolutions, each on half the size of the one before; the last one names no class."""
    images = keras.Input((side, side, channels))
    x = layers.Rescaling(1 / 255)(images)
    for number, filters in enumerate((8, 16, 4), start=1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{number}")(x)
        x = layers.MaxPooling2D(name=f"pool{number}")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, layers.Dense(classes, activation="softmax")(x))


def spoilt(path, weight=0.0):
    """A file with that network; all filters of its last stage are the same."""
    model = network()
    last = model.get_layer("conv3")
    last.set_weights([np.full_like(array, weight) for array in last.get_weights()])
    model.save(path)
    return str(path)


def digits(path, name="early_probe"):
    return replace(
        trial(name), images=Selection("digits", limit=300, validation=20), view=View((8, 8), channels=1),
        network=path, strategy=strategies.find(name),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------- where to cut


def residual_by_operators():
    """Its sums are operations, not layers."""
    images = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, padding="same", name="first")(images)
    x = x + layers.Conv2D(4, 3, padding="same")(x)
    y = layers.Conv2D(4, 3, 2, padding="same", name="across")(x)
    x = layers.Conv2D(4, 1, 2, name="beside")(x) + layers.Conv2D(4, 3, padding="same")(y)
    return keras.Model(images, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def with_dense_layers():
    images = keras.Input((16, 16, 3))
    x = layers.Flatten()(layers.Conv2D(5, 3)(layers.MaxPooling2D()(layers.Conv2D(4, 3)(images))))
    return keras.Model(images, layers.Dense(3)(layers.Dense(9)(x)))


def in_two_branches():
    """No tensor but the images and the features is all that stands behind it."""
    images = keras.Input((16, 16, 3))
    branches = [layers.GlobalAveragePooling2D()(layers.Conv2D(4, side)(images)) for side in (1, 3)]
    return keras.Model(images, layers.Dense(3)(layers.Concatenate(name="both")(branches)))


BUILT = {"with dense layers": with_dense_layers, "residual by operators": residual_by_operators}
REGISTRY = ("resnet50", "densenet121", "mobilenet_v2_0.35", "efficientnetv2b0", "torch_resnet18", "vit_base")


@pytest.mark.parametrize("name", [*BUILT, *REGISTRY])
def test_all_that_stands_behind_the_end_of_a_stage_comes_from_it(name):
    if name.startswith(("torch", "vit")):
        pytest.importorskip("keras_hub", reason="the extra kerashub is not installed")
    model = BUILT[name]() if name in BUILT else backbones.build(name, classes=2, size=32)
    _, ends = early.ends(model)
    read = ends.popitem()[1]
    assert read.shape[1:] == model.layers[-1].input.shape[1:]
    assert len(ends) == len(backbones.stages(model))
    outputs = {operation.name: operation.output for operation in model.operations}
    for layer in ends:  # Keras refuses a network from there on, should a branch pass the cut by
        keras.Model(outputs[layer], model.output)
    sizes = [tensor.shape[1:] for tensor in ends.values()]
    assert all(len(size) == (2 if name.startswith("vit") else 3) for size in sizes)
    last = {"resnet50": "conv5_block3_out", "torch_resnet18": "stack3_block1_out", "vit_base": "ln"}
    assert list(ends)[-1] == last.get(name, list(ends)[-1])
    assert not any("pad" in layer for layer in ends)


def test_the_end_of_the_last_stage_gives_what_the_probe_reads():
    model = networks.build("mobilenet_0.25", 2, View((32, 32)))
    x = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype("float32")
    whole = early.cut(model, "conv_pw_13_relu", classes=5)
    features = [keras.Model(each.input, each.get_layer("logits").input)(x) for each in (model, whole)]
    np.testing.assert_allclose(*features, rtol=1e-6)
    assert whole.output_shape == (None, 5) and whole.input.name == "images" and whole.name == model.name


def test_a_network_that_is_one_stage_is_a_probe(storage):
    choice = early.choose(in_two_branches(), made_up_split(20), storage)
    assert [(stage.layer, stage.features) for stage in choice.stages] == [("both", 8)] and choice.taken == "both"


def test_what_dense_layers_give_can_be_taken_too(storage):
    model = with_dense_layers()
    choice = early.choose(model, made_up_split(20), storage)
    hidden = model.layers[-2].name
    assert [stage.features for stage in choice.stages] == [4, 5, 9] and choice.stages[-1].layer == hidden
    x = made_up_split(3).images.astype("float32")
    whole = early.cut(model, hidden, classes=2)
    np.testing.assert_array_equal(keras.Model(whole.input, whole.get_layer("logits").input)(x),
                                  keras.Model(model.input, model.layers[-1].input)(x))  # fmt: skip


def test_a_network_that_sees_no_image_is_refused(storage):
    images = keras.Input((8, 8, 3))
    dense = keras.Model(images, layers.Dense(2)(layers.Dense(4)(layers.Flatten()(images))), name="flat")
    with pytest.raises(InputError, match=r"flat: expected a network with layers that see images, .* received none"):
        early.choose(dense, made_up_split(20), storage)


# ------------------------------------------------------------------------------------------------- which is taken


def test_the_stage_of_least_log_loss_is_taken_after_one_run_over_the_images(storage, monkeypatch):
    seen = []
    predict = keras.Model.predict_on_batch
    monkeypatch.setattr(keras.Model, "predict_on_batch", lambda self, x: (seen.append(len(x)), predict(self, x))[1])
    train = selection.loaded(Selection("digits", limit=200), View((8, 8), channels=1)).train
    model = network(classes=10)
    choice = early.choose(model, train, storage, seed=3)
    assert sum(seen) == 200, "all stages at once"
    assert [(stage.layer, stage.features) for stage in choice.stages] == [("conv1", 8), ("conv2", 16), ("pool3", 4)]
    for stage in choice.stages:
        maps = keras.Model(model.input, model.get_layer(stage.layer).output)(train.images[:])
        solution = probe.solve(np.asarray(maps, "float64").mean(axis=(1, 2)), train.labels, 10, seed=3)
        least = min(score.log_loss for score in solution.scores)
        assert stage.log_loss == pytest.approx(least, rel=1e-3)
    assert choice.taken == min(choice.stages, key=lambda stage: stage.log_loss).layer == "conv2"
    assert early.choose(model, train, storage, seed=3) == choice and sum(seen) == 200, "features are found again"
    assert str(choice) == "features of conv2, number 2 of 3 from shallow to deep"


def test_where_nothing_can_be_held_out_the_last_stage_is_taken(storage):
    choice = early.choose(network(side=16, channels=3), made_up_split(2), storage)
    assert choice.taken == "pool3" and {stage.log_loss for stage in choice.stages} == {None}


# ------------------------------------------------------------------------------------------------- what is saved


@pytest.mark.parametrize("weight", [0.0, 1.0], ids=["nothing", "one number"])
def test_earlier_features_are_taken_where_the_last_stage_is_useless(tmp_path, out, weight):
    """And the file holds the logistic regression on them, by numpy."""
    path = spoilt(tmp_path / "mine.keras", weight)
    record = runner.run_one(digits(path), out)
    said = record.measured["early"]
    assert said["taken"] == "conv2" and [stage["layer"] for stage in said["stages"]][:2] == ["conv1", "conv2"]
    assert (said["stages"][2]["log_loss"] is None) == (weight == 0), "no number differs between the images"
    assert said == records.read(out, "early_probe").measured["early"] and record.seconds > said["seconds"] > 0

    images = digits(path).images.load(View((8, 8), channels=1))
    own = keras.models.load_model(path)
    body = keras.Model(own.input, own.get_layer("conv2").output)
    features = {name: body.predict(split.images[:], verbose=0).astype("float64").mean(axis=(1, 2))
                for name, split in images.splits.items()}  # fmt: skip
    saved = keras.models.load_model(out.model("early_probe"), safe_mode=True)
    kernel, bias = (np.asarray(array, "float64") for array in saved.get_layer("logits").get_weights())
    solution = probe.solve(features["train"], images.train.labels, 10, seed=0)
    np.testing.assert_allclose(kernel, solution.weights, rtol=0.02, atol=0.02 * np.abs(kernel).max())
    logits = features["test"] @ kernel + bias
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(record.test.probabilities, expected, atol=1e-4)
    np.testing.assert_allclose(saved.predict(images.test.images[:], verbose=0), expected, atol=1e-4)
    assert "conv3" not in [layer.name for layer in saved.layers]
    assert record.parameters == saved.count_params() and record.trainable_parameters == 16 * 10 + 10


def test_a_stopped_trial_goes_on_and_a_finished_one_is_read_back(tmp_path, out, monkeypatch):
    made = digits(spoilt(tmp_path / "mine.keras"))
    whole = runner.run_one(made, out)
    other = RunFolder.create(tmp_path / "other", {"experiment": "try", "settings": {}})
    for step in (probe, loop.inference):  # in the middle of the choice, and behind the solution
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            stop = "solve" if step is probe else "probabilities"
            patched.setattr(step, stop, lambda *given, **options: (_ for _ in ()).throw(KeyboardInterrupt))
            runner.run_one(made, other)
    again = runner.run_one(made, other)
    np.testing.assert_array_equal(again.test.probabilities, whole.test.probabilities)
    assert out.model("early_probe").read_bytes() == other.model("early_probe").read_bytes()
    monkeypatch.setattr(early, "choose", None)
    assert runner.run_one(made, other).measured == again.measured


def test_half_precision_layers_and_features(tmp_path, out):
    """The file's layers compute in half precision; their averages over the image do not."""
    keras.config.set_dtype_policy("mixed_float16")
    path = spoilt(tmp_path / "mine.keras")
    record = runner.run_one(replace(digits(path), precision="mixed_float16", activations="float16"), out)
    assert record.measured["early"]["taken"] == "conv2" and record.test.accuracy > 0.5
    saved = keras.models.load_model(out.model("early_probe"))
    assert (saved.get_layer("conv2").compute_dtype, saved.get_layer("pooled").compute_dtype) == ("float16", "float32")
