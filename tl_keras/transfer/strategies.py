"""Which layers of a network are re-used, which of them train, and in what order.

A strategy is one `Phase` or several, each a stretch of the training with one set of trained layers, always the last
ones. Yosinski et al., "How transferable are features in deep neural networks?" (2014).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from tl_keras.errors import InputError
from tl_keras.models import backbones, heads
from tl_keras.quiet import keras


@dataclass(frozen=True)
class Phase:
    """What trains during one stretch of a training: the last layers, the last stages, or everything.

    Args:
        last_layers: how many layers with weights train, counted from the end.
        last_stages: how many stages train (`models.backbones.stages`), besides the new last layer.
        epochs: share of the epochs of the whole training.
        rate: factor on the peak learning rate.
        layer_decay: each stage learns with this factor on the rate of the stage behind it (Howard and Ruder,
            "Universal Language Model Fine-tuning", 2018); 1 gives all layers one rate.
        batch_norm: train BatchNorm layers too. They stay frozen by default: their statistics, learned from a million
            images, would be replaced by those of a few small batches.
        solved: how the last layer is solved instead of trained by gradients, which counts as one epoch: "softmax", the
            optimum of softmax regression, or "ridge", that of least squares (`transfer.streamed`). "": it is trained.
    """

    last_layers: int | None = None
    last_stages: int | None = None
    epochs: float = 1.0
    rate: float = 1.0
    layer_decay: float = 1.0
    batch_norm: bool = False
    solved: str = ""


SOLVED = Phase(last_layers=1, solved="softmax")
LEAST_SQUARES = Phase(last_layers=1, solved="ridge")


@dataclass(frozen=True)
class Strategy:
    """One way to re-use a network: its phases, in order.

    >>> find("last_two").phases[0].last_layers
    2
    """

    name: str
    title: str
    phases: tuple[Phase, ...]

    @property
    def is_early(self) -> bool:
        """Whether the network is first cut behind the stage whose features suit the images best (`transfer.early`)."""
        return self.name == "early_probe"


NAMES = (
    "scratch", "probe", "early_probe", "ridge", "last_layer", "last_two", "last_stages", "full", "gradual", "lp_ft",
    "per_depth",
)  # fmt: skip


def find(name: str, stages: int = 1, batch_norm: bool = False) -> Strategy:
    """The strategy called `name`; `stages` is how many stages unfreeze in `last_stages` and `gradual`.

    With `batch_norm` BatchNorm layers train too where what surrounds them does.

    `probe` solves the last layer, a logistic regression on the features; `early_probe` does so on those of the stage
    that suits the training images best; `ridge` by least squares, in one pass over features however many there are.
    Gradual unfreezing is Howard and Ruder's (2018), one stage more in each phase. `lp_ft` starts from the probe and
    trains everything, at a tenth of the rate: Kumar et al., "Fine-Tuning can Distort Pretrained Features" (2022).

    Raises:
        InputError: there is no such strategy.

    >>> find("lp_ft").phases
    (Phase(last_layers=1, ..., solved='softmax'), Phase(last_layers=None, ..., rate=0.1, ...))
    """
    share = 1 / (stages + 1)
    unfreezing = [Phase(last_stages=count, epochs=share, rate=0.1) for count in range(1, stages + 1)]
    known: dict[str, tuple[str, tuple[Phase, ...]]] = {
        "scratch": ("from scratch", (Phase(batch_norm=True),)),
        "probe": ("linear probe", (SOLVED,)),
        "early_probe": ("linear probe on earlier features", (SOLVED,)),
        "ridge": ("ridge classifier", (LEAST_SQUARES,)),
        "last_layer": ("last layer", (Phase(last_layers=1),)),
        "last_two": ("last two layers", (Phase(last_layers=2),)),
        "last_stages": ("last stage" if stages == 1 else f"last {stages} stages", (Phase(last_stages=stages),)),
        "full": ("full fine-tuning", (Phase(),)),
        "gradual": ("gradual unfreezing", (Phase(last_layers=1, epochs=share), *unfreezing)),
        "lp_ft": ("linear probe, then fine-tuning", (SOLVED, Phase(rate=0.1))),
        "per_depth": ("fine-tuning, rates by depth", (Phase(layer_decay=0.5),)),
    }
    if name not in known:
        raise InputError(f"strategy: expected one of {', '.join(NAMES)}, received {name!r}; choose one of them")
    title, phases = known[name]
    return Strategy(name, title, tuple(replace(phase, batch_norm=phase.batch_norm or batch_norm) for phase in phases))


def weighted_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers that own weights, in the order of the model."""
    return [layer for layer in model.layers if layer.weights]


