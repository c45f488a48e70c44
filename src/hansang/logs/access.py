"""A log line for each request, made where no request waits for it."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from typing import NamedTuple

logger = logging.getLogger("hansang.access")

PAUSE = 0.1  # seconds until requests that are answered are handed to the thread
PATIENCE = 2.0  # seconds at the end for the lines that are left
MOST_WAITING = 100_000  # requests; what comes while so many lines wait is counted, not logged


class Answered(NamedTuple):
    """One request that was answered; `seconds` is the time from its last byte to its answer."""

    client: str
    method: str
    path: str
    status: int
    size: int
    seconds: float
    request_id: str
    trace_id: str
    when: float


class AccessLog:
    """Collects requests on the event loop and logs them, ten times a second, from a thread of its own.

    The loop pays for one tuple a request. Each becomes a record of `hansang.access` with the fields of `Answered` as
    fields of its own. A context manager, entered on the loop; what is left is logged when it is left.
    """

    def __init__(self) -> None:
        self.waiting: list[Answered] = []
        self.queue: queue.SimpleQueue[list[Answered] | None] = queue.SimpleQueue()
        self.missed = 0
        self._queued = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)

    def __enter__(self) -> AccessLog:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._hand_over()
        self._loop = None
        self.queue.put(None)
        self._thread.join(PATIENCE)

    def note(self, answered: Answered) -> None:
        """Take note of a request."""
        waiting = self.waiting
        waiting.append(answered)
        if len(waiting) == 1 and self._loop is not None:
            self._loop.call_later(PAUSE, self._hand_over)

    def _hand_over(self) -> None:
        some, self.waiting = self.waiting, []
        if self._queued > MOST_WAITING:
            self.missed += len(some)
        elif some:
            self._queued += len(some)
            self.queue.put(some)

    def _run(self) -> None:
        while (some := self.queue.get()) is not None:
            for answered in some:
                logger.handle(record_of(answered))
            self._queued -= len(some)
            if self.missed:
                missed, self.missed = self.missed, 0
                logger.warning("%d requests were answered without a line: the log is too slow", missed)


def record_of(answered: Answered) -> logging.LogRecord:
    """Make the record of a request."""
    record = logging.LogRecord(logger.name, logging.INFO, "", 0, Line(answered), None, None)
    record.created = answered.when
    record.msecs = answered.when % 1 * 1000
    facts = vars(record)
    facts.update(answered._asdict())
    del facts["when"]
    return record


class Line:
    """The text of a request's line, made when a formatter asks for it."""

    __slots__ = ("answered",)

    def __init__(self, answered: Answered) -> None:
        self.answered = answered

    def __str__(self) -> str:
        a = self.answered
        return f"{a.client or '-'} {a.method} {a.path} {a.status} {a.size} bytes {a.seconds * 1000:.2f} ms"


def level_is_off() -> bool:
    """Say whether nobody would see the lines."""
    return not logger.isEnabledFor(logging.INFO)
