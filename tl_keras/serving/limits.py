"""What one request, and all together, may take of the server: bytes, pixels, images, time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import Request

from tl_keras.serving.refusals import Refused

MEBI = 2**20
AT_ONCE = 16  # largest bodies that are held at the same time


@dataclass(frozen=True)
class Limits:
    """The most that is taken of a client.

    Args:
        body: bytes of a request.
        pixels: of one image; of all images of a request four times as many.
        images: of a request.
        sending: seconds in which a body must have come.
        waiting: seconds in which a request must have been answered.
        queue: images, or requests of other models, that are at work or wait.
    """

    body: int = 32 * MEBI
    pixels: int = 50_000_000
    images: int = 64
    sending: float = 30
    waiting: float = 60
    queue: int = 1024


class Load:
    """What all requests hold of the server at this moment. It belongs to one event loop, and needs no lock.

    >>> with Load(Limits(queue=2)).room(2):
    ...     pass
    """

    def __init__(self, limits: Limits):
        self.limits = limits
        self.bytes = self.at_work = 0

    @contextmanager
    def room(self, rows: int) -> Iterator[None]:
        """Room in the queue for so many images.

        Raises:
            Refused: there is none; an empty queue has room for any request.
        """
        if self.at_work and self.at_work + rows > self.limits.queue:
            raise Refused(429, "the server has as much to do as it takes; try again later", {"retry-after": "1"})
        self.at_work += rows
        try:
            yield
        finally:
            self.at_work -= rows

    @contextmanager
    def held(self) -> Iterator[Body]:
        """A body, whose bytes count until the end of the block."""
        body = Body(self)
        try:
            yield body
        finally:
            self.bytes -= body.size


class Body:
    """The body of a request, read within the limits."""

    def __init__(self, load: Load):
        self._load = load
        self.size = 0

    async def read(self, request: Request) -> bytes:
        """All of it.

        Raises:
            Refused: it is too large (413), too slow (408), or all bodies together are too large (429).
        """
        limits = self._load.limits
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and (len(announced) > 18 or int(announced) > limits.body):
            raise _too_large(limits, f"{announced[:30]} bytes")
        parts = []
        try:
            async with asyncio.timeout(limits.sending):
                async for part in request.stream():
                    self.size += len(part)
                    self._load.bytes += len(part)
                    if self.size > limits.body:
                        raise _too_large(limits, "more")
                    if self._load.bytes > AT_ONCE * limits.body:
                        raise Refused(429, "the server holds as many bytes as it takes; try again later")
                    parts.append(part)
        except TimeoutError:
            raise Refused(
                408, f"body: expected all of it within {limits.sending:g} seconds, received a part; send it faster"
            ) from None
        return b"".join(parts)


def _too_large(limits: Limits, received: str) -> Refused:
    return Refused(
        413, f"body: expected at most {limits.body} bytes, received {received}; send fewer or smaller images at a time"
    )
