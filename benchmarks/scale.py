"""How do time, memory and bytes grow with the images, the workers and the trials?

    python -m benchmarks.scale features 1000 10000 100000
    python -m benchmarks.scale workers 4000
    python -m benchmarks.scale shards 4000
    python -m benchmarks.scale head 10000000
    python -m benchmarks.scale trials 100

`features` extracts made-up JPEGs of 64x64 with a MobileNet of width 0.25 at 224 on 1 and 2 workers. `workers` compares
one worker on one core with the plain extraction into one file there, and two workers with one process of two threads,
in turn, three times. `shards` tells what a shard costs beside its images, on each engine. `head` fits a ridge
classifier on made-up feature rows of 1,280 that never lie anywhere whole. `trials` runs as many small trials on each
engine.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES, ROUNDS = 10, 3
NETWORK = ("--backbone", "mobilenet_0.25", "--weights", "none")
ENGINES = ("local", "processes:2", "ray")


def make_images(folder: Path, count: int) -> Path:
    """Noisy JPEGs of 64x64 in class folders."""
    rng = np.random.default_rng(0)
    for number in range(count):
        place = folder / f"class{number % CLASSES}"
        place.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (8, 8, 3), "uint8")
        Image.fromarray(coarse).resize((64, 64)).save(place / f"{number:07}.jpg", quality=90)
    return folder


def extracted(images: Path, to: Path, engine: str, shard_size: int, cores: str = "") -> dict:
    """What `done.json` says of an extraction by a process of its own."""
    command = [sys.executable, "-m", "tl_keras.run", "extract", str(images), *NETWORK, "--to", str(to)]
    command += ["--engine", engine, "--shard-size", str(shard_size)]
    pinned = ["taskset", "-c", cores] if cores else []
    subprocess.run([*pinned, *command], stdout=subprocess.DEVNULL, check=True)
    return json.loads((to / "done.json").read_text())


def features(*counts: str) -> None:
    """Images/s, memory and bytes for so many images on 1 and 2 workers."""
    print("images   workers  images/s  seconds  GB of the largest process  MB written")
    for count in map(int, counts):
        with tempfile.TemporaryDirectory() as folder:
            images = make_images(Path(folder) / "images", count)
            for workers in (1, 2):
                started = time.perf_counter()
                done = extracted(
                    images, Path(folder) / f"to{workers}", f"processes:{workers}", 10_000, f"0-{workers - 1}"
                )
                peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
                print(
                    f"{count:>7,}  {workers}        {done['last_run']['images_per_second']:>7.0f}  "
                    f"{time.perf_counter() - started:>7.0f}  {peak:>25.2f}  {done['bytes'] / 1e6:>10.0f}", flush=True,
                )  # fmt: skip


def plain(images: str) -> None:
    """Decode all images and store what the same network makes of them, as a study does; print the seconds."""
    from tl_keras.data import selection
    from tl_keras.data.decode import decode_files
    from tl_keras.data.splits import Split
    from tl_keras.models import networks
    from tl_keras.training import runtime
    from tl_keras.transfer import activations, shards

    runtime.prepare(seed=0)
    view = networks.view("mobilenet_0.25", mirror=True)
    prefix = shards.to_features(networks.build("mobilenet_0.25", CLASSES, view))
    files = sorted(Path(images).rglob("*.jpg"))
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        pixels, _, _ = decode_files(files, view.loaded)
        split = selection.seen(Split(pixels, np.zeros(len(pixels)), ("any",)), view)
        activations.store(prefix, split, activations.Storage(Path(folder), engine="onnxruntime"))
        print(time.perf_counter() - started)


def workers(count: str) -> None:
    """One worker on one core against the plain extraction there; two workers against two threads."""
    seconds: dict[str, list[float]] = {"plain": [], "one worker": [], "two threads": [], "two workers": []}
    with tempfile.TemporaryDirectory() as folder:
        images = make_images(Path(folder) / "images", int(count))
        size = int(count) // 2
        for turn in range(ROUNDS):
            command = ["taskset", "-c", "0", sys.executable, "-m", "benchmarks.scale", "plain", str(images)]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            seconds["plain"].append(float(said.split()[-1]))
            for name, engine, cores in (
                ("one worker", "local", "0"), ("two threads", "local", "0-1"), ("two workers", "processes:2", "0-1"),
            ):  # fmt: skip
                done = extracted(images, Path(folder) / f"{turn} {name}", engine, size, cores)
                seconds[name].append(done["last_run"]["seconds"])
    for name, against in (("one worker", "plain"), ("two workers", "two threads")):
        pairs = list(zip(seconds[against], seconds[name], strict=True))
        said = "  ".join(f"{one:.1f}/{other:.1f}" for one, other in pairs)
        ratio = statistics.median(one / other for one, other in pairs)
        print(f"{name:<12} {ratio:.2f} times as fast as {against} ({said} s, n = {ROUNDS}, {int(count):,} images)")


def shards(count: str) -> None:
    """Seconds of a shard beside those of its images, by cutting the same images into few and into many."""
    with tempfile.TemporaryDirectory() as folder:
        images = make_images(Path(folder) / "images", int(count))
        for engine in ENGINES:
            costs = []
            for turn in range(ROUNDS):
                few, many = (
                    extracted(images, Path(folder) / f"{turn} {parts} {engine}", engine, int(count) // parts)
                    for parts in (2, 40)
                )
                costs.append((many["last_run"]["seconds"] - few["last_run"]["seconds"]) / 38)
            cost = statistics.median(costs)
            said = " ".join(f"{each:.2f}" for each in costs)
            print(f"{engine:<12} {cost:.2f} s a shard ({said}), {cost / 60:.1%} of a minute (n = {ROUNDS})", flush=True)


def head(rows: str) -> None:
    """A ridge classifier on so many made-up rows."""
    from benchmarks import scale_head

    scale_head.main(rows)


def trials(count: str) -> None:
    """So many small trials on each engine."""
    for engine in ENGINES:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "benchmarks.scale", "run_trials", count, engine, folder],
                stdout=subprocess.DEVNULL, check=True,
            )  # fmt: skip
            took = time.perf_counter() - started
        print(f"{engine:<12} {count} trials in {took:.0f} s, {took / int(count):.2f} s each", flush=True)


def run_trials(count: str, engine: str, folder: str) -> None:
    """The last layer of a small network solved on 200 digits, with so many seeds."""
    from tl_keras.data.selection import Selection
    from tl_keras.data.view import View
    from tl_keras.run_folder import RunFolder
    from tl_keras.study import runner
    from tl_keras.study.trial import Trial, repeated
    from tl_keras.training.schedules import Recipe
    from tl_keras.transfer.strategies import find

    small = Trial(
        "small", "small", "small", Selection("digits", limit=200), View((8, 8)), "cnn", Recipe(1, 32, 1e-3),
        strategy=find("probe"), keep=False,
    )  # fmt: skip
    out = RunFolder.create(Path(folder) / "run", {"experiment": "scale"})
    runner.run(repeated(small, range(int(count))), out, engine)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
