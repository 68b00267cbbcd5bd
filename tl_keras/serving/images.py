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


def check_pixels(file: bytes, most: int) -> int:
    """Refuse an image that is small as a file and enormous as an image, by what its head says.

    Args:
        file: an encoded image; what is none is left to those who read it.
        most: pixels that it may have.

    Returns:
        Its pixels, 0 of what is no image.

    Raises:
        InputError: it has more.

    >>> check_pixels(b"no image", 1)
    0
    """
    try:
        with Image.open(io.BytesIO(file), formats=FORMATS) as image:
            count = image.width * image.height
    except Exception:  # its reading says what is wrong with it
        return 0
    if count > most:
        raise InputError(f"expected at most {most} pixels, received {count}; reduce the image")
    return count


def check_together(files: Sequence[bytes], most: int) -> None:
    """Refuse images that have more than `TOGETHER` times `most` pixels in all, or one that has more than `most`.

    Raises:
        InputError: so it is.

    >>> check_together([b"no image"], 1)
    """
    total = sum(check_pixels(file, most) for file in files)
    if total > TOGETHER * most:
        raise InputError(
            f"images: expected at most {TOGETHER * most} pixels in all, received {total}; send them in turn"
        )


def seen(file: bytes, view: View, index: int, most: int) -> np.ndarray:
    """What the network sees of an encoded image: uint8 (H, W, C).

    Raises:
        InputError: it is none, or has more pixels than `most`; `index` says which of a request.
    """
    try:
        check_pixels(file, most)
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
