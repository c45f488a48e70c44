"""One request's rows on their way through the service."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from hansang.call import Call
from hansang.errors import Problem

JSON = b"application/json"
PROBLEM = b"application/problem+json"
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
VALUE = re.compile(r"[\t -~\xa0-\xff]*")


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


def problem_fields(error: Problem | None) -> dict[str, str]:
    """Give the header fields that a problem asks for; raises `ValueError` for one that is not a header field."""
    if error is None:
        return {}
    fields = {str(name).lower(): str(value) for name, value in error.headers.items()}
    if error.retry_after is not None:
        fields["retry-after"] = str(max(1, round(error.retry_after)))
    for name, value in fields.items():
        if not TOKEN.fullmatch(name) or not VALUE.fullmatch(value):
            raise ValueError(f"{name!r}: {value!r} is not a header field")
    return fields
