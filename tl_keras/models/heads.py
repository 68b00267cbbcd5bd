"""Heads: the new output layer, the softmax behind it; and bodies made flat, without the head they came with."""

from __future__ import annotations

import numpy as np

from tl_keras.errors import InputError
from tl_keras.quiet import keras

# Names that are given here; a layer of the same name in a person's model is renamed.
OURS = ("images", "pooled", "logits", "probabilities")
# Of a copy's features, as a share of the largest: what rounding explains. State that was lost moves them by far more.
TOLERANCES = {"float16": 1e-2, "bfloat16": 5e-2}
TOLERANCE = 1e-3
COMPARED = 3  # random images
HALF = ("float16", "bfloat16")


def logits(features: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    """A new dense layer "logits": features (B, F) in, one number for each class (B, classes) out.

    >>> logits(keras.Input((8,)), classes=3).shape
    (None, 3)
    """
    # float32, so that a softmax under mixed precision does not round probabilities to 1.
    return keras.layers.Dense(classes, dtype="float32", name="logits")(features)


def with_softmax(model: keras.Model) -> keras.Model:
    """The same layers, and behind them a softmax "probabilities": class probabilities (B, classes) come out.

    Training either model trains both.

    >>> images = keras.Input((8,))
    >>> model = with_softmax(keras.Model(images, logits(images, classes=3)))
    >>> model.layers[-1].name, model.output_shape
    ('probabilities', (None, 3))
    """
    softmax = keras.layers.Softmax(dtype="float32", name="probabilities")
    return keras.Model(model.input, softmax(model.output), name=model.name)


def before_softmax(model: keras.Model) -> keras.Model | None:
    """The same layers up to what the softmax at the end reads, the logits (B, classes); None without such an end.

    >>> before_softmax(with_softmax(keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)]))).output_shape
    (None, 3)
    """
    last = keras.Model(model.inputs, model.outputs).operations[-1]
    if _is_softmax(last):
        return keras.Model(model.inputs, last.input, name=model.name)
    if isinstance(last, keras.layers.Dense) and last.activation is keras.activations.softmax:
        return keras.Model(model.inputs, linear(last)(last.input), name=model.name)
    return None


def linear(dense: keras.layers.Dense) -> keras.layers.Dense:
    """A dense layer with the same weights and no activation.

    >>> network = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, activation="softmax")])
    >>> linear(network.layers[0]).activation is keras.activations.linear
    True
    """
    config = dense.get_config() | {"activation": None, "name": f"{dense.name}_linear"}
    new = keras.layers.Dense.from_config(config)
    new.build((None, dense.kernel.shape[0]))
    copy_state(dense, new)
    return new


def mirrored(model: keras.Model) -> keras.Model:
    """What `model` gives, logits say, averaged over each image and its mirror image; it shares the layers of `model`.

    >>> inputs = keras.Input((8, 8, 3))
    >>> mirrored(keras.Model(inputs, logits(keras.layers.Flatten()(inputs), classes=2))).output_shape
    (None, 2)
    """
    images = keras.Input(model.input_shape[1:], name="images")
    both = [model(images), model(keras.ops.flip(images, axis=2))]
    return keras.Model(
        images, keras.layers.Average(dtype="float32", name="mirrored")(both), name=f"{model.name}_mirrored"
    )


def renewed(model: keras.Model) -> keras.Model:
    """The same layers with new random weights, drawn from Keras' global seed.

    Fitted preprocessing keeps its statistics: they say how the images are read, and no training would find them.

    >>> renewed(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])).count_params()
    10
    """
    new = keras.models.clone_model(model)
    for old, layer in zip(model.layers, new.layers, strict=True):
        if isinstance(old, keras.layers.Normalization):
            copy_state(old, layer)
    return new


def copy_state(source: keras.layers.Layer, target: keras.layers.Layer) -> None:
    """Give `target`, built like `source`, its weights, and what Keras computed of them.

    A fitted Normalization layer reads tensors that it made of its weights; assigning these leaves those as they were.

    >>> copy_state(trained.get_layer("normalization"), model.get_layer("normalization"))  # doctest: +SKIP
    """
    target.set_weights(source.get_weights())
    for part in target._flatten_layers():
        if isinstance(part, keras.layers.Normalization):
            part.finalize_state()


def input_shape(network: keras.Model, size: int | None = None) -> tuple[int, int, int]:
    """(height, width, channels) of the images that an image classifier reads.

    Args:
        network: functional or sequential; one input of RGB or grey images (B, H, W, 3 or 1).
        size: height and width, where the network leaves them open (then 224 by default).

    Raises:
        InputError: the network is none of this kind, or has another size.

    >>> input_shape(keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]))
    (8, 8, 1)
    """
    shape = tuple(network.inputs[0].shape) if _is_chain(network) else None
    if not shape or len(shape) != 4 or shape[-1] not in (1, 3):
        raise InputError(
            f"{network.name}: expected a functional or sequential model of one input (B, H, W, 3 or 1) and one output, "
            f"received {shape or type(network).__name__}; rebuild it with keras.Model(images, outputs)"
        )
    height, width = (side or size or 224 for side in shape[1:3])
    if size not in (None, height) or size not in (None, width):
        raise InputError(f"size: expected {height} x {width} as {network.name} has it, received {size}; leave it out")
    return height, width, shape[-1]


def cut(network: keras.Model, size: int | None = None) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """A flat copy of an image classifier without its head: its last dense layer and a softmax behind it.

    Args: as `input_shape`.

    Returns:
        The images' tensor (B, H, W, 3 or 1) and the features (B, F) that the dense layer read.

    Raises:
        InputError: as `input_shape`; it ends in something else; or the copy gives other features.

    >>> network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(10)])
    >>> cut(network)[1].shape
    (None, 192)
    """
    images = keras.Input(input_shape(network, size), name="images")
    outputs, originals = _flat(network, images)
    operations = keras.Model(images, outputs).operations
    while operations and _is_softmax(operations[-1]):
        operations.pop()
    last = operations[-1]
    if not isinstance(last, keras.layers.Dense) or len(last.input.shape) != 2:
        raise InputError(
            f"{network.name}: expected a classifier that ends in a dense layer (and a softmax), received one that "
            f"ends in {type(last).__name__} {last.name}; add a dense layer"
        )
    _check_copy(network, originals[id(last)], keras.Model(images, last.input))
    return images, last.input


def _check_copy(network: keras.Model, head: keras.layers.Layer, body: keras.Model) -> None:
    """Compare the features that `body`, the copy, gives with what `head` reads in the network itself."""
    images = np.random.default_rng(0).integers(0, 256, (COMPARED, *body.input_shape[1:])).astype("float32")
    read, call = [], head.call

    def reading(features, *args, **given):
        read.append(features)
        return call(features, *args, **given)

    head.call = reading  # type: ignore[method-assign]
    try:
        network(images, training=False)
    finally:
        del head.call
    expected, received = (np.asarray(found, "float32") for found in (read[-1], body(images, training=False)))
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=0)
    bound = TOLERANCES.get(body.output.dtype, TOLERANCE) * largest
    if not np.allclose(received, expected, rtol=0, atol=bound, equal_nan=True):
        raise InputError(
            f"{network.name}: expected layers whose copies give the features that they give, received others; leave "
            "out the layer that cannot be copied, because it is random or keeps state beside its weights"
        )


