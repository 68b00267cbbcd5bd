"""What trains, what is re-used, and the proof that what is frozen stays as it is."""

import keras
import numpy as np
import pytest
from keras import layers

from tl_keras.errors import InputError
from tl_keras.models import cnn
from tl_keras.transfer import strategies
from tl_keras.transfer.strategies import Phase


def trained_layers(model):
    return [layer.name for layer in model.layers if layer.trainable_weights]


@pytest.mark.parametrize(
    "last_layers, trained",
    [
        (1, ["dense2"]),
        (2, ["dense1", "dense2"]),
        (3, ["conv4", "dense1", "dense2"]),
        (6, ["conv1", "conv2", "conv3", "conv4", "dense1", "dense2"]),
        (None, ["conv1", "conv2", "conv3", "conv4", "dense1", "dense2"]),
    ],
)
def test_set_trainable(last_layers, trained):
    model = cnn.build(2)
    strategies.set_trainable(model, Phase(last_layers=1))
    strategies.set_trainable(model, Phase(last_layers=last_layers))
    assert trained_layers(model) == trained
    assert sum(len(layer.trainable_weights) for layer in model.layers) == len(model.trainable_weights)


@pytest.mark.parametrize(
    "last_layers, resting", [(1, [True, True, False]), (2, [True, True, False]), (None, [False] * 3)]
)
def test_dropout_rests_between_frozen_layers_and_works_behind_them(last_layers, resting):
    model = cnn.build(2)
    strategies.set_trainable(model, Phase(last_layers=last_layers))
    assert [not layer.trainable for layer in model.layers if isinstance(layer, layers.Dropout)] == resting


@pytest.mark.parametrize("last_layers", [0, -1, 7])
def test_a_number_of_layers_that_is_not_there(last_layers):
    expected = f"expected 1 to 6 .the layers with weights., received {last_layers}; give a number in that range"
    with pytest.raises(InputError, match=expected):
        strategies.set_trainable(cnn.build(2), Phase(last_layers=last_layers))


def test_count_parameters():
    model = cnn.build(2)
    strategies.set_trainable(model, Phase(last_layers=1))
    assert strategies.count_parameters(model) == (model.count_params(), 128 * 2 + 2)


@pytest.mark.parametrize("new_layers", [1, 2])
def test_copy_weights_leaves_the_new_layers_as_they_are(new_layers):
    source, target = cnn.build(8), cnn.build(2)
    before = [layer.get_weights() for layer in strategies.weighted_layers(target)]
    strategies.copy_weights(source, target, new_layers)
    pairs = zip(strategies.weighted_layers(source), strategies.weighted_layers(target), before, strict=True)
    for number, (old, new, fresh) in enumerate(pairs):
        kept = fresh if number >= len(before) - new_layers else old.get_weights()
        for weight, expected in zip(new.get_weights(), kept, strict=True):
            np.testing.assert_array_equal(weight, expected)


def test_copied_weights_are_the_targets_own():
    source, target = cnn.build(8), cnn.build(2)
    strategies.copy_weights(source, target)
    kept = source.get_layer("conv1").get_weights()[0]
    target.get_layer("conv1").set_weights([weight + 1 for weight in target.get_layer("conv1").get_weights()])
    np.testing.assert_array_equal(source.get_layer("conv1").get_weights()[0], kept)


def test_copied_preprocessing_computes_as_the_original():
    def network(fitted):
        return keras.Sequential([keras.Input((4,)), fitted, layers.Dense(2)])

    first, second = layers.Normalization(), layers.Normalization()
    rows = np.random.default_rng(0).normal([1, 2, 3, 4], 5, (100, 4)).astype("float32")
    first.adapt(rows)
    strategies.copy_weights(network(first), network(second))
    np.testing.assert_array_equal(second(rows), first(rows))


def test_another_architecture_is_refused():
    with pytest.raises(InputError, match=r"conv2: expected weights of shapes .*received .* from conv2; re-use a net"):
        strategies.copy_weights(cnn.build(8, filters=(40, 16, 160, 128)), cnn.build(2))


@pytest.mark.parametrize("depth", [0, 4])
def test_a_network_with_fewer_or_more_layers_is_refused(depth):
    def dense(depth, classes):
        return keras.Sequential([keras.Input((3,)), *[layers.Dense(3) for _ in range(depth)], layers.Dense(classes)])

    with pytest.raises(InputError):
        strategies.copy_weights(dense(depth, classes=3), dense(2, classes=2))


def normalised():
    base = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.BatchNormalization()], name="base")
    return keras.Sequential([keras.Input((4,)), base, layers.Dense(2, name="head")])


@pytest.mark.parametrize("policy", ["float32", "float16", "bfloat16"])
def test_the_digest_sees_every_frozen_byte_and_no_other(policy):
    keras.config.set_dtype_policy(policy)
    model = normalised()
    strategies.set_trainable(model, Phase(last_layers=1))
    digest = strategies.frozen_digest(model)
    for weight in model.get_layer("base").weights:
        kept = weight.numpy()
        changed = kept.copy()
        changed.reshape(-1)[-1] = np.nextafter(kept.reshape(-1)[-1], kept.dtype.type(9))
        weight.assign(changed)
        assert strategies.frozen_digest(model) != digest, f"{weight.path} moved by the smallest step"
        weight.assign(kept)
        assert strategies.frozen_digest(model) == digest
    for weight in model.get_layer("head").weights:
        weight.assign(weight + 1)
    assert strategies.frozen_digest(model) == digest


