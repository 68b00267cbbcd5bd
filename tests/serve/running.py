"""A server as users start it, in a process of its own, and what it printed."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx

from tests.isolation import ROOT

START_SECONDS = 120


def hearing():
    """A suite that runs in the background may have been told to ignore Ctrl-C, and its children would."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Server:
    """A process that serves, the address that it named, and its lines."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tl_keras.run", "serve", *map(str, arguments), "--port", "0"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, preexec_fn=hearing,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        self.lines: list[str] = []
        self.port = 0
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._ready.wait(START_SECONDS) and self.port, "".join(self.lines)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def client(self):
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def connected(self, seconds=30):
        return socket.create_connection(("127.0.0.1", self.port), timeout=seconds)

    def wait_for(self, condition, seconds=60):
        """Until something holds; it is asked again and again."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "".join(self.lines)
            time.sleep(0.05)

    def stop(self, number=signal.SIGTERM):
        """Ask it to stop; the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(30)
        self._reader.join(10)
        return code

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            if match := re.match(r"ready: http://127\.0\.0\.1:(\d+)/", line):
                self.port = int(match[1])
                self._ready.set()
        self._ready.set()


@contextmanager
def serving(*arguments):
    """A server that is gone after the block."""
    server = Server(*arguments)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(30)


def said(connection) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next answer on a socket."""
    file = connection.makefile("rb")
    status = int(file.readline().split()[1])
    headers = {}
    while line := file.readline().strip():
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return status, headers, file.read(int(headers.get("content-length", 0)))