def last_dense(model: keras.Model) -> keras.layers.Dense:
    """The output layer, which a softmax may follow: the last dense layer, with a bias.

    Raises:
        InputError: the last layer with weights is another one.

    >>> last_dense(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Softmax()])).units
    3
    """
    last = weighted_layers(model)[-1]
    if not isinstance(last, keras.layers.Dense) or not last.use_bias:
        raise InputError(
            f"{model.name}: expected a dense last layer with a bias, received {type(last).__name__} {last.name}; "
            "train it by gradients, as in last_layer"
        )
    return last


def redraw_last(model: keras.Model) -> None:
    """Give the output layer new random weights and biases, drawn from Keras' global seed.

    Biases, which Keras begins with zeros, are drawn as PyTorch's `Linear` draws them.

    >>> redraw_last(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
    """
    last = last_dense(model)
    reach = last.input.shape[-1] ** -0.5
    drawn = keras.initializers.RandomUniform(-reach, reach)
    new = type(last).from_config({**last.get_config(), "bias_initializer": drawn})
    new.build(last.input.shape)
    last.set_weights(new.get_weights())


def copy_weights(source: keras.Model, target: keras.Model, new_layers: int = 1) -> None:
    """Give `target` the weights of `source` in all layers but the last `new_layers`, which stay as they are.

    Raises:
        InputError: the two networks differ before the new layers.
    """
    olds, news = weighted_layers(source), weighted_layers(target)
    if len(olds) != len(news):
        raise InputError(
            f"{target.name}: expected a network of {len(news)} layers with weights, received {source.name} with "
            f"{len(olds)}; re-use a network of the same architecture"
        )
    kept = len(news) - new_layers
    for old, new in zip(olds[:kept], news[:kept], strict=True):
        received = [weight.shape for weight in old.weights]
        expected = [weight.shape for weight in new.weights]
        if received != expected:
            raise InputError(
                f"{new.name}: expected weights of shapes {expected}, received {received} from {old.name}; "
                "re-use a network of the same architecture"
            )
        heads.copy_state(old, new)


def set_trainable(model: keras.Model, phase: Phase) -> None:
    """Let the last layers train, as `phase` says; freeze what stands before them.

    Layers without weights that follow the last frozen one keep their training behaviour: the Dropout in front of a
    new last layer still regularises that layer, while the Dropout between frozen layers rests.

    This is the one place that flips `trainable`. Keras reads the flags at compile time: `training.loop` compiles next.

    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    >>> set_trainable(model, Phase(last_layers=1))
    >>> len(model.trainable_weights), len(model.non_trainable_weights)
    (2, 2)
    """
    first = _first_trained(model, phase)
    for position, layer in enumerate(model.layers):
        layer.trainable = position >= first
        for leaf in _leaves(layer):
            if _is_batch_norm(leaf) and not phase.batch_norm:
                leaf.trainable = False


def _first_trained(model: keras.Model, phase: Phase) -> int:
    """The position of the first layer that trains."""
    if phase.last_stages is not None:
        stages = backbones.stages(model)
        _check_count("last_stages", phase.last_stages, len(stages), "stages")
        return model.layers.index(model.get_layer(stages[-phase.last_stages][0]))
    if phase.last_layers is None:
        return 0
    weighted = [layer for layer in weighted_layers(model) if not _is_batch_norm(layer)]
    _check_count("last_layers", phase.last_layers, len(weighted), "layers with weights")
    frozen = weighted[: len(weighted) - phase.last_layers]
    return model.layers.index(frozen[-1]) + 1 if frozen else 0


def rate_factors(model: keras.Model, decay: float) -> dict[str, float]:
    """A factor on the learning rate for the path of each weight: 1 for the last layer, `decay` per stage before it."""
    stages = backbones.stages(model)
    depth = {name: len(stages) - number for number, stage in enumerate(stages) for name in stage}
    return {
        weight.path: decay ** depth.get(layer.name, 0) for layer in model.layers for weight in layer.trainable_weights
    }


def _check_count(name: str, received: int, most: int, what: str) -> None:
    if not 0 < received <= most:
        raise InputError(
            f"{name}: expected 1 to {most} (the {what}), received {received}; "
            "give a number in that range, or None to train all"
        )


def count_parameters(model: keras.Model) -> tuple[int, int]:
    """The number of all parameters and of those that train."""
    count = [sum(int(np.prod(weight.shape)) for weight in w) for w in (model.weights, model.trainable_weights)]
    return count[0], count[1]


def frozen_digest(model: keras.Model) -> str:
    """SHA-256 of every weight in frozen layers, BatchNorm statistics included: equal as long as no byte changes."""
    digest = hashlib.sha256()
    for layer in _leaves(model):
        if not layer.trainable:
            for weight in layer.weights:
                digest.update(weight.numpy().tobytes())  # bfloat16 has no buffer
    return digest.hexdigest()


def _leaves(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layer itself, or the layers of a nested model."""
    return [leaf for inner in layer.layers for leaf in _leaves(inner)] if isinstance(layer, keras.Model) else [layer]


def _is_batch_norm(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization)
