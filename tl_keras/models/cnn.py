"""The small convolutional network of the CIFAR-10 study: four convolutions, two poolings, two dense layers."""

from __future__ import annotations

from tl_keras.quiet import keras


def build(
    classes: int,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    filters: tuple[int, int, int, int] = (40, 80, 160, 128),
    units: int = 128,
    dropout: tuple[float, float, float] = (0.1, 0.2, 0.4),
) -> keras.Model:
    """The network, untrained: RGB images from 0 to 255 in, class probabilities (B, classes) out.

    The two poolings follow the first and the third convolution. BatchNorm (Ioffe and Szegedy, 2015) and ReLU stand
    after the pooling there, where they have a quarter of the work.

    Args:
        dropout: rates after the first pooling, after the second one, and before the last dense layer.

    >>> build(classes=8).output_shape
    (None, 8)
    """
    images = keras.Input(input_shape, name="images")
    # 0..255 to about zero mean and unit deviation, for natural images as for scanned digits.
    x = keras.layers.Rescaling(1 / 64, offset=-2, dtype="float32", name="rescale")(images)
    for number, width in enumerate(filters, start=1):
        # Without a bias: BatchNorm has one.
        convolution = keras.layers.Conv2D(
            width, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"conv{number}"
        )
        x = convolution(x)
        if number in (1, 3):
            x = keras.layers.MaxPooling2D(name=f"pool{number}")(x)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"norm{number}")(x)
        x = keras.layers.ReLU(name=f"relu{number}")(x)
        if number in (1, 3):
            x = keras.layers.Dropout(dropout[number // 2], name=f"dropout{number}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(units, activation="relu", kernel_initializer="he_normal", name="dense1")(x)
    x = keras.layers.Dropout(dropout[2], name="dropout_dense")(x)
    # float32, so that a softmax under mixed precision does not round probabilities to 1.
    probabilities = keras.layers.Dense(classes, activation="softmax", dtype="float32", name="dense2")(x)
    return keras.Model(images, probabilities, name="cnn")
