"""Where training begins: cut a network into the frozen prefix, paid for once, and the suffix that trains."""

from __future__ import annotations

from typing import Any, NamedTuple

from tl_keras.quiet import keras


def split_frozen(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Cut a functional model into the frozen prefix and the suffix that trains.

    A layer is in the prefix when training cannot change what it does and all its inputs come from the prefix. It
    cannot change when it is frozen (`trainable=False`: it then runs in inference mode, its BatchNorm and Dropout
    inert), or when it has neither weights nor random state. A nested model that is frozen in part is cut inside.

    Returns:
        (prefix, suffix) on the very layer objects of `model`, so that training the suffix trains the model;
        `suffix(prefix(x))` equals `model(x)` in inference mode.

    Raises:
        ValueError: no weight of `model` trains, or it is no functional model.

    >>> inputs = keras.Input((8,))
    >>> model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(4, trainable=False)(inputs)))
    >>> prefix, suffix = split_frozen(model)
    >>> prefix.output_shape, len(suffix.trainable_weights)
    ((None, 4), 2)
    """
    if not model.trainable_weights:
        raise ValueError(
            f"split_frozen: expected a model that trains, received {model.name} with no trainable "
            "weight; set `trainable` on a layer"
        )
    inputs = _inputs(model)
    frozen = {id(tensor) for tensor in keras.tree.flatten(inputs)}
    frontier: dict[int, keras.KerasTensor] = {}

    def visit(operation, *args, **kwargs):
        tensors = _tensors(args, kwargs)
        if all(id(tensor) in frozen for tensor in tensors) and cannot_change(operation):
            outputs = operation(*args, **kwargs)
            frozen.update(id(tensor) for tensor in keras.tree.flatten(outputs))
            return outputs
        if _is_functional(operation):
            return _walk(operation, args[0], visit)
        frontier.update({id(tensor): tensor for tensor in tensors if id(tensor) in frozen})
        return operation(*args, **kwargs)

    outputs = _walk(model, inputs, visit)
    frontier.update({id(t): t for t in keras.tree.flatten(outputs) if id(t) in frozen})
    tensors = list(frontier.values())
    boundary = tensors[0] if len(tensors) == 1 else tensors
    prefix = keras.Model(inputs, boundary, name=f"{model.name}_prefix")
    return prefix, keras.Model(boundary, outputs, name=f"{model.name}_suffix")


def before(model: keras.Model, layer: keras.layers.Layer) -> keras.Model:
    """What `layer`, at the top level of a functional model, reads: the model from the images to there.

    >>> inputs = keras.Input((8,))
    >>> head = keras.layers.Dense(2)
    >>> before(keras.Model(inputs, head(keras.layers.Dense(4)(inputs))), head).output_shape
    (None, 4)
    """
    inputs, called = calls(model)
    return keras.Model(inputs, next(call.read[0] for call in called if call.operation is layer))


class Call(NamedTuple):
    """An operation in a graph, the tensors that it reads, and what it gives."""

    operation: keras.Operation
    read: list[keras.KerasTensor]
    output: Any


def calls(model: keras.Model) -> tuple[Any, list[Call]]:
    """New inputs for a functional model, and its operations called on them, each behind those that it reads from.

    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), keras.layers.ReLU()])
    >>> [call.operation.name for call in calls(model)[1]]
    ['dense', 're_lu']
    """
    inputs, called = _inputs(model), list[Call]()

    def visit(operation, *args, **kwargs):
        called.append(Call(operation, _tensors(args, kwargs), operation(*args, **kwargs)))
        return called[-1].output

    _walk(model, inputs, visit)
    return inputs, called


def cannot_change(operation: keras.Operation) -> bool:
    """Whether training leaves what `operation` computes as it is: frozen, or without weights and randomness."""
    if not isinstance(operation, keras.layers.Layer):
        return True
    if _is_functional(operation):
        return all(cannot_change(layer) for layer in operation.layers)
    # `variables` holds the state of random generators too, `weights` does not. Normalization only ever changes
    # in `adapt`.
    return not operation.trainable or not operation.variables or isinstance(operation, keras.layers.Normalization)


def _inputs(model: keras.Model):
    """New inputs like those of `model`: what is built on them has a graph of its own."""
    return keras.tree.map_structure(
        lambda tensor: keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name), _graph(model).input
    )


def _tensors(args, kwargs) -> list[keras.KerasTensor]:
    return [tensor for tensor in keras.tree.flatten((args, kwargs)) if isinstance(tensor, keras.KerasTensor)]


def _is_functional(operation: keras.Operation) -> bool:
    return isinstance(operation, keras.Model) and hasattr(operation, "inputs")


def _graph(model: keras.Model) -> keras.Model:
    """An uncompiled functional view of the layers of `model`: cloning it walks the graph and does no more."""
    if not _is_functional(model):
        raise ValueError(
            f"split_frozen: expected a functional or sequential model, received {model!r}; build it "
            "with keras.Model(inputs, outputs)"
        )
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0])
    return keras.Model(model.input, model.output)


def _walk(model: keras.Model, inputs, visit):
    """Call every operation of `model` anew, on `inputs`, through `visit`; return the new outputs."""
    results = []

    def call(operation, *args, **kwargs):
        results.append(visit(operation, *args, **kwargs))
        return results[-1]

    clone = keras.models.clone_model(
        _graph(model), input_tensors=inputs, clone_function=lambda layer: layer, call_function=call
    )
    # On tensors in mid-graph Keras gives the clone inputs, and with them outputs, of its own. The operation called
    # last is the one that computes an only output.
    return results[-1] if len(clone.outputs) == 1 else clone.output
