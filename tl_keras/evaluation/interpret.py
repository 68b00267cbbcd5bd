"""Where a network looked: Grad-CAM, the places of an image that spoke for a class.

Selvaraju et al., "Grad-CAM: Visual explanations from deep networks via gradient-based localization" (ICCV 2017). Each
channel of the last feature map is weighted by the mean gradient of the class's logit there, and the weighted channels
are added. Behind global average pooling and one linear layer that is the class activation map (CAM) of Zhou et al.,
"Learning deep features for discriminative localization" (CVPR 2016), divided by the number of places.

A map says what the class's logit rests on. It says neither that this is right nor how sure the network is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import matplotlib
import numpy as np
from PIL import Image

from tl_keras.errors import InputError
from tl_keras.models import heads
from tl_keras.quiet import keras, tf
from tl_keras.transfer import frozen
from tl_keras.transfer.frozen import Call

BATCH = 16  # images: their activations are kept until the gradients are known
COLOURS = "inferno"  # from dark to light in even steps: legible in grey, and with any kind of colour vision
SEEN_THROUGH = 0.75  # the most that heat covers of the image
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: how bright red, green and blue are


def grad_cam(model: keras.Model, images: np.ndarray, classes: int | Sequence[int] | None = None) -> np.ndarray:
    """Which places of each image spoke for a class: relu(sum over k of alpha_k A_k), at the feature map's resolution.

    A is the last map before pooling or flattening, zero padding left out; alpha_k the mean over its places of the
    gradient of the logit, before any softmax, with respect to channel k. Of transformers, A are the tokens that the
    last attention reads, without the class token, on their square grid: behind it the class token alone counts.

    Where several maps feed the head (branches whose pooled features are concatenated), the maps of all are added
    before the relu, resized bilinearly to the largest and divided so that each counts as it does in the logit: for
    a linear head on averages the result is the sum of the resized class activation maps over the largest's number of
    places, and its own sum, before the relu, is the logit without its bias.

    Args:
        model: functional or sequential, nested or flat, on images; it ends in logits, a softmax behind them or not.
        images: (N, H, W, C), from 0 to 255 as the model reads them.
        classes: number of the class that is asked about, one for all images or one each; None: the predicted class.

    Returns:
        float32 (N, h, w), at least 0; in units of the logit.

    Raises:
        InputError: other images than the model reads, a class that there is not, no map, tokens on no square grid.

    >>> grad_cam(backbones.build("mobilenet_0.25", classes=5), np.zeros((2, 224, 224, 3))).shape  # doctest: +SKIP
    (2, 7, 7)
    """
    _check_images(model, images)
    graph = _graph(model)
    wanted = None if classes is None else _checked(classes, len(images), graph.output_shape[0][-1])
    found = []
    for start in range(0, len(images), BATCH):
        rows = slice(start, start + BATCH)
        found.append(_of_batch(graph, images[rows], None if wanted is None else wanted[rows]))
    return np.concatenate(found)


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Heat on a grey copy of an image, dark violet where there is little, light yellow at its maximum.

    Grey, so that all colour is heat; cold places show the image as it is.

    Args:
        image: uint8 (H, W, 3).
        heat: (h, w), at least 0, resized bilinearly to (H, W); what is 0 everywhere colours nothing.

    Returns:
        uint8 (H, W, 3).

    Raises:
        InputError: another kind of image, or of heat.

    >>> overlay(np.full((4, 4, 3), 100, "uint8"), np.zeros((2, 2)))[0, 0].tolist()
    [100, 100, 100]
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"image: expected uint8 (H, W, 3), received {image.dtype} {image.shape}; convert it to RGB")
    if heat.ndim != 2 or not heat.size or not np.isfinite(heat).all():
        raise InputError(f"heat: expected finite numbers (h, w), received shape {heat.shape}; give one map of grad_cam")
    large = _resized(np.maximum(heat, 0), image.shape[:2])
    share = large / (large.max() or 1.0)
    grey = np.repeat((image @ np.array(LUMA))[..., None], 3, axis=2)
    paint = 255 * matplotlib.colormaps[COLOURS](share)[..., :3]
    cover = SEEN_THROUGH * np.sqrt(share)[..., None]
    return np.rint((1 - cover) * grey + cover * paint).astype("uint8")


def _check_images(model: keras.Model, images: np.ndarray) -> None:
    heads.input_shape(model)  # refuses what is no image classifier
    given, shape = tuple(np.shape(images)), tuple(model.inputs[0].shape[1:])
    fits = len(given) == 4 and all(side in (None, found) for side, found in zip(shape, given[1:], strict=True))
    if not fits or not given[0]:
        sides = ", ".join("any" if side is None else str(side) for side in shape)
        raise InputError(f"images: expected (N, {sides}) as {model.name} reads them, received {given}; resize them")


def _checked(classes: int | Sequence[int], count: int, known: int) -> np.ndarray:
    """The class of each image."""
    numbers = np.asarray(classes)
    whole = np.issubdtype(numbers.dtype, np.integer) and numbers.shape in ((), (count,))
    if not whole or numbers.min(initial=0) < 0 or numbers.max(initial=0) >= known:
        raise InputError(
            f"classes: expected numbers from 0 to {known - 1}, one or {count}, received {classes!r}; give others"
        )
    return np.broadcast_to(numbers, (count,))


def _of_batch(graph: keras.Model, images: np.ndarray, classes: np.ndarray | None) -> np.ndarray:
    pixels = tf.convert_to_tensor(np.asarray(images, "float32"))
    with tf.GradientTape() as tape:
        tape.watch(pixels)  # of a frozen network nothing else is
        logits, *maps = graph(pixels, training=False)
        wanted = np.argmax(logits, axis=1) if classes is None else classes
        score = tf.reduce_sum(tf.gather(logits, wanted, batch_dims=1))
    gradients = tape.gradient(score, maps, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    weighted = [_weighted(*map(_grid, pair)) for pair in zip(maps, gradients, strict=True)]
    places = [part[0].size for part in weighted]
    largest = weighted[places.index(max(places))]
    return np.maximum(sum(_spread(part, largest) for part in weighted), 0).astype("float32")


def _weighted(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    return np.einsum("nhwk,nk->nhw", features, gradients.mean(axis=(1, 2)))


def _spread(part: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Maps (N, h, w) on the grid of the largest, with the same sum: a logit's share does not grow by being resized."""
    if part.shape == largest.shape:
        return part
    resized = np.stack([_resized(each, largest.shape[1:]) for each in part])
    return resized * (part[0].size / largest[0].size)


