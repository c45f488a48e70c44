"""One request's rows on their way through the service."""

from __future__ import annotations

import asyncio
from typing import Any

from hansang.call import Call
from hansang.errors import Problem

JSON = b"application/json"
PROBLEM = b"application/problem+json"


class Ask:
    """One request's rows on their way through the service; a subclass knows how to send the answer.

    `raw` is the body of a single row that may be recorded as it came.
    """

    __slots__ = ("answered", "calls", "many", "raw", "rows", "started", "timer")

    def __init__(self, rows: list[Any], calls: list[Call], many: bool, raw: bytes | None, started: float) -> None:
        self.rows = rows
        self.calls = calls
        self.many = many
        self.raw = raw
        self.started = started
        self.answered = False
        self.timer: asyncio.TimerHandle | None = None

    def deliver(self, status: int, media: bytes, body: bytes, id: str, version: str, error: Problem | None) -> None:
        """Send the answer."""
        raise NotImplementedError(f"{type(self).__name__} has no way to send an answer")

    def leave(self) -> None:
        """Note that nobody waits for the answer any more."""
        for call in self.calls:
            call.gone = True
