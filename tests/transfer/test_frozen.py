"""split_frozen and stored activations: the same function, the same training, paid for once."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.conftest import made_up_split
from tl_keras.data.augment import FlipShift
from tl_keras.models import cnn
from tl_keras.run_folder import RunFolder
from tl_keras.training import loop, runtime
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import frozen, strategies
from tl_keras.transfer.strategies import Phase


def names(model):
    return [layer.name for layer in model.layers]


def random_images(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype("float32")


def assert_same_function(model, x):
    prefix, suffix = frozen.split_frozen(model)
    parts = suffix.predict(prefix.predict(x, verbose=0), verbose=0)
    np.testing.assert_allclose(parts, model.predict(x, verbose=0), atol=1e-6)
    return prefix, suffix


@pytest.mark.parametrize("last_layers, first_in_suffix", [(1, "dropout_dense"), (2, "dense1"), (4, "conv3")])
def test_the_cut_stands_where_training_begins(last_layers, first_in_suffix):
    model = cnn.build(3)
    strategies.set_trainable(model, Phase(last_layers=last_layers))
    prefix, suffix = assert_same_function(model, random_images(4, 32, 32, 3))
    assert names(suffix)[1] == first_in_suffix
    assert not prefix.trainable_weights
    assert [id(w) for w in suffix.trainable_weights] == [id(w) for w in model.trainable_weights]


def test_a_model_with_nothing_frozen_keeps_all_weights_in_the_suffix():
    model = cnn.build(2)
    prefix, suffix = frozen.split_frozen(model)
    assert not prefix.weights and len(suffix.weights) == len(model.weights)


def test_a_model_that_does_not_train_is_refused():
    model = cnn.build(2)
    model.trainable = False
    with pytest.raises(ValueError, match="expected a model that trains, received cnn"):
        frozen.split_frozen(model)


def test_frozen_dropout_and_batchnorm_rest_and_trainable_ones_do_not():
    inputs = keras.Input((4,))
    x = layers.Dense(4, trainable=False)(inputs)
    x = layers.BatchNormalization(trainable=False, name="resting")(x)
    x = layers.Dropout(0.5, trainable=False, name="inert")(x)
    x = layers.BatchNormalization(center=False, scale=False, name="moving")(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    prefix, suffix = assert_same_function(model, random_images(8, 4))
    assert {"resting", "inert"} <= set(names(prefix))
    assert "moving" in names(suffix)


def test_a_residual_connection_across_the_cut_gives_two_tensors():
    inputs = keras.Input((4,))
    first = layers.Dense(4, trainable=False)(inputs)
    second = layers.Dense(4, trainable=False)(first)
    model = keras.Model(inputs, layers.add([layers.Dense(4)(second), first]))
    prefix, _ = assert_same_function(model, random_images(8, 4))
    assert len(prefix.outputs) == 2


def test_a_nested_backbone_is_cut_inside():
    base = keras.applications.MobileNet(alpha=0.25, input_shape=(32, 32, 3), include_top=False, weights=None)
    base.trainable = True
    for layer in base.layers[:-6]:
        layer.trainable = False
    inputs = keras.Input((32, 32, 3))
    x = layers.GlobalAveragePooling2D()(base(inputs, training=False))
    model = keras.Model(inputs, layers.Dense(2)(x))
    prefix, suffix = assert_same_function(model, random_images(2, 32, 32, 3))
    assert len(prefix.weights) + len(suffix.weights) == len(model.weights)
    assert len(suffix.weights) < 20


def test_a_nested_backbone_behind_another_layer_is_cut_inside():
    inner_inputs = keras.Input((8, 8, 3))
    inner = keras.Model(inner_inputs, layers.Conv2D(3, 3, name="late")(layers.Conv2D(4, 3, name="early")(inner_inputs)))
    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(inner(layers.Rescaling(1 / 255)(inputs)))
    model = keras.Model(inputs, layers.Dense(2)(x))
    inner.get_layer("early").trainable = False
    prefix, suffix = assert_same_function(model, random_images(4, 8, 8, 3))
    assert names(prefix)[-1] == "early"
    assert names(suffix)[1] == "late"


def test_a_frozen_nested_backbone_stays_whole_in_the_prefix():
    base = keras.applications.MobileNet(alpha=0.25, input_shape=(32, 32, 3), include_top=False, weights=None)
    base.trainable = False
    model = keras.Sequential([keras.Input((32, 32, 3)), base, layers.Flatten(), layers.Dropout(0.5), layers.Dense(2)])
    prefix, suffix = assert_same_function(model, random_images(2, 32, 32, 3))
    assert len(prefix.weights) == len(base.weights)
    assert [type(layer).__name__ for layer in suffix.layers[1:]] == ["Dropout", "Dense"]


def test_a_subclassed_model_is_refused():
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    model = Subclassed()
    model(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="expected a functional or sequential model"):
        frozen.split_frozen(model)


def test_the_calls_of_a_graph_come_behind_those_that_they_read_from():
    """A layer that is called twice is there twice."""
    inputs, twice = keras.Input((4,), name="numbers"), layers.Dense(4, name="twice")
    model = keras.Model(inputs, layers.Dense(2)(layers.Add()([twice(twice(inputs)), inputs])))
    new, calls = frozen.calls(model)
    assert [call.operation for call in calls] == [twice, twice, *model.layers[-2:]] and new.name == "numbers"
    known = {id(new)}
    for call in calls:
        assert {id(tensor) for tensor in call.read} <= known
        known.add(id(call.output))
    assert len(calls[2].read) == 2
    x = random_images(3, 4)
    np.testing.assert_array_equal(keras.Model(new, calls[-1].output)(x), model(x))


@pytest.mark.parametrize("last_layers", [1, 2, None])
def test_what_a_layer_reads_is_a_network_too_also_behind_a_cut(last_layers):
    model, x = cnn.build(3, (16, 16, 3), filters=(4, 4, 4, 4), units=8), random_images(4, 16, 16, 3)
    expected = keras.Model(model.input, model.get_layer("dropout_dense").output).predict(x, verbose=0)
    strategies.set_trainable(model, Phase(last_layers=last_layers))
    prefix, suffix = frozen.split_frozen(model)
    reading = frozen.before(suffix, model.get_layer("dense2"))
    np.testing.assert_allclose(reading.predict(prefix.predict(x, verbose=0), verbose=0), expected, atol=1e-6)
    assert reading.output_shape == (None, 8)


def whole_graph_with_frozen_part_in_inference_mode(model, last_layers):
    """The reference: nothing stored, the frozen layers called with training=False in every step."""
    strategies.set_trainable(model, Phase(last_layers=last_layers))
    _, suffix = frozen.split_frozen(model)
    boundary = model.get_layer("flatten").output if last_layers == 2 else model.get_layer("dense1").output
    prefix = keras.Model(model.inputs, boundary)

    class Whole(keras.Model):
        def __init__(self):
            super().__init__()
            self.prefix, self.suffix = prefix, suffix

        def call(self, x, training=None):
            return self.suffix(self.prefix(x, training=False), training=training)

    whole = Whole()
    whole(np.zeros((1, *model.input_shape[1:]), "float32"))
    return whole


@pytest.mark.parametrize("last_layers", [1, 2])
@pytest.mark.parametrize("augment", [None, FlipShift()])
def test_training_on_stored_activations_equals_training_the_whole_graph(tmp_path, last_layers, augment):
    from tl_keras.data import pipeline

    train, test = made_up_split(100, side=32), made_up_split(40, side=32, seed=1)
    recipe = Recipe(epochs=3, batch_size=32, learning_rate=1e-3, views=2)

    def build():
        runtime.prepare(seed=0)
        return cnn.build(2)

    stored = build()
    loop.fit(
        "stored",
        stored,
        train,
        test,
        recipe,
        RunFolder(tmp_path),
        augment=augment,
        phases=[Phase(last_layers=last_layers)],
    )

    reference = build()
    whole = whole_graph_with_frozen_part_in_inference_mode(reference, last_layers)
    steps = pipeline.steps_per_epoch(len(train), recipe.batch_size)
    loop.compile_for(whole, recipe, steps)
    batches = pipeline.training_batches(
        [train.images], train.labels, batch_size=32, seed=0, epochs=3, augment=augment, views=2
    )
    whole.fit(batches, epochs=3, steps_per_epoch=steps, verbose=0)

    for ours, theirs in zip(stored.weights, reference.weights, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=2e-5)
    assert not np.array_equal(stored.weights[-2].numpy(), build().weights[-2].numpy()), "the last layer trained"
