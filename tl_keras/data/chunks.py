"""Images that are made from others once, in chunks, by several processes, and read from the disk ever after."""

from __future__ import annotations

import io
import math
import os
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from tl_keras.data.lazy import LazyImages
from tl_keras.errors import InputError
from tl_keras.files import write_bytes
from tl_keras.processes import pool

# What a process makes at a time, and what a kill can lose of each: about half a second of elastic deformation.
CHUNK_BYTES = 2**20


class Maker(Protocol):
    """What makes images of images, one for one, each from its own and its index alone. It can be pickled."""

    name: str

    def __call__(self, images: np.ndarray, first: int) -> np.ndarray:
        """Of images (B, H, W, C), whose indices are `first`, `first + 1`, ..., as many of the same shape, uint8."""


def stored(images: np.ndarray | LazyImages, make: Maker, folder: Path, processes: int | None = None) -> np.ndarray:
    """What `make` gives for `images`. Each chunk in `folder` is whole or absent, and only the absent ones are made.

    Args:
        images: uint8 (N, H, W, C), one at least.
        folder: for these images and this maker alone.
        processes: how many make them; default one for each core that this process may use.

    Raises:
        InputError: no room on the disk, processes that cannot start, fewer than one. What is whole is kept.

    >>> stored(np.zeros((3, 8, 8, 1), "uint8"), deform.ZoomOut(), Path("zoomed"), processes=1).shape
    (3, 8, 8, 1)
    """
    if processes is not None and processes < 1:
        raise InputError(f"processes: expected at least 1, received {processes}; leave it out to use every core")
    size = max(1, CHUNK_BYTES // math.prod(images.shape[1:]))
    paths = {start: folder / f"{start:09}.npy" for start in range(0, len(images), size)}
    lacking = {start: path for start, path in paths.items() if not path.exists()}
    tasks = ((make, images[start : start + size], start, path) for start, path in lacking.items())
    processes = min(processes or len(os.sched_getaffinity(0)), len(lacking))
    try:
        _check_room(folder, min(len(images), size * len(lacking)) * math.prod(images.shape[1:]))
        with tqdm(total=len(images), desc=f"{make.name} images", unit="image", disable=None, leave=False) as progress:
            progress.update(max(0, len(images) - size * len(lacking)))
            for made in (_write(*task) for task in tasks) if processes == 1 else _in_parallel(tasks, processes):
                progress.update(made)
        return np.concatenate([np.load(path) for path in paths.values()])
    except BrokenProcessPool as error:
        raise InputError(
            f"{make.name} images: expected processes that can start and have memory, received one that ended; "
            'put the call under `if __name__ == "__main__":` in a file, or give processes=1'
        ) from error
    except OSError as error:
        raise InputError(
            f"{make.name} images: expected a folder that can hold them, received {folder} ({error.strerror}); "
            "make room or make it writable, then run again: what is whole is kept"
        ) from error


def _in_parallel(tasks: Iterator[tuple], processes: int) -> Iterator[int]:
    """How many images each task wrote, in their order."""
    if not processes:
        return
    with pool(processes) as workers:
        waiting: deque = deque()
        for task in tasks:
            waiting.append(workers.submit(_write, *task))
            if len(waiting) > 2 * processes:  # so that few chunks lie in memory
                yield waiting.popleft().result()
        yield from (future.result() for future in waiting)


def _write(make: Maker, images: np.ndarray, start: int, path: Path) -> int:
    array = io.BytesIO()  # numpy, writing to a file itself, does not say why it could not
    np.save(array, make(images, start))
    write_bytes(path, array.getvalue())
    return len(images)


def _check_room(folder: Path, needed: int) -> None:
    """Refuse before anything is made what would not fit in the end."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"stored images: expected at most {free / 1e9:.2f} GB, which the disk of {folder} has, received "
            f"{needed / 1e9:.2f} GB to store; make room or name another folder"
        )
