"""Peak memory of a study: of its process alone, and together with the notebook's, sampled ten times a second.

    python benchmarks/memory.py cifar_ab --epochs 2

The memory of a training does not grow with its epochs, so two are enough. Together they are counted by proportional
set size, where a page of TensorFlow's libraries that both processes share counts once.
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
            sizes = [memory(each) for each in family(process)]
            alone = max([alone] + [resident for resident, _ in sizes])
            together = max(together, sum(proportional for _, proportional in sizes))
            time.sleep(0.1)
    print(f"peak: largest process {alone / 1e9:.2f} GB resident, all processes together {together / 1e9:.2f} GB")


def family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory(process: psutil.Process) -> tuple[int, int]:
    try:
        sizes = process.memory_full_info()
        return sizes.rss, sizes.pss
    except psutil.NoSuchProcess:
        return 0, 0


if __name__ == "__main__":
    main(sys.argv[1:])
