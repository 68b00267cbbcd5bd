"""How fast a served model answers over HTTP, beside the same SavedModel called in one process.

    python -m benchmarks.serving MODEL IMAGES [ROUNDS]

MODEL is `saved_models/NAME`, IMAGES a folder of image files; each request holds one. The first answer after `ready`. In
turn, ROUNDS times: the server with 8 clients that ask again at once, and the signature `serving_default` of it here, in
batches as large as the server's were in the mean. Latency at half of that throughput, requests coming evenly. Memory of
the server's process over 20,000 requests. All of it on this machine, at 127.0.0.1.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import queue
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil

from tl_keras.config import environment
from tl_keras.data.layouts import IMAGE_SUFFIXES

CLIENTS, SECONDS, MEMORY_REQUESTS, MEMORY_EVERY = 8, 20, 20_000, 4_000


class Served:
    """A server of its own process, at a port of 127.0.0.1, and how to ask it."""

    def __init__(self, process: subprocess.Popen, port: int):
        self.process, self.port = process, port

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def get(self, path: str) -> str:
        connection = self.connection()
        connection.request("GET", path)
        with connection.getresponse() as response:
            return response.read().decode()

    def number(self, pattern: str) -> float:
        """The sum of a metric's samples."""
        return sum(float(each) for each in re.findall(rf"^{pattern}(?:{{.*}})? (\S+)$", self.get("/metrics"), re.M))

    @property
    def megabytes(self) -> float:
        return psutil.Process(self.process.pid).memory_info().rss / 1e6


@contextmanager
def served(folder: Path, *options: str) -> Iterator[Served]:
    """A server that is ready, and gone after the block."""
    command = [sys.executable, "-m", "tl_keras.run", "serve", str(folder), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if found := re.search(r"ready: http://127\.0\.0\.1:(\d+)/", line):
                break
            print(" ", line.strip(), flush=True)
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield Served(process, int(found[1]))
    finally:
        process.terminate()
        process.wait(30)


def bodies(folder: Path, most: int = 256) -> tuple[list[bytes], list[bytes]]:
    """Image files, and the request for each."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)[:most]
    files = [path.read_bytes() for path in paths]
    return files, [json.dumps({"instances": [{"b64": base64.b64encode(file).decode()}]}).encode() for file in files]


def ask(connection: http.client.HTTPConnection, path: str, body: bytes) -> int:
    connection.request("POST", path, body, {"content-type": "application/json"})
    with connection.getresponse() as response:
        response.read()
        return response.status


def closed_loop(server: Served, path: str, requests: list[bytes], seconds: float, most: int = 10**9) -> list[float]:
    """The latencies of `CLIENTS` clients that ask again as soon as they are answered, for so long or so many."""
    end, turns, latencies = time.perf_counter() + seconds, itertools.count(), list[float]()

    def client() -> None:
        connection = server.connection()
        while (started := time.perf_counter()) < end and (turn := next(turns)) < most:
            assert ask(connection, path, requests[turn % len(requests)]) == 200
            latencies.append(time.perf_counter() - started)

    in_threads(client, CLIENTS)
    return latencies


def open_loop(server: Served, path: str, requests: list[bytes], rate: float, seconds: float) -> list[float]:
    """The latencies of requests that come evenly, `rate` a second, from when each was due."""
    due, latencies = queue.SimpleQueue[float | None](), list[float]()
    start = time.perf_counter() + 0.5
    for turn in range(int(rate * seconds)):
        due.put(start + turn / rate)

    def client() -> None:
        connection = server.connection()
        while not due.empty():
            moment = due.get()
            time.sleep(max(0.0, moment - time.perf_counter()))
            assert ask(connection, path, requests[int(moment * 1e4) % len(requests)]) == 200
            latencies.append(time.perf_counter() - moment)

    in_threads(client, 4 * CLIENTS)
    return latencies


def in_threads(work, count: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_process(version: Path, files: list[bytes], rows: int, seconds: float) -> float:
    """Images per second of the SavedModel's own reading of files, in batches of `rows`."""
    from tl_keras.quiet import import_tensorflow, tf

    import_tensorflow()
    model = tf.saved_model.load(str(version))
    batches = [tf.constant([files[(start + row) % len(files)] for row in range(rows)]) for start in range(0, 256, rows)]
    answer = model.signatures["serving_default"]
    answer(images=batches[0])
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        answer(images=batches[done % len(batches)])
        done += 1
    return done * rows / (time.perf_counter() - started)


def throughput(
    folder: Path, server: Served, path: str, files: list[bytes], requests: list[bytes], rounds: int
) -> float:
    version = max((each for each in folder.iterdir() if each.name.isdecimal()), key=lambda each: int(each.name))
    rates, ratios = [], []
    for _ in range(rounds):
        before = [server.number(f"tl_keras_batch_rows_{part}") for part in ("sum", "count")]
        latencies = closed_loop(server, path, requests, SECONDS)
        total, count = (
            server.number(f"tl_keras_batch_rows_{part}") - old
            for part, old in zip(("sum", "count"), before, strict=True)
        )
        rows = max(1, round(total / count))
        alone = in_process(version, files, rows, SECONDS)
        rates.append(len(latencies) / SECONDS)
        ratios.append(rates[-1] / alone)
        p50, p99 = np.quantile(latencies, [0.5, 0.99])
        print(f"server {rates[-1]:7.1f} requests/s, p50 {1e3 * p50:.1f} ms, p99 {1e3 * p99:.1f} ms, batches of "
              f"{total / count:.1f}; in process {alone:7.1f} images/s in batches of {rows}", flush=True)  # fmt: skip
    print(f"throughput of the server over the SavedModel in process: {statistics.median(ratios):.2f} (n = {rounds})")
    return statistics.median(rates)


def main() -> None:
    folder, (files, requests) = Path(sys.argv[1]), bodies(Path(sys.argv[2]))
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    path = f"/v1/models/{folder.name}:predict"
    print(
        f"{folder.name}, {len(files)} images of {statistics.mean(map(len, files)) / 1e3:.0f} kB; "
        f"{environment()['hardware']}"
    )
    with served(folder) as server:
        connection, started = server.connection(), time.perf_counter()
        assert ask(connection, path, requests[0]) == 200
        first = time.perf_counter() - started
        steady = []
        for turn in range(200):
            started = time.perf_counter()
            ask(connection, path, requests[turn % len(requests)])
            steady.append(time.perf_counter() - started)
        p50 = statistics.median(steady)
        print(f"one client: first answer {1e3 * first:.1f} ms, {first / p50:.1f} times the p50 of {1e3 * p50:.1f} ms")
        rate = throughput(folder, server, path, files, requests, rounds)
        for _ in range(rounds):
            low, high = np.quantile(open_loop(server, path, requests, rate / 2, SECONDS), [0.5, 0.99])
            print(
                f"half load, {rate / 2:.1f} requests/s: p50 {1e3 * low:.1f} ms, p99 {1e3 * high:.1f} ms, "
                f"{high / low:.2f} times"
            )
        print("megabytes after each", f"{MEMORY_EVERY:,} requests:", end=" ")
        for _ in range(MEMORY_REQUESTS // MEMORY_EVERY):
            closed_loop(server, path, requests, 600, MEMORY_EVERY)
            print(f"{server.megabytes:.0f}", end=" ", flush=True)
        print()


if __name__ == "__main__":
    main()