def flat(network: keras.Model, inputs: keras.KerasTensor) -> keras.KerasTensor:
    """The output of `network` on `inputs`, computed by copies of its layers that all stand at the top level.

    Copies, so that `layer.output` of each belongs to the new graph. They have the weights of the originals. Names
    that occur twice, as may be in nested networks, get a number. A nested network of several inputs or outputs stays.
    Weights in half precision become float32 ones, that training can move by less; what is computed stays as it is.

    >>> inputs = keras.Input((4,))
    >>> network = keras.Sequential([keras.Input((4,)), keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])])
    >>> len(keras.Model(inputs, flat(network, inputs)).layers)
    2
    """
    return _flat(network, inputs)[0]


def _flat(network: keras.Model, inputs: keras.KerasTensor) -> tuple[keras.KerasTensor, dict[int, keras.layers.Layer]]:
    """The output, and the original of each copy under the copy's id."""
    copies: dict[int, tuple] = {}
    taken = set(OURS)

    def copy(layer):
        if not isinstance(layer, keras.layers.Layer) or _is_chain(layer):
            return layer
        if id(layer) not in copies:
            config = layer.get_config()
            if layer.variable_dtype in HALF:
                config["dtype"] = f"mixed_{layer.variable_dtype}"
            name, number = layer.name, 1
            while name in taken:
                name, number = f"{layer.name}_{number}", number + 1
            taken.add(name)
            copies[id(layer)] = (layer, type(layer).from_config({**config, "name": name}))
        return copies[id(layer)][1]

    def walk(model, tensors):
        results = [tensors]

        def call(operation, *args, **kwargs):
            results.append(walk(operation, args[0]) if _is_chain(operation) else operation(*args, **kwargs))
            return results[-1]

        graph = keras.Model(model.inputs[0], model.outputs[0])
        keras.models.clone_model(graph, input_tensors=tensors, clone_function=copy, call_function=call)
        # Not the clone's output: on tensors in mid-graph Keras gives it inputs, and outputs, of its own. The last
        # operation called is the one that computes the only output.
        return results[-1]

    outputs = walk(network, inputs)
    for layer, new in copies.values():
        copy_state(layer, new)
    return outputs, {id(new): layer for layer, new in copies.values()}


