"""A linear head from made-up feature rows of 1,280 that never lie in memory together: time and memory.

    python -m benchmarks.scale_head [ROWS HEAD]

HEAD is `ridge` or `softmax` (`transfer.streamed`). Row i is the centre of a class plus two of 8,191 rows of correlated
noise, another pair for each i: to make one costs two copies and a sum. What making all rows takes alone, in place of
reading them, is printed first. The head is tried on rows behind those that it was fitted to.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

from tl_keras.transfer import moments, streamed

WIDTH, CLASSES, NEW = 1280, 10, 20_000
DISTANCE = 0.05  # of the centres, in deviations of the noise
NOISES = 8191  # a prime: no two rows below its square are made of the same pair


class MadeUp:
    """Rows that are made when they are read, always the same, from the first of them on; `read` counts them."""

    def __init__(self, labels: np.ndarray, first: int = 0):
        rng = np.random.default_rng(0)
        self.labels, self.first, self.read = labels, first, 0
        self.shape, self.dtype = (len(labels), WIDTH), np.dtype("float32")
        strength = 1 / np.sqrt(np.arange(1, WIDTH + 1))
        mixing = rng.normal(size=(WIDTH, WIDTH)) * strength[:, None]
        centres = DISTANCE * rng.normal(size=(CLASSES, WIDTH)) @ mixing + rng.normal(size=WIDTH)
        self.centres = centres.astype("float32")
        self.noises = (rng.normal(size=(NOISES, WIDTH)) @ mixing / np.sqrt(2)).astype("float32")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice) -> np.ndarray:
        self.read += rows.stop - rows.start
        numbers = np.arange(self.first + rows.start, self.first + rows.stop)
        made = self.noises[numbers % NOISES]
        made += self.noises[(numbers + numbers // NOISES + 1) % NOISES]
        made += self.centres[self.labels[rows]]
        return made


def main(rows: str = "200000", head: str = "ridge") -> None:
    labels = np.random.default_rng(1).integers(0, CLASSES, int(rows) + NEW)
    features = MadeUp(labels[:-NEW])
    started = time.perf_counter()
    for start in range(0, len(features), moments.CHUNK):
        features[start : min(start + moments.CHUNK, len(features))]
    print(f"{len(features):,} rows made in {time.perf_counter() - started:.1f} s", flush=True)
    features.read, started, used = 0, time.perf_counter(), time.process_time()
    found = getattr(streamed, head)(features, features.labels, CLASSES)
    took, used = time.perf_counter() - started, time.process_time() - used
    new = MadeUp(labels[-NEW:], first=len(features))[0:NEW]
    right = ((new @ found.weights + found.bias).argmax(axis=1) == labels[-NEW:]).mean()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{head}: {took / 60:.2f} minutes ({used / 60:.2f} of processors), {features.read / len(features):.0f} passes, "
        f"{features.read / took:,.0f} rows/s, C = {found.penalty:.3g}, right {right:.4f}, peak {peak:.2f} GB"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
