"""The view as TensorFlow operations: a SavedModel reads encoded images by itself, and sees what the network learned on.

Pillow decodes and scales everywhere else (`decode`, `view`), in whole numbers. The same sums are done here, so that the
pixels are equal, not merely alike: an interpolation in floating point would differ by a level here and there.

What differs: transparent places of a GIF, which TensorFlow paints black and Pillow leaves white; the orientation that a
PNG says. Refused are WebP, which TensorFlow Serving need not know, and BMPs of less than 8 bits.
"""

from __future__ import annotations

from tl_keras.data.view import View
from tl_keras.quiet import tf

# Pillow's resampling (libImaging/Resample.c): weights are whole multiples of 2^-22, and each pass rounds to a level.
PRECISION = 22
GREY = (19595, 38470, 7471)  # its weights of red, green and blue in 2^-16 (libImaging/Convert.c)
ORIENTATION = 0x0112  # the tag in EXIF data
EXIF = b"Exif\0\0"


def pixels(view: View, contents: tf.Tensor) -> tf.Tensor:
    """What the network sees of encoded images: strings (B,) in, uint8 (B, height, width, channels) out.

    In a graph or eagerly. JPEG, PNG, BMP and GIF of any size, told by content; one that is no image fails the call.

    >>> pixels(View((28, 28)), tf.constant([open("cat.jpg", "rb").read()])).shape  # doctest: +SKIP
    TensorShape([1, 28, 28, 3])
    """
    with tf.device("CPU"):  # the operations that decode have no other
        return tf.map_fn(
            lambda content: _seen(view, _decoded(content)),
            contents,
            fn_output_signature=tf.TensorSpec(view.shape, tf.uint8),
        )


def _seen(view: View, image: tf.Tensor) -> tf.Tensor:
    """What the view makes of a decoded image (H, W, 3)."""
    image = _resized(image, *view.loaded)
    if view.channels == 1:
        levels = tf.tensordot(tf.cast(image, tf.int32), tf.constant(GREY), 1)
        image = tf.cast(tf.bitwise.right_shift(levels + 0x8000, 16), tf.uint8)[..., None]
    rows, columns = view.window
    return image[rows, columns]


def _decoded(content: tf.Tensor) -> tf.Tensor:
    """One image, uint8 (H, W, 3), upright."""
    readers = [
        (_begins(content, b"\xff\xd8\xff"), lambda: _jpeg(content)),
        (_begins(content, b"\x89PNG\r\n\x1a\n"), lambda: _png(content)),
        (_begins(content, b"GIF87a") | _begins(content, b"GIF89a"), lambda: tf.io.decode_gif(content)[0]),
        (_begins(content, b"BM"), lambda: _bmp(content)),
    ]
    return tf.ensure_shape(tf.case(readers, default=lambda: _refused(content)), (None, None, 3))


def _begins(content: tf.Tensor, start: bytes) -> tf.Tensor:
    return tf.strings.substr(content, 0, len(start)) == start


def _refused(content: tf.Tensor) -> tf.Tensor:
    begin = tf.strings.substr(content, 0, 12)
    said = "images: expected JPEG, PNG, BMP or GIF files, received one that begins so; convert it:"
    with tf.control_dependencies([tf.debugging.Assert(tf.constant(False), [said, begin])]):
        return tf.zeros((1, 1, 3), tf.uint8)


def _png(content: tf.Tensor) -> tf.Tensor:
    depth = _whole(tf.io.decode_raw(tf.strings.substr(content, 24, 1), tf.uint8), 0, 1)
    return tf.cond(depth < 8, lambda: _shallow_png(content), lambda: _on_white(tf.io.decode_png(content, channels=4)))


def _shallow_png(content: tf.Tensor) -> tf.Tensor:
    """A PNG of 1, 2 or 4 bits: asked for four channels, TensorFlow makes its own alpha that small, not 255."""
    image = tf.io.decode_png(content, channels=0)
    channels = tf.shape(image)[2]
    return tf.case(
        [(channels == 1, lambda: tf.repeat(image, 3, axis=2)), (channels == 4, lambda: _on_white(image))],
        default=lambda: image,
    )


