"""Spatial transformers: a network predicts how each image is to be turned, scaled, sheared and shifted, and does it.

Jaderberg et al., "Spatial Transformer Networks" (NeurIPS 2015, arXiv:1506.02025). Coordinates are (x, y), normalised:
-1 is the left or upper border of the image, +1 the right or lower one. With `align_corners` the border is the centre
of the outermost pixels, without it their outer edge. Values and gradients equal `torch.nn.functional.affine_grid` and
`grid_sample`, except that images are channels-last.

NaN in the images or in theta is an `InputError` where values are at hand, which is outside compiled graphs. Inside one
(`fit`, `predict`, an export) a check would cost time: there NaN comes out as NaN, in every pixel that it touches.

`tf.function(grid_sample, jit_compile=True)` is 2.5 to 5.5 times as fast, the images' gradient aside
(`benchmarks/grid_sample.py`), but each shape is compiled anew and servers may refuse it: whoever compiles decides.
"""

from __future__ import annotations

from numbers import Real

import keras
from keras import ops

from tl_keras.errors import InputError

MODES = ("bilinear", "nearest")
PADDING_MODES = ("zeros", "border", "reflection")
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
RIM = 2  # zeros around each image: whatever lies farther out than one pixel reads nothing but zeros


def affine_grid(theta, size: tuple[int, int], align_corners: bool = False):
    """Where each pixel of an output of `size` looks in the input, when theta maps output to input coordinates.

    Jaderberg et al. 2015, equation 1: (x, y) of the input = theta (x, y, 1) of the output.

    Args:
        theta: affine transformations (B, 2, 3).
        size: (height, width) of the output.
        align_corners: whether -1 and 1 are the centres of the outermost pixels rather than their outer edges.

    Returns:
        The grid (B, height, width, 2) of x, y, in float32 (float64 for float64).

    Raises:
        InputError: theta of another shape or with NaN, a size below 1.

    >>> affine_grid([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]], (1, 2)).numpy().tolist()
    [[[[-0.5, 0.0], [0.5, 0.0]]]]
    """
    theta = ops.convert_to_tensor(theta)
    if len(theta.shape) != 3 or tuple(theta.shape[1:]) != (2, 3):
        raise InputError(
            f"theta: expected shape (B, 2, 3), received {tuple(theta.shape)}; give one 2x3 matrix for each image"
        )
    height, width = _size(size)
    wide = keras.backend.result_type(theta.dtype, "float32")
    theta, border = ops.cast(_numbers("theta", theta), wide), int(align_corners)
    x, y = (2 * _from_middle(n, wide) / ops.cast(ops.maximum(n - border, 1), wide) for n in (width, height))
    return ops.transpose(ops.stack(_affine(theta, x, y)), (1, 2, 3, 0))


def _affine(theta, x, y, middles=(0, 0)):
    """Both coordinates (B, height, width) of what theta makes of x (width,) and y (height,), moved to `middles`."""
    # Sums, not a matrix product: some devices round the factors of those to ten bits, which is pixels.
    theta, y = theta[:, :, :, None, None], y[:, None]
    rows = zip((theta[:, 0], theta[:, 1]), middles, strict=True)
    return [row[:, 0] * x + (row[:, 1] * y + (row[:, 2] + middle)) for row, middle in rows]


def _from_middle(side, dtype):
    """Places of the pixels along a side, in pixels from its middle."""
    return ops.cast(ops.arange(side), dtype) - (ops.cast(side, dtype) - 1) / 2


