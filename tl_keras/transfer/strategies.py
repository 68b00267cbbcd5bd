"""Which layers of a network are re-used, and which of them train.

One strategy is a number of trained layers: `None` trains all of them (from scratch), 1 trains only the last layer
with weights, 2 the last two. Yosinski et al., "How transferable are features in deep neural networks?" (2014).
"""

from __future__ import annotations

import hashlib

import keras
import numpy as np

from tl_keras.errors import InputError


def weighted_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers that own weights, in the order of the model."""
    return [layer for layer in model.layers if layer.weights]


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
        new.set_weights(old.get_weights())


def set_trainable(model: keras.Model, last_layers: int | None = None) -> None:
    """Let the last `last_layers` layers with weights train, or all of them (None); freeze what stands before.

    Layers without weights that follow the last frozen one keep their training behaviour: the Dropout in front of a
    new last layer still regularises that layer, while the Dropout between frozen layers rests.

    This is the one place that flips `trainable`. Keras reads the flags at compile time, so compile afterwards.

    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    >>> set_trainable(model, last_layers=1)
    >>> len(model.trainable_weights), len(model.non_trainable_weights)
    (2, 2)
    """
    weighted = weighted_layers(model)
    if last_layers is not None and not 0 < last_layers <= len(weighted):
        raise InputError(
            f"last_layers: expected 1 to {len(weighted)} (the layers with weights), received {last_layers}; "
            "give a number in that range, or None to train all"
        )
    frozen = weighted[: len(weighted) - last_layers] if last_layers else []
    boundary = model.layers.index(frozen[-1]) if frozen else -1
    for position, layer in enumerate(model.layers):
        layer.trainable = position > boundary


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
                digest.update(np.ascontiguousarray(weight.numpy()))
    return digest.hexdigest()


def _leaves(model: keras.Model) -> list[keras.layers.Layer]:
    return [leaf for layer in model.layers for leaf in (_leaves(layer) if isinstance(layer, keras.Model) else [layer])]
