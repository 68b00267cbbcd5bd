"""Decoders of JPEG files: images per second on one core, and whether their pixels are those of `data.decode`.

    python benchmarks/decoders.py FOLDER [ROUNDS]

Pillow, as this library uses it and bare; TensorFlow with the accurate DCT; simplejpeg, where it is installed. All of
them are libjpeg-turbo below. In turn, on the JPEG files of a folder, which are read before.
"""

from __future__ import annotations

import importlib.util
import io
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from tl_keras.config import environment
from tl_keras.data.decode import decode
from tl_keras.quiet import import_tensorflow, tf


def with_tl_keras(content: bytes) -> np.ndarray:
    return np.asarray(decode(content))


def with_pillow(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def with_tensorflow(content: bytes) -> np.ndarray:
    return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE").numpy()


def with_simplejpeg(content: bytes) -> np.ndarray:
    import simplejpeg

    return simplejpeg.decode_jpeg(content, fastdct=False, fastupsample=False)


def main(folder: str, rounds: int) -> None:
    ways = [with_tl_keras, with_pillow, with_tensorflow]
    if importlib.util.find_spec("simplejpeg"):
        ways.append(with_simplejpeg)
    contents = [path.read_bytes() for path in sorted(Path(folder).rglob("*.[jJ][pP]*[gG]"))]
    contents = [content for content in contents if content[:2] == b"\xff\xd8"]
    rates = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            started = time.perf_counter()
            for content in contents:
                way(content)
            rates[way].append(len(contents) / (time.perf_counter() - started))
    print(environment()["hardware"], f"{len(contents)} files, n = {rounds}")
    ours = statistics.median(rates[with_tl_keras])
    for way in ways:
        same = [np.array_equal(way(content), with_tl_keras(content)) for content in contents]
        rate = statistics.median(rates[way])
        name = way.__name__.removeprefix("with_")
        print(
            f"{name:<11} {rate:6,.0f} images/s, {rate / ours:.2f} times tl_keras; {np.mean(same):.1%} the same pixels"
        )


if __name__ == "__main__":
    import_tensorflow()
    tf.config.set_visible_devices([], "GPU")
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3)
