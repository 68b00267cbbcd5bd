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
from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image

from tl_keras.errors import InputError
from tl_keras.models import heads, steps
from tl_keras.models.steps import Step
from tl_keras.quiet import keras, tf

BATCH = 16  # images
COLOURS = "inferno"  # from dark to light in even steps: legible in grey, and with any kind of colour vision
SEEN_THROUGH = 0.75  # the most that heat covers of the image
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: how bright red, green and blue are


class Shown(NamedTuple):
    """A map that is shown: the head reads `read`, which comes from `kept`, along `flipped` axes a mirror image."""

    read: keras.KerasTensor
    kept: keras.KerasTensor
    flipped: frozenset[int]


def grad_cam(model: keras.Model, images: np.ndarray, classes: int | Sequence[int] | None = None) -> np.ndarray:
    """Which places of each image spoke for a class: relu(sum over k of alpha_k A_k), at the feature map's resolution.

    A is the last map before pooling or flattening, zero padding left out; alpha_k the mean over its places of the
    gradient of the logit, before any softmax, with respect to channel k. Of transformers, A are the tokens that the
    last attention reads, without the class token, on their square grid: behind it the class token alone counts.

    Where several maps feed the head (branches or stages whose pooled features are concatenated), the maps of all are
    added before the relu, each for what the head reads of it and not for what later maps make of it, resized
    bilinearly to the largest and divided so that each counts as it does in the logit: for a linear head on averages the
    result is the sum of the resized class activation maps over the largest's number of places, and its own sum, before
    the relu, is the logit without its bias. A network that is called twice has a map of each call, and the map of what
    was computed from a flipped image (`keras.ops.flip`) is flipped back.

    A weighted sum of several softmaxes, a vote, has no logit: there it is the logarithm of the probability, whose
    gradient weights a member as it weighs in the vote for this class. It asks what spoke for the class and against the
    others, the logit what spoke for the class.

    Args:
        model: functional or sequential, nested or flat, on images; it ends in logits, a softmax behind them or not, or
            in a weighted sum of softmaxes.
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
    network = GradCam(model)
    wanted = None if classes is None else _checked(classes, len(images), network.output.shape[-1])
    found = []
    for start in range(0, len(images), BATCH):
        rows = slice(start, start + BATCH)
        found.append(network(tf.constant(images[rows]), None if wanted is None else tf.constant(wanted[rows])).numpy())
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


class GradCam:
    """`grad_cam` of one network as TensorFlow operations: a graph that is saved can hold it.

    Called with images (B, H, W, C) and classes (B,), or None for the predicted ones, it gives maps (B, h, w). It goes
    step by step, so that what the head reads of a map is told from what later layers make of it. InputError: no map.

    >>> GradCam(model)(tf.zeros((2, 224, 224, 3)), tf.constant([0, 0])).shape  # doctest: +SKIP
    TensorShape([2, 7, 7])
    """

    def __init__(self, model: keras.Model):
        self.input = keras.Input(model.inputs[0].shape[1:], dtype=model.inputs[0].dtype)
        self.steps, self.output = steps.of(model, self.input)
        self.maker = {id(tensor): step for step in self.steps for tensor in keras.tree.flatten(step.output)}
        self.head = dict(_head(self.steps))
        read = {id(tensor): tensor for tensors in self.head.values() for tensor in tensors}
        flipped = steps.flipped(self.steps)
        self.shown = [
            Shown(tensor, kept, flipped.get(id(kept), frozenset()))
            for tensor, kept in ((tensor, _kept(tensor, self.maker)) for tensor in read.values())
            if any(_learns(step) for step in steps.before(kept, self.maker))
        ]
        if not self.shown:
            raise InputError(
                f"{model.name}: expected a network with layers that see places, convolutions or attention, before its "
                "head, received none; Grad-CAM has nothing to show of it"
            )
        voters = steps.summed_softmaxes(self.output, self.maker)
        self.voters = voters if voters and voters[0] is not self.output else []
        self.logits = [self._logits(tensor) for tensor in self.voters or [self.output]]

    def _logits(self, tensor: keras.KerasTensor) -> keras.KerasTensor:
        """What `tensor` is computed of, before softmax layers and the activation of the last dense layer."""
        step = self.maker[id(tensor)]
        if not isinstance(step.operation, keras.layers.Dense):
            return self._logits(step.read[0]) if steps.is_softmax(step.operation) else tensor
        if step.operation.activation is keras.activations.linear:
            return tensor
        linear = heads.linear(step.operation)
        self.steps.append(step._replace(operation=linear, output=linear(step.read[0])))
        return self.steps[-1].output

    def __call__(self, images: tf.Tensor, classes: tf.Tensor | None = None) -> tf.Tensor:
        """The maps of some images, added."""
        # Recorded is what comes of a watched tensor: of pooled maps the head alone, no layer that sees places.
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            values, copies = self._run(tf.cast(images, self.input.dtype), tape)
            score = tf.reduce_sum(self._scores([tf.cast(values[id(each)], "float32") for each in self.logits], classes))
        parts, reads = [], [copies[id(shown.read)] for shown in self.shown]
        gradients = tape.gradient(score, reads, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        for (read, kept, axes), gradient in zip(self.shown, gradients, strict=True):
            if kept is not read:
                gradient = tape.gradient(values[id(read)], values[id(kept)], gradient)
            parts.append(tf.reverse(_weighted(_grid(values[id(kept)]), _grid(gradient)), sorted(axes)))
        largest = max((tuple(part.shape[1:]) for part in parts), key=math.prod)
        return tf.nn.relu(tf.add_n([_spread(part, largest) for part in parts]))

    def _run(self, pixels: tf.Tensor, tape: tf.GradientTape) -> tuple[dict[int, tf.Tensor], dict[int, tf.Tensor]]:
        """The values of the logits and of what is shown, and the copies of it that the head reads."""
        last = {id(tensor): number for number, step in enumerate(self.steps) for tensor in step.read}
        for tensor in [*self.logits, *(each for shown in self.shown for each in shown[:2])]:
            last[id(tensor)] = len(self.steps)
        copied = {id(shown.read) for shown in self.shown}
        watched = {id(shown.kept) for shown in self.shown if shown.kept is not shown.read}
        values, copies = {id(self.input): pixels}, dict[int, tf.Tensor]()
        for number, step in enumerate(self.steps):
            outputs = steps.called(step, values | copies if number in self.head else values)
            for tensor, value in zip(*map(keras.tree.flatten, (step.output, outputs)), strict=True):
                values[id(tensor)] = value
                if id(tensor) in watched:
                    tape.watch(value)
                if id(tensor) in copied:
                    tape.watch(copies.setdefault(id(tensor), tf.identity(value)))
            for tensor in step.read:
                if last[id(tensor)] == number:
                    values.pop(id(tensor), None)
        return values, copies

    def _scores(self, logits: list[tf.Tensor], classes: tf.Tensor | None) -> tf.Tensor:
        """What is asked about, of each image: the logit of the class, or of a vote the logarithm of its probability."""
        if not self.voters:
            return tf.gather(logits[0], tf.argmax(logits[0], axis=1) if classes is None else classes, batch_dims=1)
        asked = tf.argmax(self._vote([tf.nn.softmax(each) for each in logits]), axis=1) if classes is None else classes
        column = tf.one_hot(asked, logits[0].shape[1])
        chances = [_log_chance(each, column) for each in logits]
        # Of very unlikely classes no probability is left in 32 bits: their ratios are enough.
        most = tf.stop_gradient(tf.reduce_max(tf.stack(chances), axis=0))
        return tf.math.log(tf.reduce_sum(self._vote([column * tf.exp(each - most) for each in chances]), axis=1))

    def _vote(self, chances: list[tf.Tensor]) -> tf.Tensor:
        known = {id(voter): each for voter, each in zip(self.voters, chances, strict=True)}
        return steps.worked_out(self.output, known, self.maker)


def _log_chance(logits: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
    """The logarithm of a class's softmax (N, 1); its gradient is no 0 where the probability is rounded to 1."""
    own = tf.reduce_sum(column * logits, axis=1, keepdims=True)
    return -tf.math.softplus(tf.reduce_logsumexp(logits - 1e9 * column, axis=1, keepdims=True) - own)


