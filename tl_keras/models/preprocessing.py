"""Pixels from 0 to 255 become what a network was trained on; a first convolution moves from one way to another."""

from __future__ import annotations

import numpy as np

from tl_keras.quiet import keras

# Of red, green and blue. Caffe's networks read blue first, and levels minus their mean; torchvision's read the
# standardised fractions of 255.
CAFFE_MEAN = (123.68, 116.779, 103.939)
TORCH_MEAN, TORCH_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TORCH_SCALE = tuple(1 / (255 * deviation) for deviation in TORCH_DEVIATION)
TORCH_OFFSET = tuple(-mean / deviation for mean, deviation in zip(TORCH_MEAN, TORCH_DEVIATION, strict=True))


def scaled(images: keras.KerasTensor, mode: str) -> keras.KerasTensor:
    """Images (B, H, W, 3) as `keras.applications.imagenet_utils.preprocess_input` makes them, by layers of the model.

    They stay float32 under any precision. `mode` is "caffe", "torch" or "tf".

    >>> scaled(keras.Input((224, 224, 3)), "torch").shape
    (None, 224, 224, 3)
    """
    scale: float | list[float]
    offset: float | list[float]
    if mode == "caffe":
        images = keras.ops.flip(images, axis=-1)  # blue comes first
        scale, offset = 1.0, [-mean for mean in reversed(CAFFE_MEAN)]
    elif mode == "torch":
        scale, offset = list(TORCH_SCALE), list(TORCH_OFFSET)
    else:
        scale, offset = 1 / 127.5, -1.0
    return keras.layers.Rescaling(scale, offset, dtype="float32", name="rescale")(images)


def caffe_to_torch(convolution: keras.layers.Conv2D) -> None:
    """Rewrite the weights of a first convolution that read Caffe's images, so that it reads torchvision's.

    Its outputs stay what they were, up to rounding, wherever the kernel lies inside of the image. At the border they
    cannot: both networks pad with zeros, which stand for Caffe's mean colour in one and for torchvision's in the
    other. The two differ by 0.005, 0.499 and 0.409 of 255 levels: the pixels beside the image are half a level darker
    than before. In VGG16 and VGG19 with random He-scaled weights this moved outputs of the first convolution by up to
    2 % of their deviation, in the outermost pixels alone, and no logit of 8 photographs by more than 0.3 % of the
    deviation between photographs; the class of the largest stayed. No real VGG weights were at hand.

    Args:
        convolution: with kernel (H, W, 3, F) and bias (F,).

    >>> convolution = keras.layers.Conv2D(8, 3)
    >>> convolution.build((None, 224, 224, 3))
    >>> caffe_to_torch(convolution)
    """
    kernel, bias = (np.asarray(array, "float64") for array in convolution.get_weights())
    kernel = kernel[:, :, ::-1]  # red comes first
    # With t = (x / 255 - mean) / deviation: x - CAFFE_MEAN = 255 * deviation * t + (255 * mean - CAFFE_MEAN)
    step = 255 * np.array(TORCH_DEVIATION)
    shift = 255 * np.array(TORCH_MEAN) - CAFFE_MEAN
    convolution.set_weights([kernel * step[:, None], bias + np.einsum("hwcf,c->f", kernel, shift)])
