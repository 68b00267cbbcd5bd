"""Two replicas on Ray Serve answer as the server does, at the loopback address alone, and end together."""

import importlib.util
import os
import signal
import subprocess
import sys
import time

import httpx
import psutil
import pytest

from tests.fresh import ROOT
from tests.serving import models as made

if not importlib.util.find_spec("ray"):  # to import it would settle, for all tests, what it reads of the environment
    pytest.skip("needs ray[serve]", allow_module_level=True)
PATIENCE = 120


def free_port():
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def asked(port, path, body):
    # By no proxy, whatever the environment says: other tests name one that refuses.
    answer = httpx.post(f"http://127.0.0.1:{port}{path}", json=body, timeout=30, trust_env=False)
    assert answer.status_code == 200
    return answer.json()


def test_two_replicas(tmp_path):
    made.half_plus_two(tmp_path / "half_plus_two/1")
    port = free_port()
    command = [sys.executable, "-m", "tl_keras.run", "serve", ".", "--engine", "ray", "--port", str(port)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + PATIENCE
        for line in process.stdout:
            assert time.monotonic() < end
            if line.startswith("ready:"):
                break
        assert f"http://127.0.0.1:{port}/ answers with 2 replicas" in line
        body = {"instances": [1.0, 2.0, 5.0]}
        for _ in range(10):
            assert asked(port, "/v1/models/half_plus_two:predict", body) == {"predictions": [2.5, 3.0, 4.5]}
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        assert sum("ServeReplica" in " ".join(each.cmdline()) for each in family) == 2
        listening = [each.laddr.ip for one in family for each in one.net_connections() if each.status == "LISTEN"]
        assert listening and {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 1
        _, alive = psutil.wait_procs(family, timeout=30)
        assert alive == []
    finally:
        if process.poll() is None:
            for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                each.kill()
        process.wait()