def _weighted(features: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    return tf.einsum("nhwk,nk->nhw", features, tf.reduce_mean(gradients, axis=(1, 2)))


def _spread(part: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Maps (N, h, w) on the grid of the largest, with the same sum: a logit's share does not grow by being resized."""
    own = tuple(part.shape[1:])
    if own == size:
        return part
    resized = tf.image.resize(part[..., None], size, antialias=True)[..., 0]
    return resized * (math.prod(own) / math.prod(size))


def _resized(heat: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    height, width = size
    return np.asarray(Image.fromarray(heat.astype("float32")).resize((width, height), Image.Resampling.BILINEAR))


def _grid(tensor: tf.Tensor) -> tf.Tensor:
    """A map (N, h, w, K), float32; of tokens (N, T, K) those of the image on their grid."""
    values = tf.cast(tensor, "float32")
    if len(values.shape) == 4:
        return values
    tokens = values.shape[1]
    side = math.isqrt(tokens)
    if tokens - side**2 > 1:
        raise InputError(
            f"model: expected tokens on a square grid, with a class token before them or without, received {tokens}; "
            "give a network that sees square images"
        )
    return tf.reshape(values[:, tokens - side**2 :], (-1, side, side, values.shape[2]))


def _head(called: Sequence[Step]) -> Iterable[tuple[int, list[keras.KerasTensor]]]:
    """The numbers of steps that read places but give none, nor does one behind them (pooling, flattening), and what
    they read.

    Squeeze-and-excitation pools too, but what it gives goes back into a map.
    """
    leads = dict[int, bool]()  # whether something with places is computed of a tensor
    for number, step in reversed(list(enumerate(called))):
        outputs = keras.tree.flatten(step.output)
        back = any(_has_places(tensor) or leads.get(id(tensor), False) for tensor in outputs)
        leads |= {id(tensor): leads.get(id(tensor), False) or back for tensor in step.read}
        if not back:
            yield number, [tensor for tensor in step.read if _has_places(tensor)]


def _has_places(tensor: keras.KerasTensor) -> bool:
    """Whether it is a map (B, h, w, K) or tokens (B, T, K), and not of one place alone."""
    return len(tensor.shape) in (3, 4) and any(side != 1 for side in tensor.shape[1:-1])


def _kept(tensor: keras.KerasTensor, maker: dict[int, Step]) -> keras.KerasTensor:
    """What is looked at in place of `tensor`: a map before zeros were put around it, tokens before attention."""
    while id(tensor) in maker and isinstance(maker[id(tensor)].operation, keras.layers.ZeroPadding2D):
        tensor = maker[id(tensor)].read[0]
    if len(tensor.shape) == 3:
        for step in steps.before(tensor, maker):
            if isinstance(step.operation, keras.layers.MultiHeadAttention):
                return step.read[1] if step.read[1:] else step.read[0]  # the values: a query may be one token
    return tensor


def _learns(step: Step) -> bool:
    return bool(getattr(step.operation, "weights", ())) and not isinstance(step.operation, keras.layers.Normalization)