def _on_white(image: tf.Tensor) -> tf.Tensor:
    """An image with transparency (H, W, 4) on white (libImaging/AlphaComposite.c)."""
    colours, alpha = tf.cast(image[..., :3], tf.int32), tf.cast(image[..., 3:], tf.int32)
    blended = (colours * alpha + 255 * (255 - alpha) + 128) * 128
    return tf.cast((blended // 256 + blended) // 256 // 128, tf.uint8)


def _bmp(content: tf.Tensor) -> tf.Tensor:
    header = tf.io.decode_raw(tf.strings.substr(content, 0, 54), tf.uint8)
    image = tf.io.decode_bmp(content)
    return tf.cond(
        _whole(header, 28, 2) == 8, lambda: _coloured(image[..., 0], content, header), lambda: image[..., :3]
    )


def _coloured(image: tf.Tensor, content: tf.Tensor, header: tf.Tensor) -> tf.Tensor:
    """Of a BMP of 8 bits TensorFlow gives the numbers of colours; these, blue first, stand before them."""
    start, end = 14 + _whole(header, 14, 4), _whole(header, 10, 4)
    colours = tf.io.decode_raw(tf.strings.substr(content, start, (end - start) // 4 * 4), tf.uint8)
    return tf.gather(tf.reshape(colours, (-1, 4))[:, 2::-1], tf.cast(image, tf.int32))


def _jpeg(content: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")
    across, turned = tf.reverse(image, [1]), _turned(image)
    upright = [
        image, across, tf.reverse(image, [0, 1]), tf.reverse(image, [0]),
        turned, tf.reverse(turned, [1]), tf.reverse(turned, [0, 1]), tf.reverse(turned, [0]),
    ]  # fmt: skip
    return tf.switch_case(_orientation(content) - 1, [lambda found=found: found for found in upright])


def _orientation(content: tf.Tensor) -> tf.Tensor:
    """From 1, as it is, to 8 (EXIF 2.3, 4.6.4)."""
    exif = _exif(content)
    known = _begins(exif, b"II*\0") | _begins(exif, b"MM\0*")
    return tf.cond(known, lambda: _tag(tf.io.decode_raw(exif, tf.uint8)), lambda: 1)


def _exif(content: tf.Tensor) -> tf.Tensor:
    """The TIFF structure in a JPEG's APP1 segment, a string; empty where it has none."""

    def inside(start):
        return start + 10 < tf.strings.length(content)

    def found(start):
        return _begins(tf.strings.substr(content, start + 4, len(EXIF)), EXIF)

    def size(start):
        return _whole(tf.io.decode_raw(tf.strings.substr(content, start + 2, 2), tf.uint8), 0, 2, big=True)

    def goes_on(start):
        marker = tf.strings.substr(content, start, 2)
        is_segment = _begins(marker, b"\xff") & (marker != b"\xff\xda")  # behind that the image itself begins
        return tf.cond(inside(start), lambda: is_segment & ~found(start), lambda: False)

    (start,) = tf.while_loop(goes_on, lambda start: (start + 2 + size(start),), (2,))
    there = tf.cond(inside(start), lambda: found(start), lambda: False)
    return tf.cond(there, lambda: tf.strings.substr(content, start + 10, size(start) - 8), lambda: b"")


def _tag(exif: tf.Tensor) -> tf.Tensor:
    """The orientation in a TIFF structure; 1 where it says none, or nonsense."""
    big = exif[0] == ord("M")
    table = tf.clip_by_value(_whole(exif, 4, 4, big), 0, tf.size(exif) - 2)
    entries = tf.minimum(_whole(exif, table, 2, big), (tf.size(exif) - table - 2) // 12)
    rows = tf.cast(tf.reshape(exif[table + 2 : table + 2 + 12 * entries], (-1, 12)), tf.int32)
    tags, values = (
        tf.where(big, 256 * rows[:, place] + rows[:, place + 1], rows[:, place] + 256 * rows[:, place + 1])
        for place in (0, 8)
    )
    said = values[tags == ORIENTATION]
    value = tf.concat([said, [1]], 0)[0]
    return tf.where((value >= 1) & (value <= 8), value, 1)


def _whole(data: tf.Tensor, start, size: int, big=False) -> tf.Tensor:
    """A whole number in bytes."""
    parts = tf.cast(data[start : start + size], tf.int32)
    return tf.reduce_sum(tf.where(big, tf.reverse(parts, [0]), parts) * [256**place for place in range(size)])


def _resized(image: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Scale until it covers the size, and cut what sticks out: `data.decode.resize`, whose sums these are."""
    shape = tf.shape(image)
    own_height, own_width = tf.cast(shape[0], tf.float64), tf.cast(shape[1], tf.float64)
    ratio, wanted = own_width / own_height, width / height
    cut_width = tf.where(ratio > wanted, wanted * own_height, own_width)
    cut_height = tf.where(ratio < wanted, own_width / wanted, own_height)
    columns = _weights(shape[1], (own_width - cut_width) * 0.5, cut_width, width)
    rows = _weights(shape[0], (own_height - cut_height) * 0.5, cut_height, height)
    lower, narrower = shape[0] - height, shape[1] - width
    first_down = (lower > 0) & (lower > 2 * narrower)  # the cheaper order, which rounds in another place
    found = tf.cond(
        first_down,
        lambda: _turned(_weighted(columns, _turned(_weighted(rows, image)))),
        lambda: _weighted(rows, _turned(_weighted(columns, _turned(image)))),
    )
    return tf.ensure_shape(found, (height, width, 3))


def _turned(image: tf.Tensor) -> tf.Tensor:
    return tf.transpose(image, (1, 0, 2))


def _weighted(weights: tf.SparseTensor, image: tf.Tensor) -> tf.Tensor:
    """Weighted sums of an image's rows, rounded to levels."""
    shape = tf.shape(image)
    sums = tf.sparse.sparse_dense_matmul(weights, tf.cast(tf.reshape(image, (shape[0], -1)), tf.int32))
    levels = tf.clip_by_value(tf.bitwise.right_shift(sums + (1 << (PRECISION - 1)), PRECISION), 0, 255)
    return tf.reshape(tf.cast(levels, tf.uint8), (-1, shape[1], 3))


def _weights(size: tf.Tensor, start: tf.Tensor, extent: tf.Tensor, target: int) -> tf.SparseTensor:
    """How much each of `size` places counts in each of `target` ones, which lie evenly from `start` on: whole numbers.

    Bilinear: a triangle as wide as two new places, or as two old ones where these are wider.
    """
    begin, end = tf.cast(start, tf.float32), tf.cast(start + extent, tf.float32)  # as Pillow keeps them
    scale = tf.cast(end - begin, tf.float64) / target
    reach = tf.maximum(scale, 1.0)
    centres = tf.cast(begin, tf.float64) + (tf.range(target, dtype=tf.float64) + 0.5) * scale
    first = tf.maximum(tf.cast(centres - reach + 0.5, tf.int32), 0)
    last = tf.minimum(tf.cast(centres + reach + 0.5, tf.int32), size)
    places = first[:, None] + tf.range(2 * tf.cast(tf.math.ceil(reach), tf.int32) + 1)
    inside = places < last[:, None]
    distances = tf.abs((tf.cast(places, tf.float64) - centres[:, None] + 0.5) * (1.0 / reach))
    shares = tf.where(inside, tf.maximum(1.0 - distances, 0.0), 0.0)
    shares /= tf.reduce_sum(shares, axis=1, keepdims=True)
    found = tf.where(inside)
    indices = tf.stack([found[:, 0], tf.cast(tf.gather_nd(places, found), tf.int64)], axis=1)
    counts = tf.cast(tf.gather_nd(shares, found) * (1 << PRECISION) + 0.5, tf.int32)
    return tf.SparseTensor(indices, counts, tf.stack([target, tf.cast(size, tf.int64)]))
