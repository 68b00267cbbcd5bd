"""Sets that come as arrays: an .npz of one's own, or those of keras.datasets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from tl_keras.data import leakage
from tl_keras.data.image_data import ImageData, Quarantined
from tl_keras.data.lazy import LazyImages, Resized
from tl_keras.data.splits import Split
from tl_keras.errors import InputError

DIGITS = tuple("0123456789")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
KERAS_SETS = {"cifar10": CIFAR10, "mnist": DIGITS}
PARTS = ("train", "test")
EAGER_BYTES = 2**30  # arrays that are larger when they are resized are resized when they are read


def read_npz(path: Path, size: tuple[int, int] | None = None) -> ImageData:
    """An .npz of x_train, y_train, x_test, y_test and optionally class_names, text or UTF-8 bytes.

    Args:
        path: the file; its stem is the name of the set.
        size: (height, width) every image is resized to; None keeps theirs.

    Raises:
        InputError: a damaged file, arrays that lack or do not fit.

    >>> read_npz(Path("mine.npz")).class_names  # doctest: +SKIP
    ('ant', 'bee')
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except Exception as error:  # foreign bytes: BadZipFile, zlib.error, ValueError, EOFError, MemoryError, ...
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: expected a whole .npz of plain arrays, received one that fails with {reason!r}; replace it"
        ) from error
    lacking = [key for key in ("x_train", "y_train", "x_test", "y_test") if key not in arrays]
    if lacking:
        raise InputError(
            f"{path}: expected arrays x_train, y_train, x_test, y_test, received {', '.join(arrays) or 'none'}; "
            f"add {', '.join(lacking)}"
        )
    class_names = KERAS_SETS.get(path.stem)
    if "class_names" in arrays:
        class_names = tuple(_text(path, name) for name in arrays["class_names"].reshape(-1))
    return from_arrays(path.stem, arrays, class_names, size)


def _text(path: Path, name) -> str:
    try:
        return name.decode() if isinstance(name, bytes) else str(name)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected class_names in UTF-8, received {name!r}; write them as text") from error


def from_arrays(
    name: str,
    arrays: Mapping[str, np.ndarray],
    class_names: tuple[str, ...] | None = None,
    size: tuple[int, int] | None = None,
) -> ImageData:
    """The set of arrays x_train, y_train, x_test, y_test; the classes are called as they are numbered if not named.

    >>> images, labels = np.arange(128, dtype="uint8").reshape(2, 8, 8), np.arange(2)
    >>> made = from_arrays("made", {"x_train": images, "y_train": labels, "x_test": images + 128, "y_test": labels})
    >>> made.train.images.shape, made.class_names
    ((2, 8, 8, 3), ('0', '1'))
    """
    for part in PARTS:
        _check_arrays(name, part, arrays[f"x_{part}"], arrays[f"y_{part}"])
    class_names = class_names or _numbered(name, arrays["y_train"])
    splits = {part: Split(rgb(arrays[f"x_{part}"]), arrays[f"y_{part}"], class_names) for part in PARTS}
    left_out: list[Quarantined] = []
    if name not in KERAS_SETS:  # these are left as they were published: all figures of others are of them
        splits, left_out = leakage.cleaned(name, splits)
    train, test = (replace(splits[part], images=resized(splits[part].images, size)) for part in PARTS)
    return ImageData(name, train, test, tuple(left_out))


def _numbered(name: str, labels: np.ndarray) -> tuple[str, ...]:
    numbers = np.unique(labels)
    if len(numbers) != numbers[-1] + 1:
        raise InputError(
            f"{name}: expected labels 0, 1, 2, ... without gaps, received {len(numbers)} classes up to "
            f"{numbers[-1]}; number them anew or add class_names"
        )
    return tuple(str(number) for number in numbers)


def _check_arrays(name: str, part: str, images: np.ndarray, labels: np.ndarray) -> None:
    shape = images.shape
    grey, colour = images.ndim == 3, images.ndim == 4 and shape[-1] in (1, 3)
    if images.dtype != np.uint8 or not (grey or colour) or not images.size:
        raise InputError(
            f"{name}: expected x_{part} uint8 (N, H, W) or (N, H, W, 1 or 3), received {images.dtype} {shape}; "
            "store values from 0 to 255, channels last"
        )
    if labels.dtype.kind not in "iu" or labels.shape not in ((len(images),), (len(images), 1)):
        raise InputError(
            f"{name}: expected y_{part} integers ({len(images)},), received {labels.dtype} {labels.shape}; "
            "store one class number per image"
        )


def rgb(images: np.ndarray) -> np.ndarray:
    """Images (N, H, W), (N, H, W, 1) or (N, H, W, 3) with three channels.

    >>> rgb(np.zeros((5, 8, 8), "uint8")).shape
    (5, 8, 8, 3)
    """
    images = images if images.ndim == 4 else images[..., None]
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images


def resized(images: np.ndarray | LazyImages, size: tuple[int, int] | None) -> np.ndarray | LazyImages:
    """Images of this (height, width), made when they are read where they are many; None keeps theirs.

    >>> resized(np.zeros((5, 8, 8, 3), "uint8"), (4, 6)).shape
    (5, 4, 6, 3)
    """
    if size is None or images.shape[1:3] == tuple(size):
        return images
    made = Resized(images, size)
    return made[:] if math.prod(made.shape) <= EAGER_BYTES else made