def grid_sample(images, grid, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool = False):
    """Read images at the points of a grid.

    Jaderberg et al. 2015, section 3.3, where gradients flow to the images and to the grid (none to the grid in mode
    `nearest`).

    Args:
        images: (B, H, W, C).
        grid: points (B, height, width, 2) of x, y; -1 to 1 spans the image.
        mode: `bilinear` mixes the four pixels around a point; `nearest` takes the closest (halves go to the even one).
        padding_mode: what is outside the image: `zeros`, the nearest `border` pixel, or its `reflection`.
        align_corners: as the grid was made with.

    Returns:
        (B, height, width, C), of the images' dtype (float32 for integers); coordinates are float32 at least.

    Raises:
        InputError: shapes that do not fit, an unknown mode or padding mode, NaN in what is no part of a graph.

    >>> grid_sample([[[[2.0], [4.0]]]], [[[[0.0, 0.0]]]]).numpy().item()
    3.0
    """
    for name, value, known in (("mode", mode, MODES), ("padding_mode", padding_mode, PADDING_MODES)):
        if value not in known:
            raise InputError(f"{name}: expected one of {', '.join(known)}, received {value!r}; choose one of these")
    if isinstance(images, keras.KerasTensor) or isinstance(grid, keras.KerasTensor):
        raise InputError("grid_sample: expected tensors, received a KerasTensor; call it inside a layer")
    images, grid = ops.convert_to_tensor(images), ops.convert_to_tensor(grid)
    _check_shapes(images, grid)
    wide = keras.backend.result_type(images.dtype, grid.dtype, "float32")  # half precision would be off by pixels
    points = ops.unstack(ops.transpose(ops.cast(_numbers("grid", grid), wide), (3, 0, 1, 2)), 2)
    height, width = (ops.cast(side, wide) for side in ops.shape(images)[1:3])
    # Rounded as PyTorch rounds it, step by step: which pixels a point reads can hang on that.
    span, first = (1, 0.0) if align_corners else (0, -0.5)
    x, y = ((point + 1) * ((side - span) / 2) + first for point, side in zip(points, (width, height), strict=True))
    return _sample(images, x, y, mode, padding_mode, align_corners)


def _sample(images, x, y, mode: str, padding_mode: str, align_corners: bool):
    """Read images at x and y (B, height, width), in pixels, float32 at least."""
    dtype = keras.backend.result_type(images.dtype, float)
    images = ops.cast(_numbers("images", images), x.dtype)
    if mode == "nearest":
        return ops.cast(_nearest(images, x, y, padding_mode, align_corners), dtype)
    sample = ops.custom_gradient(lambda images, x, y: _bilinear(images, x, y, padding_mode, align_corners))
    return ops.cast(sample(images, x, y), dtype)


def _bilinear(images, x, y, padding_mode: str, align_corners: bool):
    """The mixture of the four pixels around each point, and the function that carries its gradient back."""
    x, slope_x = _padded(x, ops.shape(images)[2], padding_mode, align_corners)
    y, slope_y = _padded(y, ops.shape(images)[1], padding_mode, align_corners)
    left, top = ops.floor(x), ops.floor(y)
    right_share, low_share = ops.expand_dims(x - left, -1), ops.expand_dims(y - top, -1)
    table, index, offsets = _table(images, left, top)
    a, b, c, d = [ops.take(table, index + offset, axis=0) for offset in offsets]
    upper, lower = a + (b - a) * right_share, c + (d - c) * right_share

    def gradient(*args, upstream=None):
        upstream = args[0] if upstream is None else upstream
        across = (b - a) + ((d - c) - (b - a)) * low_share
        by_x = ops.sum(upstream * across, axis=-1) * slope_x
        by_y = ops.sum(upstream * (lower - upper), axis=-1) * slope_y
        return _spread(upstream, images, x - left, y - top, index, offsets), by_x, by_y

    return upper + (lower - upper) * low_share, gradient