def flat_vit(network: keras.Model, pixels: keras.KerasTensor) -> keras.KerasTensor:
    """The class token (B, D) that KerasHub's ViTBackbone computes of `pixels`, from Keras' own layers alone.

    They are the layers inside of KerasHub's, with their weights: its own ones cannot be read back from a .keras file
    (0.32), nor can their parts be frozen one by one. Its Dropout is left out; the rate is 0 in the published networks.
    """
    layers = keras.layers
    embedding, encoder = network.layers[1:]
    x = embedding.patch_embedding(pixels)
    x = layers.ZeroPadding1D((1, 0), name="class_token")(layers.Reshape((-1, x.shape[-1]), name="patches")(x))
    # Token and position are only ever added: the token moves into the first position, before which stood nothing.
    table = embedding.position_embedding.embeddings
    table.assign(keras.ops.concatenate([table[:1] + embedding.class_token[0], table[1:]]))
    positions = keras.ops.cumsum(keras.ops.ones_like(x[:, :, 0], dtype="int32"), axis=1) - 1
    x = layers.Add(name="embedded")([x, embedding.position_embedding(positions)])
    for number, block in enumerate(encoder.encoder_layers, start=1):
        for layer in (block.layer_norm_1, block.mha, block.layer_norm_2, block.mlp.dense_1, block.mlp.dense_2):
            layer.name = f"block{number}_{layer.name}"
        y = block.layer_norm_1(x)
        x = layers.Add(name=f"block{number}_attended")([x, block.mha(y, y)])
        y = block.mlp.dense_2(block.mlp.dense_1(block.layer_norm_2(x)))
        x = layers.Add(name=f"block{number}_out")([x, y])
    return encoder.layer_norm(x)[:, 0]


def _is_chain(operation) -> bool:
    """Whether it is a functional or sequential model of one input and one output, whose layers can stand alone."""
    return (
        isinstance(operation, keras.Model)
        and len(getattr(operation, "inputs", None) or ()) == len(getattr(operation, "outputs", None) or ()) == 1
    )


def _is_softmax(operation) -> bool:
    activation = getattr(operation, "activation", None)
    is_activation = isinstance(operation, keras.layers.Activation) and activation is keras.activations.softmax
    return is_activation or type(operation).__name__ == "Softmax"
