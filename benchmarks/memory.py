"""Peak memory of a study: the resident memory of its process and of the notebook's, sampled ten times a second.

    python benchmarks/memory.py cifar_ab --epochs 2

The memory of a training does not grow with its epochs, so two are enough.
"""

from __future__ import annotations

import sys
import tempfile
import time

import psutil


def main(arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tl_keras.run", *arguments, "--out", f"{folder}/run"]
        process = psutil.Popen(command, cwd=folder)
        alone = together = 0
        while process.poll() is None:
            sizes = [resident(each) for each in family(process)]
            alone, together = max(alone, *sizes, 0), max(together, sum(sizes))
            time.sleep(0.1)
    print(f"peak: largest process {alone / 1e9:.2f} GB, all processes together {together / 1e9:.2f} GB")


def family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


if __name__ == "__main__":
    main(sys.argv[1:])
