"""Images of requests: refused before they cost anything, read as the network sees them, drawn with heat on them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from tl_keras.data.decode import FORMATS, decode
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.evaluation import interpret

TOGETHER = 4  # times the pixels that one image may have, all images of a request may have


def check_pixels(files: Sequence[bytes], most: int) -> None:
    """Refuse images that are small as files and enormous as images, by what their heads say.

    Args:
        files: encoded images; what is none is left to `seen`.
        most: pixels of one image.

    Raises:
        InputError: one has more, or all together have more than `TOGETHER` times as many.

    >>> check_pixels([b"no image"], 1)
    """
    total = 0
    for index, file in enumerate(files):
        try:
            with Image.open(io.BytesIO(file), formats=FORMATS) as image:
                count = image.width * image.height
        except Exception:  # its reading says what is wrong with it
            continue
        total += count
        if count > most:
            raise InputError(f"image {index}: expected at most {most} pixels, received {count}; reduce the image")
        if total > TOGETHER * most:
            raise InputError(
                f"images: expected at most {TOGETHER * most} pixels in all, received more; send them in turn"
            )


def seen(file: bytes, view: View, index: int) -> np.ndarray:
    """What the network sees of an encoded image: uint8 (H, W, C).

    Raises:
        InputError: it is none; `index` says which of a request.
    """
    try:
        return view.of(decode(file))
    except InputError as error:
        raise InputError(f"image {index}: {error}") from None


def drawn(pixels: np.ndarray, heat: np.ndarray) -> str:
    """Heat (h, w) on an image (H, W, C) with values from 0 to 255: a PNG file in base64.

    >>> drawn(np.zeros((8, 8, 1)), np.zeros((2, 2)))[:8]
    'iVBORw0K'
    """
    image = np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)
    buffer = io.BytesIO()
    colours = np.broadcast_to(image, (*image.shape[:2], 3))
    Image.fromarray(interpret.overlay(np.ascontiguousarray(colours), heat)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
