"""Does the memory of an extraction stay flat when the images become ten times as many?

    python benchmarks/extraction_memory.py [BACKBONE IMAGES]

MNIST-sized images are scaled to 224x224 when they are read. Each extraction runs in a process of its own, in turn,
three times; the figure is the peak of its resident memory.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 3


def extract(backbone: str, count: int) -> None:
    import numpy as np

    from tl_keras.data.lazy import Resized
    from tl_keras.data.splits import Split
    from tl_keras.models import backbones
    from tl_keras.training import runtime
    from tl_keras.transfer import activations, frozen, strategies

    runtime.prepare(seed=0)
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28, 3), "uint8")
    model = backbones.build(backbone, classes=10)
    strategies.set_trainable(model, strategies.Phase(last_layers=1))
    prefix, _ = frozen.split_frozen(model)
    split = Split(Resized(images, (224, 224)), np.zeros(count), ("digit",))
    with tempfile.TemporaryDirectory() as folder:
        activations.store(prefix, split, activations.Storage(Path(folder)))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)


def main(backbone: str = "mobilenet_0.25", count: str = "600") -> None:
    peaks = {int(count): [], 10 * int(count): []}
    for _ in range(ROUNDS):
        for images, values in peaks.items():
            command = [sys.executable, __file__, "extract", backbone, str(images)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            values.append(float(done.stdout.split()[-1]))
    few, many = (sorted(values)[ROUNDS // 2] for values in peaks.values())
    for images, values in peaks.items():
        print(f"{images:>6} images: peak " + " ".join(f"{value:.2f}" for value in values) + " GB")
    print(f"{backbone}: ten times the images take {many / few:.2f} times the memory (n = {ROUNDS})")


if __name__ == "__main__":
    if sys.argv[1:2] == ["extract"]:
        extract(sys.argv[2], int(sys.argv[3]))
    else:
        main(*sys.argv[1:])