def test_the_digest_sees_frozen_layers_inside_a_part_that_trains():
    model = normalised()
    strategies.set_trainable(model, Phase(last_layers=None))
    model.get_layer("base").layers[-1].trainable = False
    digest = strategies.frozen_digest(model)
    model.get_layer("base").layers[0].set_weights([np.zeros((4, 3)), np.zeros(3)])
    assert strategies.frozen_digest(model) == digest
    model(np.random.default_rng(0).normal(size=(64, 4)), training=True)
    assert strategies.frozen_digest(model) == digest, "frozen statistics rest"
    model.get_layer("base").layers[-1].moving_mean.assign(np.ones(3))
    assert strategies.frozen_digest(model) != digest


def residual(classes=2):
    """Two stages with BatchNorm, the second one residual."""
    inputs = keras.Input((32, 32, 3))
    x = layers.ReLU(name="relu1")(layers.BatchNormalization(name="bn1")(layers.Conv2D(4, 3, 2, name="conv1")(inputs)))
    x = layers.Conv2D(4, 3, 2, name="conv2")(x)
    y = layers.BatchNormalization(name="bn2")(layers.Conv2D(4, 1, name="conv3")(x))
    x = layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x))


@pytest.mark.parametrize(
    "phase, trained",
    [
        (Phase(last_layers=1), ["logits"]),
        (Phase(last_stages=1), ["conv2", "conv3", "logits"]),
        (Phase(last_stages=1, batch_norm=True), ["conv2", "conv3", "bn2", "logits"]),
        (Phase(last_stages=2), ["conv1", "conv2", "conv3", "logits"]),
        (Phase(), ["conv1", "conv2", "conv3", "logits"]),
        (Phase(batch_norm=True), ["conv1", "bn1", "conv2", "conv3", "bn2", "logits"]),
        (Phase(last_layers=2), ["conv3", "logits"]),
    ],
)
def test_batch_norm_stays_frozen_unless_asked_for(phase, trained):
    model = residual()
    strategies.set_trainable(model, phase)
    assert sorted(trained_layers(model)) == sorted(trained)


def test_more_stages_than_there_are():
    with pytest.raises(InputError, match=r"last_stages: expected 1 to 2 .the stages., received 3"):
        strategies.set_trainable(residual(), Phase(last_stages=3))


def test_each_stage_learns_slower_than_the_one_behind_it():
    model = residual()
    strategies.set_trainable(model, Phase(layer_decay=0.5))
    factors = {path.split("/")[0]: factor for path, factor in strategies.rate_factors(model, 0.5).items()}
    assert factors == {"conv1": 0.25, "conv2": 0.5, "conv3": 0.5, "logits": 1.0}


@pytest.mark.parametrize("name", strategies.NAMES)
def test_every_strategy_covers_the_whole_training(name):
    strategy = strategies.find(name, stages=2)
    assert strategy.name == name and strategy.title
    by_gradients = [phase.epochs for phase in strategy.phases if not phase.solved]
    assert sum(by_gradients) == pytest.approx(1) or not by_gradients
    assert bool(by_gradients) == (name not in ("probe", "early_probe", "ridge")), "these are solved"


def test_strategies_by_name():
    assert [phase.last_stages for phase in strategies.find("gradual", stages=3).phases] == [None, 1, 2, 3]
    assert [phase.last_layers for phase in strategies.find("lp_ft").phases] == [1, None]
    assert [phase.solved for phase in strategies.find("lp_ft").phases] == ["softmax", ""]
    assert strategies.find("probe").phases == (strategies.SOLVED,) == strategies.find("lp_ft").phases[:1]
    assert strategies.find("early_probe").phases == (strategies.SOLVED,)
    assert [phase.solved for phase in strategies.find("ridge").phases] == ["ridge"]
    assert [name for name in strategies.NAMES if strategies.find(name).is_early] == ["early_probe"]
    assert strategies.find("scratch").phases[0].batch_norm
    assert not strategies.find("full").phases[0].batch_norm
    assert strategies.find("full", batch_norm=True).phases[0].batch_norm
    assert strategies.find("lp_ft", batch_norm=True).phases[1].batch_norm
    with pytest.raises(InputError, match=r"strategy: expected one of scratch, probe, early_probe, .*, received 'all'"):
        strategies.find("all")


@pytest.mark.parametrize("tail", [[], [layers.Softmax], [lambda: layers.Activation("softmax")]])
def test_the_last_dense_layer_may_have_a_softmax_behind_it(tail):
    body = [keras.Input((8,)), layers.Dense(4), layers.Dropout(0.5), layers.Dense(3, name="last")]
    assert strategies.last_dense(keras.Sequential([*body, *(layer() for layer in tail)])).name == "last"


@pytest.mark.parametrize("last", [layers.BatchNormalization, lambda **given: layers.Dense(3, use_bias=False, **given)],
                         ids=["another layer", "no bias"])  # fmt: skip
def test_what_has_no_dense_last_layer_cannot_be_solved(last):
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4), last(name="last")])
    with pytest.raises(InputError, match=r"expected a dense last layer with a bias, received .* last; train it"):
        strategies.last_dense(model)
