"""`grid_sample` against PyTorch's: forward, with the gradient of the grid, with the gradients of grid and images.

    python benchmarks/grid_sample.py [rounds] [threads]

Ours runs in a graph, as in `fit`, and compiled by XLA, each with a call from Python (some 0.1 ms) that a training step
pays once for all its layers. Both libraries have the same number of threads (default: one per core) and run in turn,
`rounds` times. The fastest of these counts, since whatever else the machine does only ever adds time; where it does
much else, one thread is what can be compared.
"""

from __future__ import annotations

import os
import sys
import time

import keras
import numpy as np
import tensorflow as tf
import torch
from torch.nn import functional

from tl_keras.models.stn import affine_grid, grid_sample

SHAPES = ((64, 28, 28, 1), (64, 32, 32, 3), (8, 224, 224, 3))
CASES = {"forward": (), "and grid gradient": ("grid",), "and both gradients": ("images", "grid")}


def drawn(shape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, a grid that turns and shifts each a little, and the gradient of the result."""
    rng = np.random.default_rng(0)
    theta = np.array([[1, 0.1, 0.1], [-0.1, 1, 0.05]]) + 0.05 * rng.normal(size=(shape[0], 2, 3))
    grid = keras.ops.convert_to_numpy(affine_grid(theta.astype("float32"), shape[1:3]))
    return rng.normal(size=shape).astype("float32"), grid, rng.normal(size=shape).astype("float32")


def ours(images, grid, upstream, wanted, compiled: bool):
    def step(images, grid, upstream):
        with tf.GradientTape() as tape:
            sources = [{"images": images, "grid": grid}[name] for name in wanted]
            tape.watch(sources)
            values = grid_sample(images, grid)
        return values, *tape.gradient(values, sources, upstream)

    inputs = [tf.constant(array) for array in (images, grid, upstream)]
    graph = tf.function(step, jit_compile=compiled).get_concrete_function(*inputs)
    return lambda: graph(*inputs)


def theirs(images, grid, upstream, wanted):
    images, upstream = (torch.tensor(np.moveaxis(array, -1, 1)).contiguous() for array in (images, upstream))
    tensors = {"images": images, "grid": torch.tensor(grid)}
    sources = [tensors[name].requires_grad_() for name in wanted]

    def step():
        values = functional.grid_sample(tensors["images"], tensors["grid"], align_corners=False)
        return values, *(torch.autograd.grad(values, sources, upstream) if sources else ())

    return step


def largest_difference(results, reference) -> float:
    differences = []
    for received, expected in zip(results, reference, strict=True):
        expected = expected.detach().numpy()
        expected = expected if expected.shape == received.shape else np.moveaxis(expected, 1, -1)
        differences.append(np.abs(received - expected).max() / np.abs(expected).max())
    return max(differences)


def main(rounds: int, threads: int) -> None:
    torch.set_num_threads(threads)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    print(f"fastest of {rounds}, {threads} threads, torch {torch.__version__}, TensorFlow {tf.__version__}")
    for shape in SHAPES:
        arrays = drawn(shape)
        for case, wanted in CASES.items():
            steps = {"torch": theirs(*arrays, wanted)}
            steps |= {name: ours(*arrays, wanted, name == "XLA") for name in ("graph", "XLA")}
            results = {name: step() for name, step in steps.items()}
            difference = max(largest_difference(results[name], results["torch"]) for name in ("graph", "XLA"))
            seconds = {name: [] for name in steps}
            for _ in range(rounds):
                for name, step in steps.items():
                    step()  # whatever ran before leaves the caches to the other
                    started = time.perf_counter()
                    step()
                    seconds[name].append(time.perf_counter() - started)
            best = {name: 1000 * min(values) for name, values in seconds.items()}
            print(
                f"{shape!s:<18} {case:<18} torch {best['torch']:7.3f} ms, "
                f"graph {best['graph']:7.3f} ms ({best['graph'] / best['torch']:5.1f} times), "
                f"XLA {best['XLA']:7.3f} ms ({best['XLA'] / best['torch']:4.1f} times), "
                f"relative difference {difference:.0e}",
                flush=True,
            )


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 200,
        int(sys.argv[2]) if len(sys.argv) > 2 else len(os.sched_getaffinity(0)),
    )