def _resized(heat: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    height, width = size
    return np.asarray(Image.fromarray(heat.astype("float32")).resize((width, height), Image.Resampling.BILINEAR))


def _grid(tensor: tf.Tensor) -> np.ndarray:
    """A map (N, h, w, K), float32; of tokens (N, T, K) those of the image on their grid."""
    values = np.asarray(keras.ops.convert_to_numpy(tensor), "float32")
    if values.ndim == 4:
        return values
    tokens = values.shape[1]
    side = math.isqrt(tokens)
    if tokens - side**2 > 1:
        raise InputError(
            f"model: expected tokens on a square grid, with a class token before them or without, received {tokens}; "
            "give a network that sees square images"
        )
    return values[:, tokens - side**2 :].reshape(len(values), side, side, -1)


def _graph(model: keras.Model) -> keras.Model:
    """The model from its images to [logits, the maps that its head reads]; it shares the layers of a flat model."""
    if any(isinstance(layer, keras.Model) for layer in model.layers):
        inputs = keras.Input(model.inputs[0].shape[1:])
        model = keras.Model(inputs, heads.flat(model, inputs), name=model.name)
    inputs, called = frozen.calls(model)
    maker = {id(tensor): call for call in called for tensor in keras.tree.flatten(call.output)}
    maps = {id(tensor): tensor for tensor in (_kept(read, maker) for read in _read_by_head(called))}
    learned = [tensor for tensor in maps.values() if any(_learns(call) for call in _before(tensor, maker))]
    if not learned:
        raise InputError(
            f"{model.name}: expected a network with layers that see places, convolutions or attention, before its "
            "head, received none; Grad-CAM has nothing to show of it"
        )
    return keras.Model(inputs, [_logits(called, maker), *learned])


def _logits(called: Sequence[Call], maker: dict[int, Call]) -> keras.KerasTensor:
    """What the model ends in, before a softmax layer or the activation of the last dense layer."""
    last = called[-1]
    while _is_softmax(last.operation):
        last = maker[id(last.read[0])]
    dense = last.operation
    if not isinstance(dense, keras.layers.Dense) or dense.activation is keras.activations.linear:
        return last.output
    linear = keras.layers.Dense.from_config(dense.get_config() | {"activation": None, "name": f"{dense.name}_linear"})
    logits = linear(last.read[0])
    heads.copy_state(dense, linear)
    return logits


def _is_softmax(operation: keras.Operation) -> bool:
    by_name = isinstance(operation, keras.layers.Activation) and operation.activation is keras.activations.softmax
    return by_name or type(operation).__name__ == "Softmax"


def _read_by_head(called: Sequence[Call]) -> Iterable[keras.KerasTensor]:
    """Tensors with places that are read by what has none, nor comes to have any: global pooling, flattening.

    Squeeze-and-excitation pools too, but what it gives goes back into a map.
    """
    leads = dict[int, bool]()  # whether something with places is computed of a tensor
    for call in reversed(called):
        outputs = keras.tree.flatten(call.output)
        back = any(_has_places(tensor) or leads.get(id(tensor), False) for tensor in outputs)
        for tensor in call.read:
            leads[id(tensor)] = leads.get(id(tensor), False) or back
            if not back and _has_places(tensor):
                yield tensor


def _has_places(tensor: keras.KerasTensor) -> bool:
    """Whether it is a map (B, h, w, K) or tokens (B, T, K), and not of one place alone."""
    return len(tensor.shape) in (3, 4) and any(side != 1 for side in tensor.shape[1:-1])


def _kept(tensor: keras.KerasTensor, maker: dict[int, Call]) -> keras.KerasTensor:
    """What is looked at in place of `tensor`: a map before zeros were put around it, tokens before attention."""
    while id(tensor) in maker and isinstance(maker[id(tensor)].operation, keras.layers.ZeroPadding2D):
        tensor = maker[id(tensor)].read[0]
    if len(tensor.shape) == 3:
        for call in _before(tensor, maker):
            if isinstance(call.operation, keras.layers.MultiHeadAttention):
                return call.read[1] if call.read[1:] else call.read[0]  # the values: a query may be one token
    return tensor


def _before(tensor: keras.KerasTensor, maker: dict[int, Call]) -> Iterable[Call]:
    """The calls that `tensor` is computed by, nearer ones first."""
    seen, waiting = set[int](), [tensor]
    while waiting:
        call = maker.get(id(waiting.pop(0)))
        if call is not None and id(call) not in seen:
            seen.add(id(call))
            waiting += call.read
            yield call


def _learns(call: Call) -> bool:
    return bool(getattr(call.operation, "weights", ())) and not isinstance(call.operation, keras.layers.Normalization)
