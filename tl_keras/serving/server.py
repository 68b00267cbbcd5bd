"""One process that serves an application until it is stopped: accepted requests are answered first."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tl_keras.errors import InputError
from tl_keras.serving.json_answers import error_answer
from tl_keras.serving.store import Store
from tl_keras.stopping import SIGNALS

IDLE_SECONDS = 60  # longer than clients keep a connection for their next request
FINISHING_SECONDS = 10
HEAD_SECONDS = 15.0  # in which the head of a connection's first request must have come
HEAD_BYTES = 2**16


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address; who asks there waits until somebody serves it.

    Raises:
        InputError: there is no such address, or it is taken.

    >>> bound("127.0.0.1", 0).close()
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen()
    except OSError as error:
        raise InputError(
            f"--port: expected an address that is free, received {host}:{port} ({error.strerror}); give another one"
        ) from error
    return found


def serve(app: FastAPI, store: Store, listener: socket.socket) -> None:
    """Answer until Ctrl-C or SIGTERM, then finish what has begun, for at most `FINISHING_SECONDS`.

    Raises:
        tl_keras.stopping.Stopped: by the signal, once all is done.
    """
    config = uvicorn.Config(
        app, http=_Protocol, ws="none", lifespan="off", log_config=None, log_level="critical", access_log=False,
        server_header=False, timeout_keep_alive=IDLE_SECONDS, timeout_graceful_shutdown=FINISHING_SECONDS,
    )  # fmt: skip
    server = _Server(config, store)
    try:
        server.run([listener])
    except KeyboardInterrupt:
        if server.ended:
            raise
        # A version is being loaded, in a thread that nobody can stop. An interpreter that ends breaks it off within
        # TensorFlow's C++ code, and that aborts the process: so the process ends first.
        print("\nstopped", file=sys.stderr, flush=True)
        os._exit(1)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, store: Store):
        super().__init__(config)
        self._store = store
        self.ended = False

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self.ended = await asyncio.to_thread(self._store.close)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """What the process was told to ignore (`nohup`, a job in the background) stays ignored."""
        ignored = [number for number in SIGNALS if signal.getsignal(number) == signal.SIG_IGN]
        with super().capture_signals():
            for number in ignored:
                signal.signal(number, signal.SIG_IGN)
            yield


class _Protocol(HttpToolsProtocol):
    """HTTP whose heads must be short, and the first soon there; mistakes are told in JSON."""

    _head_bytes = 0

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._patience = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete:  # no request is being read: these are of a head
            self._head_bytes += len(data)
        super().data_received(data)
        if self.headers is not None and self._head_bytes > HEAD_BYTES and not self._has_head():
            self.send_400_response("expected a shorter head of the request")

    def on_headers_complete(self) -> None:
        self._patience.cancel()
        self._head_bytes = 0
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        content = error_answer(msg)
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n"
        self.transport.write(f"{head}connection: close\r\n\r\n".encode() + content)
        self.transport.close()

    def _has_head(self) -> bool:
        return self._head_bytes == 0

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
