"""What a server does under load when requests are bad, and when versions come, break and go.

    python -m benchmarks.serving_faults MODEL IMAGES [SECONDS]

MODEL is `saved_models/NAME`, IMAGES a folder of image files. 32 clients ask for SECONDS (120), one request in five is
bad: JSON that is none, bad base64, no image, an enormous one in a small file, a wrong shape, an unknown model, a body
that is too large, a sender that is too slow. Then 20 new versions come while 8 clients ask, every fourth one damaged.
Each good request has to be answered with 200 and the right class; each bad one with a 4xx. All of it at 127.0.0.1.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import random
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from PIL import Image

from benchmarks.serving import Served, bodies, in_threads, served

CLIENTS, BAD_SHARE, LARGEST = 32, 0.2, 4  # megabytes of a body that the server takes
RELOADS, DAMAGED_EVERY, RELOAD_CLIENTS = 20, 4, 8
SLOW_SECONDS = 5


def bomb() -> str:
    """An image of 10,000 times 10,000 pixels in a few hundred kilobytes, in base64."""
    buffer = io.BytesIO()
    Image.new("L", (10_000, 10_000)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def instances(*given) -> bytes:
    return json.dumps({"instances": list(given)}).encode()


def bad_requests(name: str, good: bytes) -> dict[str, tuple[str, bytes]]:
    """A path and a body of each kind; `slow` is sent byte by byte."""
    path = f"/v1/models/{name}:predict"
    return {
        "bad JSON": (path, good[:-2]),
        "nested brackets": (path, b"[" * 500_000),
        "bad base64": (path, instances({"b64": "?" * 1000})),
        "no image": (path, instances({"b64": base64.b64encode(b"no image at all").decode()})),
        "half an image": (path, instances({"b64": json.loads(good)["instances"][0]["b64"][:4000]})),
        "bomb": (path, instances({"b64": bomb()})),
        "wrong shape": (path, json.dumps({"signature_name": "pixels", "instances": [[[1.0]]]}).encode()),
        "unknown model": ("/v1/models/nobody:predict", good),
        "huge body": (path, b" " * ((LARGEST + 1) << 20)),
        "slow": (path, good),
    }


def send(server: Served, path: str, body: bytes, slow: bool = False) -> tuple[int, bytes]:
    """Status and answer of one request on a connection of its own."""
    if slow:
        return slowly(server, path, body)
    connection = server.connection()
    with suppress(BrokenPipeError, ConnectionResetError):  # a body that is too large is refused while it is sent
        connection.request("POST", path, body, {"content-type": "application/json"})
    with connection.getresponse() as response:
        return response.status, response.read()


def slowly(server: Served, path: str, body: bytes) -> tuple[int, bytes]:
    """A sender of a few bytes a second, who gives up after a while."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as opened:
        opened.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode())
        opened.settimeout(0.5)
        for turn in range(4 * SLOW_SECONDS):
            try:
                opened.sendall(body[turn : turn + 1])
                if answer := opened.recv(65536):
                    return int(answer.split()[1]), answer
            except TimeoutError:
                continue
    return 0, b""


def malformed(server: Served, name: str, requests: list[bytes], seconds: float) -> None:
    path, bad = f"/v1/models/{name}:predict", bad_requests(name, requests[0])
    right = [json.loads(send(server, path, body)[1])["predictions"][0]["class"] for body in requests]
    end, told, turns = time.perf_counter() + seconds, Counter[str](), itertools.count()

    def client() -> None:
        draw = random.Random(next(turns))
        while time.perf_counter() < end:
            if draw.random() < BAD_SHARE:
                kind = draw.choice(list(bad))
                status, _ = send(server, *bad[kind], slow=kind == "slow")
                told[f"{kind}: {status}"] += 1
                continue
            row = draw.randrange(len(requests))
            status, answer = send(server, path, requests[row])
            good = status == 200 and json.loads(answer)["predictions"][0]["class"] == right[row]
            told["good: 200, the right class" if good else f"good: LOST with {status}"] += 1

    in_threads(client, CLIENTS)
    print(f"{CLIENTS} clients, {seconds:.0f} seconds, one request in five bad")
    for kind, count in sorted(told.items()):
        print(f"  {kind:<30} {count:>7,}")
    failed = sum(count for kind, count in told.items() if kind.split(": ")[1].startswith("5"))
    lost = sum(count for kind, count in told.items() if "LOST" in kind)
    print(f"  5xx: {failed}; good requests lost: {lost} of {told['good: 200, the right class'] + lost:,}", flush=True)


def reloads(server: Served, name: str, folder: Path, request: bytes) -> None:
    """New versions of `folder` under load; the newest whole one has to answer in the end."""
    path, done, told = f"/v1/models/{name}:predict", threading.Event(), Counter[int]()

    def client() -> None:
        connection = server.connection()
        while not done.is_set():
            connection.request("POST", path, request, {"content-type": "application/json"})
            with connection.getresponse() as response:
                response.read()
                told[response.status] += 1

    threads = [threading.Thread(target=client) for _ in range(RELOAD_CLIENTS)]
    for thread in threads:
        thread.start()
    first = max(int(each.name) for each in folder.iterdir() if each.name.isdecimal())
    damaged = 0
    for number in range(first + 1, first + 1 + RELOADS):
        broken = (number - first) % DAMAGED_EVERY == 0
        damaged += broken
        add(folder, first, number, broken)
        wait(server, name, number, "END" if broken else "AVAILABLE")
    done.set()
    for thread in threads:
        thread.join()
    lost = sum(count for status, count in told.items() if status != 200)
    print(
        f"{RELOADS} versions under load, {damaged} of them damaged: {told[200]:,} good requests answered, {lost} lost"
    )
    print(f"the server holds {server.megabytes:.0f} MB then", flush=True)


def add(folder: Path, first: int, number: int, broken: bool) -> None:
    """A copy of the first version under another number; of a damaged one half of the weights is lost."""
    hidden = folder / f".copied-{number}"
    shutil.copytree(folder / str(first), hidden)
    if broken:
        (weights,) = (hidden / "variables").glob("*.data-*")
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    hidden.rename(folder / str(number))


def wait(server: Served, name: str, number: int, state: str) -> None:
    for _ in range(600):
        statuses = json.loads(server.get(f"/v1/models/{name}"))["model_version_status"]
        if state in [each["state"] for each in statuses if each["version"] == str(number)]:
            return
        time.sleep(0.1)
    raise SystemExit(f"version {number} is not {state} after a minute: {statuses}")


def main() -> None:
    model, (_, requests) = Path(sys.argv[1]), bodies(Path(sys.argv[2]), 64)
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 120
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / model.name
        shutil.copytree(model, folder)
        with served(Path(place), "--body", str(LARGEST), "--sending", str(SLOW_SECONDS)) as server:
            malformed(server, model.name, requests, seconds)
            reloads(server, model.name, folder, requests[0])


if __name__ == "__main__":
    main()
