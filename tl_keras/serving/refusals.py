"""What a request is refused with, besides the mistakes in it (`InputError`, 400)."""

from __future__ import annotations

from collections.abc import Mapping


class Refused(Exception):
    """An answer with another status than 200: no such model, too large, too late, too many.

    Args:
        status: the HTTP status, 4xx.
        reason: what the answer says.
        headers: what it has besides.

    >>> Refused(404, "no such model").status
    404
    """

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None):
        super().__init__(reason)
        self.status, self.headers = status, dict(headers or {})