def _spread(upstream, images, right_share, low_share, index, offsets):
    """The gradient of the images: each pixel sums its shares in all points that read it.

    Channels come first here, and sums are over single numbers: sums over short rows take several times as long.
    """
    batch, height, width, channels = ops.shape(images)
    height, width = height + 2 * RIM, width + 2 * RIM
    upstream = ops.transpose(upstream, (3, 0, 1, 2))
    lower = upstream * low_share
    upper = upstream - lower
    shares = upper - upper * right_share, upper * right_share, lower - lower * right_share, lower * right_share
    plane = batch * height * width
    first = ops.reshape(ops.arange(channels, dtype="int32") * plane, (-1, 1, 1, 1))
    index = ops.reshape(first + index, (-1,))
    size = channels * plane
    parts = [ops.segment_sum(ops.reshape(s, (-1,)), index + o, size) for s, o in zip(shares, offsets, strict=True)]
    by_images = ops.reshape(sum(parts), (channels, batch, height, width))
    return ops.transpose(by_images[:, :, RIM:-RIM, RIM:-RIM], (1, 2, 3, 0))


def _nearest(images, x, y, padding_mode: str, align_corners: bool):
    x, _ = _padded(ops.stop_gradient(x), ops.shape(images)[2], padding_mode, align_corners)
    y, _ = _padded(ops.stop_gradient(y), ops.shape(images)[1], padding_mode, align_corners)
    table, index, _ = _table(images, ops.round(x), ops.round(y))
    return ops.take(table, index, axis=0) + ops.expand_dims(x * 0 + y * 0, -1)  # NaN where the point is


def _table(images, column, row):
    """The pixels of all padded images (N, C), the index of each point's pixel, the offsets of its 2x2 pixels."""
    batch, height, width, channels = ops.shape(images)
    padded = ops.pad(images, ((0, 0), (RIM, RIM), (RIM, RIM), (0, 0)))
    pitch = width + 2 * RIM
    # As integers NaN and what is very far may become anything: clipped here, they never read outside the table.
    column = ops.clip(ops.cast(column, "int32"), -RIM, width)
    row = ops.clip(ops.cast(row, "int32"), -RIM, height)
    first = ops.arange(batch, dtype="int32") * ((height + 2 * RIM) * pitch) + RIM * (pitch + 1)
    index = row * pitch + (column + ops.reshape(first, (-1, 1, 1)))
    return ops.reshape(padded, (-1, channels)), index, (0, 1, pitch, pitch + 1)


def _padded(pixel, side, padding_mode: str, align_corners: bool):
    """Where padding reads a coordinate, and the slope of that; zeros are around the table anyway."""
    if padding_mode == "zeros":
        return pixel, 1
    last, slope = ops.cast(side, pixel.dtype) - 1, 1
    if padding_mode == "reflection":
        first, around = (0.0, ops.maximum(2 * last, 1)) if align_corners else (-0.5, 2 * last + 2)  # there and back
        distance = ops.abs(pixel - first)
        rest = distance - ops.floor(distance / around) * around
        slope = ops.where((pixel < first) == (rest > around - rest), 1, -1)
        pixel = ops.minimum(rest, around - rest) + first
    moves = ops.cast((pixel > 0) & (pixel < last), pixel.dtype)
    return ops.clip(pixel, 0, last), moves * ops.cast(slope, pixel.dtype)


def _size(size) -> tuple:
    """(height, width); scalar tensors pass, as the size of images that only the running graph knows."""
    sides = tuple(size) if isinstance(size, tuple | list) else (size,)
    if len(sides) != 2 or any(isinstance(side, Real) and not (side >= 1 and side % 1 == 0) for side in sides):  # type: ignore[operator]
        raise InputError(f"size: expected (height, width) of at least 1, received {size}; give two positive integers")
    return sides


def _check_shapes(images, grid) -> None:
    if len(images.shape) != 4 or 0 in tuple(images.shape[1:]) or images.shape[-1] is None:
        raise InputError(
            f"images: expected shape (B, H, W, C), received {tuple(images.shape)}; "
            "add the missing axes (channels come last, their number is fixed)"
        )
    if len(grid.shape) != 4 or grid.shape[-1] != 2 or len({images.shape[0], grid.shape[0]} - {None}) > 1:
        raise InputError(
            f"grid: expected shape (B, height, width, 2) for images {tuple(images.shape)}, "
            f"received {tuple(grid.shape)}; give x and y for each output pixel of each image"
        )


