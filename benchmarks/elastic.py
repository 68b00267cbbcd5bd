"""Elastic deformation of MNIST: `data.deform` with one and two processes, against a bare loop over `elasticdeform`.

    python benchmarks/elastic.py [images] [rounds]

The bare loop deforms every image with `deform_random_grid` (cubic, the same sigma) and keeps the results in a list: no
seed for each image, no rounding to uint8, nothing stored. All ways run in turn, `rounds` times, each from nothing; each
process of `data.deform` starts anew, as it does for a user. Where other work shares the cores, only images per CPU
second (of this process and those it started) say something of one core.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time

import elasticdeform
import numpy as np

from tl_keras.data import deform, sources
from tl_keras.data.splits import Split


def bare_loop(split: Split) -> None:
    images, sigma = split.images[..., 0].astype("float32"), deform.Elastic().sigma * 28
    [elasticdeform.deform_random_grid(image, sigma=sigma, points=3) for image in images]


def one_process(split: Split) -> None:
    with tempfile.TemporaryDirectory() as folder:
        deform.deformed(split, deform.Elastic(), folder, processes=1)


def two_processes(split: Split) -> None:
    with tempfile.TemporaryDirectory() as folder:
        deform.deformed(split, deform.Elastic(), folder, processes=2)


def cpu_seconds() -> float:
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def main(images: int, rounds: int) -> None:
    train = sources.load("mnist").train
    rows = np.resize(np.arange(len(train)), images)
    split = Split(train.images[rows, ..., :1], train.labels[rows], train.class_names)
    rates = {way: [] for way in (bare_loop, one_process, two_processes)}
    for _ in range(rounds):
        for way, values in rates.items():
            started, used = time.perf_counter(), cpu_seconds()
            way(split)
            values.append((images / (time.perf_counter() - started), images / (cpu_seconds() - used)))
    middle = {way: [statistics.median(column) for column in zip(*values, strict=True)] for way, values in rates.items()}
    for way, values in rates.items():
        by_clock, by_core = ("".join(f"{rate:7,.0f}" for rate in column) for column in zip(*values, strict=True))
        print(f"{way.__name__:<13}  images/s{by_clock}   images per CPU second{by_core}")
    (_, bare), (one, one_core), (two, two_core) = middle.values()
    print(
        f"per core one process makes {one_core / bare:.2f} times the images of the bare loop, two {two_core / bare:.2f}"
    )
    print(f"two processes make {two / one:.2f} times the images of one in the same time")
    print(f"({images:,} images, n = {rounds})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60_000, int(sys.argv[2]) if len(sys.argv) > 2 else 3)
