"""A network step by step: each operation with what it reads and gives, those of nested networks too.

For who looks into a network while it computes. Nothing is copied, and a network that is called twice is there twice.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tl_keras.quiet import keras, tf


class Step(NamedTuple):
    """An operation in a network: called with `given`, arguments and named ones, it reads tensors and gives `output`."""

    operation: keras.Operation
    given: tuple[tuple, dict[str, Any]]
    read: list[keras.KerasTensor]
    output: Any


def of(network: keras.Model, images: keras.KerasTensor) -> tuple[list[Step], keras.KerasTensor]:
    """What a network of one input and one output does of `images`, each step behind those it reads from; its output.

    Networks of this kind that are nested in it are there step by step. They are not made one flat model: Keras takes no
    name twice in one, and networks that vote may have the same names inside.

    >>> images = keras.Input((8,))
    >>> network = keras.Sequential([keras.Input((8,)), keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])])
    >>> [type(step.operation).__name__ for step in of(network, images)[0]]
    ['Dense']
    """
    own = keras.Input(batch_shape=network.inputs[0].shape, dtype=network.inputs[0].dtype)
    stands, found, outputs = {id(own): images}, list[Step](), [own]

    def call(operation, *args, **named):
        outputs.append(operation(*args, **named))
        given = keras.tree.map_structure(lambda each: stands.get(id(each), each), (args, named))
        read = [each for each in keras.tree.flatten(given) if isinstance(each, keras.KerasTensor)]
        if _is_chain(operation):
            inner, stands[id(keras.tree.flatten(outputs[-1])[0])] = of(operation, read[0])
            found.extend(inner)
        else:
            found.append(Step(operation, given, read, outputs[-1]))
        return outputs[-1]

    graph = keras.Model(network.inputs[0], network.outputs[0])
    keras.models.clone_model(graph, input_tensors=own, clone_function=lambda layer: layer, call_function=call)
    end = keras.tree.flatten(outputs[-1])[0]
    return found, stands.get(id(end), end)


def called(step: Step, values: dict[int, tf.Tensor]):
    """What the operation gives, in inference, of the values under the ids of the tensors that it reads."""
    args, named = keras.tree.map_structure(lambda each: values.get(id(each), each), step.given)
    layer = isinstance(step.operation, keras.layers.Layer)
    if layer and "training" in inspect.signature(step.operation.call).parameters:
        named = named | {"training": False}
    return step.operation(*args, **named)


def worked_out(tensor: keras.KerasTensor, values: dict[int, tf.Tensor], maker: dict[int, Step]) -> tf.Tensor:
    """The value of `tensor`, from those under the ids of tensors that it is computed of.

    Args:
        maker: the step that gives a tensor, under its id.
    """
    if id(tensor) in values:
        return values[id(tensor)]
    step = maker[id(tensor)]
    return called(step, {id(read): worked_out(read, values, maker) for read in step.read})


def before(tensor: keras.KerasTensor, maker: dict[int, Step]) -> Iterable[Step]:
    """The steps that `tensor` is computed by, nearer ones first."""
    seen, waiting = set[int](), [tensor]
    while waiting:
        step = maker.get(id(waiting.pop(0)))
        if step is not None and id(step) not in seen:
            seen.add(id(step))
            waiting += step.read
            yield step


def flipped(steps: Sequence[Step]) -> dict[int, frozenset[int]]:
    """Of tensors that are mirror images of what they would be, the axes: 1 of height, 2 of width. Others have none.

    What was flipped twice is as it was. Seen are the flips of `keras.ops.flip`, of images and maps (B, H, W, C).
    """
    found = dict[int, frozenset[int]]()
    for step in steps:
        # Of several tensors that an operation reads, all that have places must lie the same way.
        axes = found.get(id(step.read[0]), frozenset()) if step.read else frozenset()
        if type(step.operation).__name__ == "Flip" and len(step.output.shape) == 4:
            axis = getattr(step.operation, "axis", None)
            axes ^= {1, 2} & {number % 4 for number in (range(4) if axis is None else np.ravel(axis).tolist())}
        found |= {id(tensor): axes for tensor in keras.tree.flatten(step.output)} if axes else {}
    return found


def is_softmax(operation: keras.Operation) -> bool:
    """Whether it is a softmax layer, by itself or as an activation."""
    by_name = isinstance(operation, keras.layers.Activation) and operation.activation is keras.activations.softmax
    return by_name or type(operation).__name__ == "Softmax"


def summed_softmaxes(tensor: keras.KerasTensor, maker: dict[int, Step]) -> list[keras.KerasTensor]:
    """The softmaxes that `tensor` is a weighted sum of, itself where it is one; none where it is something else."""
    step = maker.get(id(tensor))
    if step is None:
        return []
    if is_softmax(step.operation) or getattr(step.operation, "activation", None) is keras.activations.softmax:
        return [tensor]
    sums = ("Add", "Average") if len(step.read) > 1 else ("Multiply",)
    parts = [summed_softmaxes(read, maker) for read in step.read] if type(step.operation).__name__ in sums else []
    return [each for part in parts for each in part] if all(parts) else []


def _is_chain(operation: keras.Operation) -> bool:
    ends = (getattr(operation, name, None) or () for name in ("inputs", "outputs"))
    return isinstance(operation, keras.Model) and [len(end) for end in ends] == [1, 1]