def _numbers(name: str, values):
    # Symbolic tensors have no values to look at.
    if hasattr(values, "numpy") and bool(ops.any(ops.isnan(values))):
        count = int(ops.sum(ops.cast(ops.isnan(values), "int32")))
        raise InputError(f"{name}: expected numbers, received {count} NaN; look for what computed them")
    return values


@keras.saving.register_keras_serializable(package="tl_keras")
class SpatialTransformer(keras.layers.Layer):
    """Predict an affine transformation for each image and apply it: `grid_sample(images, affine_grid(theta, size))`.

    The layer adds a dense layer with 6 outputs to `localization`: theta. Its kernel starts at zero and its bias at the
    identity, so that the untrained layer returns its input. Points outside the image read zero.

    Jaderberg et al. 2015, section 3.

    Args:
        localization: Keras model or layer that maps images (B, H, W, C) to features (B, F).
        output_size: (height, width) of the output; None for that of the input.

    Shapes: images (B, H, W, C) in, (B, height, width, C) out, in the layer's compute dtype; theta and the coordinates
    are float32 in mixed precision too. B is free; H and W are as free as `localization` leaves them.

    Raises:
        InputError: an output size below 1, features of another rank, and as `grid_sample`.

    >>> localization = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(32, activation="relu")])
    >>> layer = SpatialTransformer(localization)
    >>> layer(ops.ones((2, 28, 28, 1))).shape
    TensorShape([2, 28, 28, 1])
    >>> layer.theta(ops.ones((2, 28, 28, 1))).shape
    TensorShape([2, 2, 3])
    """

    def __init__(self, localization, output_size: tuple[int, int] | None = None, **kwargs):
        super().__init__(**kwargs)
        self.localization = localization
        self.output_size = None if output_size is None else _size(output_size)
        start = keras.initializers.Constant(IDENTITY)
        self.head = keras.layers.Dense(6, kernel_initializer="zeros", bias_initializer=start, dtype="float32")

    def build(self, input_shape):
        if not self.localization.built:
            self.localization.build(input_shape)
        features = self.localization.compute_output_shape(input_shape)
        if len(features) != 2 or features[-1] is None:
            raise InputError(
                f"localization: expected features (B, F) with a fixed F, received {tuple(features)} for images "
                f"{tuple(input_shape)}; end it with Flatten or global pooling"
            )
        self.head.build(features)

    def theta(self, images, training: bool = False):
        """The transformations (B, 2, 3) that the layer applies to images (B, H, W, C): output to input coordinates."""
        if not self.built:
            self.build(images.shape)
        features = self.localization(ops.cast(images, self.compute_dtype), training=training)
        return ops.reshape(self.head(features), (-1, 2, 3))

    def call(self, images, training: bool = False):
        size = self.output_size or ops.shape(images)[1:3]
        theta = _numbers("theta", self.theta(images, training))
        # Straight from pixels to pixels the identity is exact, and the grid need not be stacked and taken apart.
        read = ops.cast(ops.stack(ops.shape(images)[2:0:-1]), theta.dtype)
        made = ops.cast(ops.stack((*size[::-1], 2)), theta.dtype)
        across, down = (_from_middle(side, theta.dtype) for side in size[::-1])
        x, y = _affine(theta * (read[:, None] / made), across, down, middles=ops.unstack((read - 1) / 2, 2))
        return _sample(images, x, y, "bilinear", "zeros", align_corners=False)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *(self.output_size or input_shape[1:3]), input_shape[3])

    def get_config(self) -> dict:
        """The localization network and the output size, as `from_config` takes them."""
        localization = keras.saving.serialize_keras_object(self.localization)
        return {**super().get_config(), "localization": localization, "output_size": self.output_size}

    @classmethod
    def from_config(cls, config: dict) -> SpatialTransformer:
        """The layer that `get_config` described, its weights new."""
        localization = keras.saving.deserialize_keras_object(config["localization"])
        return cls(**{**config, "localization": localization})
