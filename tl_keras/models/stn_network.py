"""The network of PyTorch's tutorial on spatial transformers, for MNIST, with the transformer and without it.

Ghassen Hamrouni, "Spatial Transformer Networks Tutorial", pytorch.org, after Jaderberg et al., "Spatial Transformer
Networks" (2015).
"""

from __future__ import annotations

import numpy as np

from tl_keras.errors import InputError
from tl_keras.models import stn
from tl_keras.quiet import keras

# Of MNIST's pixels, from 0 to 1. Images of other sets are scaled with them too.
MEAN, DEVIATION = 0.1307, 0.3081
SMALLEST = 18  # below, the localization's second pooling has nothing left
BATCH = 500


def build(input_shape: tuple[int, int, int], classes: int, transformer: bool = True) -> keras.Model:
    """The network, untrained: images (B, H, W, 1 or 3) from 0 to 255 in, class probabilities (B, classes) out.

    It reads one channel, as the tutorial's does: the mean of three, which of a grey image are the same.

    Args:
        input_shape: (H, W, 1 or 3), 18 at least in height and width: convolutions do not pad. Scale smaller images up;
            28 is what it was made for.
        transformer: without it the classifier reads the images as they are.

    Raises:
        InputError: smaller images, or other channels.

    >>> build((28, 28, 3), classes=10).output_shape
    (None, 10)
    """
    if len(input_shape) != 3 or min(input_shape[:2]) < SMALLEST or input_shape[2] not in (1, 3):
        raise InputError(
            f"input_shape: expected (height, width, 1 or 3) of {SMALLEST} at least, received {tuple(input_shape)}; "
            "scale the images, for example to 28 x 28"
        )
    images = keras.Input(input_shape, name="images")
    x = images if input_shape[2] == 1 else keras.ops.mean(images, axis=-1, keepdims=True)
    scale = 1 / (255 * DEVIATION)
    x = keras.layers.Rescaling(scale, offset=-MEAN / DEVIATION, dtype="float32", name="rescale")(x)
    if transformer:
        x = stn.SpatialTransformer(_localization(x.shape[1:]), name="transformer")(x)
    # The tutorial drops whole channels before it pools, and applies ReLU after: the same numbers, at a quarter of
    # the work each.
    x = _conv(10, 5, x.shape[-1], "conv1")(x)
    x = keras.layers.ReLU(name="relu1")(keras.layers.MaxPooling2D(name="pool1")(x))
    x = _conv(20, 5, 10, "conv2")(x)
    x = keras.layers.ReLU(name="relu2")(keras.layers.MaxPooling2D(name="pool2")(x))
    x = keras.layers.SpatialDropout2D(0.5, name="dropout2")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(50, activation="relu", name="dense1", **_start(x.shape[-1]))(x)
    x = keras.layers.Dropout(0.5, name="dropout_dense")(x)
    # float32, so that a softmax under mixed precision does not round probabilities to 1.
    probabilities = keras.layers.Dense(classes, activation="softmax", dtype="float32", name="dense2", **_start(50))(x)
    return keras.Model(images, probabilities, name="stn" if transformer else "stn_classifier")


def _localization(shape: tuple[int, int, int]) -> keras.Model:
    """What the transformer looks for in the image; it turns these 32 numbers into theta itself."""
    images = keras.Input(shape)
    x = _conv(8, 7, shape[-1], "conv1")(images)
    x = keras.layers.ReLU(name="relu1")(keras.layers.MaxPooling2D(name="pool1")(x))
    x = _conv(10, 5, 8, "conv2")(x)
    x = keras.layers.ReLU(name="relu2")(keras.layers.MaxPooling2D(name="pool2")(x))
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(32, activation="relu", name="dense1", **_start(x.shape[-1]))(x)
    return keras.Model(images, x, name="localization")


def _conv(filters: int, side: int, channels: int, name: str) -> keras.layers.Conv2D:
    return keras.layers.Conv2D(filters, side, name=name, **_start(side * side * channels))


def _start(fan_in: int) -> dict[str, keras.initializers.Initializer]:
    """PyTorch's initial weights and biases, uniform within 1 / sqrt(fan_in).

    Keras' own are larger. In the tutorial's training, on 50,000 images, one run with them ended at an accuracy of 0.67
    on the images held out, after 0.98 an epoch before; one with these ended at 0.976.
    """
    limit = fan_in**-0.5
    return {
        name: keras.initializers.RandomUniform(-limit, limit) for name in ("kernel_initializer", "bias_initializer")
    }


def thetas(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """The affine maps (N, 2, 3) that the transformer of `model` takes for images (N, H, W, C) from 0 to 255.

    Raises:
        InputError: the model has no transformer.

    >>> thetas(build((28, 28, 1), classes=10), np.zeros((1, 28, 28, 1))).tolist()
    [[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]
    """
    found = [layer for layer in model.layers if isinstance(layer, stn.SpatialTransformer)]
    if len(found) != 1:
        raise InputError(
            f"{model.name}: expected a network with one SpatialTransformer, received {len(found)}; "
            "build it with transformer=True"
        )
    seen = keras.Model(model.input, found[0].input)
    maps = []
    for start in range(0, len(images), BATCH):
        batch = np.asarray(images[start : start + BATCH], "float32")
        maps.append(keras.ops.convert_to_numpy(found[0].theta(seen(batch, training=False))))
    return np.concatenate(maps)
