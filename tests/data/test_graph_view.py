"""The pixels that TensorFlow's operations make of a file are those that Pillow makes of it, every one."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tl_keras.data import graph_view
from tl_keras.data.decode import decode
from tl_keras.data.view import View, standard

RNG = np.random.default_rng(0)
VIEWS = {"squashed": View((32, 48)), "cut": standard((64, 64)), "grey": standard((28, 20), channels=1)}


def made(height, width, mode="RGB"):
    """Blocks of colours with soft edges: no level is as its neighbour."""
    channels = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,)}[mode]
    small = RNG.integers(0, 256, (max(2, height // 5), max(2, width // 5), *channels), "uint8")
    return Image.fromarray(small).resize((width, height))


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def turned(orientation, **options):
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a photograph", orientation
    return encoded(made(40, 60), "JPEG", exif=exif, **options)


def palette(**options):
    return made(50, 70).quantize(16, dither=Image.Dither.NONE), options


def grey_png(bits, transparent=None):
    """A PNG of 8 x 5 grey pixels with so many bits, one of which may stand for nothing."""
    rows = b"".join(b"\0" + RNG.integers(0, 256, bits, "uint8").tobytes() for _ in range(5))
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 8, 5, bits, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    if transparent is not None:
        parts.insert(1, (b"tRNS", struct.pack(">H", transparent)))
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


SIZES = [(1, 1), (5, 3), (32, 48), (64, 64), (73, 73), (120, 90), (90, 120), (400, 12), (13, 411), (1200, 700)]
FILES = {
    **{f"jpeg {height}x{width}": encoded(made(height, width), "JPEG", quality=90) for height, width in SIZES},
    **{f"png {height}x{width}": encoded(made(height, width), "PNG") for height, width in SIZES},
    **{f"jpeg turned {number}": turned(number) for number in range(10)},
    "jpeg turned behind a profile": turned(6, icc_profile=bytes(3000)),
    "jpeg of a damaged tag": turned(6).replace(b"MM\0*", b"MM\0\0", 1),
    "jpeg grey": encoded(made(50, 70, "L"), "JPEG"),
    "jpeg cmyk": encoded(made(50, 70).convert("CMYK"), "JPEG"),
    "jpeg progressive": encoded(made(50, 71), "JPEG", progressive=True),
    "jpeg 4:4:4": encoded(made(51, 71), "JPEG", subsampling=0),
    "png grey": encoded(made(50, 70, "L"), "PNG"),
    "png grey and alpha": encoded(made(50, 70, "LA"), "PNG"),
    "png colours and alpha": encoded(made(50, 70, "RGBA"), "PNG"),
    "png palette of 4 bits": encoded(palette()[0], "PNG", bits=4),
    "png palette with nothing": encoded(palette()[0], "PNG", transparency=3),
    "png palette of 8 bits": encoded(made(50, 70).quantize(200), "PNG"),
    "png 16 bits": encoded(Image.fromarray(RNG.integers(0, 65536, (50, 70), "uint16")), "PNG"),
    **{f"png grey of {bits} bits": grey_png(bits) for bits in (1, 2, 4)},
    "png grey with nothing": encoded(Image.fromarray(RNG.integers(0, 4, (50, 70), "uint8")), "PNG", transparency=2),
    "gif": encoded(made(50, 70).quantize(64), "GIF"),
    "gif moving": encoded(made(50, 70).quantize(9), "GIF", save_all=True, append_images=[made(50, 70).quantize(9)]),
    "bmp": encoded(made(51, 71), "BMP"),
    "bmp grey": encoded(made(51, 71, "L"), "BMP"),
    "bmp palette": encoded(palette()[0], "BMP"),
    "bmp 32 bits": encoded(made(51, 71, "RGBA"), "BMP"),
}


@pytest.fixture(scope="module", params=VIEWS)
def seen(request):
    """A view, and what its graph sees of each file."""
    view = VIEWS[request.param]
    graph = tf.function(lambda contents: graph_view.pixels(view, contents))
    return view, dict(zip(FILES, graph(tf.constant(list(FILES.values()))).numpy(), strict=True))


@pytest.mark.parametrize("name", FILES)
def test_every_pixel_is_that_of_pillow(seen, name):
    view, found = seen
    np.testing.assert_array_equal(found[name], view.of(decode(FILES[name])))


def test_photographs():
    folder = Path(os.environ.get("TL_KERAS_DATA", "nowhere")).expanduser() / "hymenoptera/val"
    paths = sorted(folder.glob("*/*.jpg"))[:40]
    if not paths:
        pytest.skip("no hymenoptera in TL_KERAS_DATA")
    view = standard((224, 224))
    found = graph_view.pixels(view, tf.constant([path.read_bytes() for path in paths]))
    np.testing.assert_array_equal(found, [view.of(decode(path)) for path in paths])


BAD = {
    "nothing": b"",
    "text": b"no image",
    "a head": b"BM",
    "another head": b"\xff\xd8\xff",
    "half a png": FILES["png grey"][:60],
    "half a jpeg": FILES["jpeg grey"][:40],
    "webp": encoded(made(5, 5), "WEBP"),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_what_is_no_image_fails(content):
    with pytest.raises(tf.errors.InvalidArgumentError):
        graph_view.pixels(VIEWS["cut"], tf.constant([content]))
