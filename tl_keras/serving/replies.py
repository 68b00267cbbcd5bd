"""Answers as they go out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

DRAINED = 2**26  # bytes
DRAIN_SECONDS = 2.0


def json_reply(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON.

    >>> json_reply({"status": "ok"}).body
    b'{"status": "ok"}'
    """
    return Response(json.dumps(content).encode(), status, headers, "application/json")


class Parting(Response):
    """An answer after which the connection ends, though the client may still be sending.

    A connection that is closed with unread bytes is reset, and a client that is still writing then never reads the
    answer. So what comes after the answer is read and thrown away, for a moment.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*self.raw_headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        waits = any(name == b"expect" for name, _ in scope["headers"])  # for leave to send: it sends nothing more
        if not waits:
            try:
                async with asyncio.timeout(DRAIN_SECONDS):
                    await _drain(receive)
            except TimeoutError:
                pass
        await send({"type": "http.response.body", "body": b""})


async def _drain(receive: Receive) -> None:
    left = DRAINED
    while left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return
