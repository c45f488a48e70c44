"""Where rows that are answered later are kept: the contract, and a store in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

State = Literal["queued", "running", "done", "failed"]

SWEEP = 60.0  # seconds between looks for rows that have expired
OPEN: tuple[State, ...] = ("queued", "running")


@dataclass(frozen=True, slots=True)
class JobRow:
    """One row that is answered later, under the id of its prediction, and what became of it so far.

    `result` is JSON: the prediction of a row that is done, the problem document of one that failed. It is kept until
    `expires`, in seconds since the epoch.
    """

    id: str
    row: int
    state: State
    expires: float
    result: bytes = b""


class JobStore(Protocol):
    """Keeps rows under their id and number; any process that has the same store can answer for any other.

    A row whose process died while it was open is given as failed, never as running for ever. It is entered before it
    is used, as often as there are users of it.
    """

    async def put(self, rows: Sequence[JobRow]) -> None:
        """Write rows, all or none; one that is known is replaced. Raises `JobsError` when they cannot be written."""

    async def get(self, id: str) -> list[JobRow]:
        """Give the rows of an id in their order, none when nothing is known of it, or not any more."""

    async def __aenter__(self) -> Any: ...

    async def __aexit__(self, *exc: object) -> None: ...


@dataclass(slots=True, eq=False)
class MemoryStore:
    """Keeps rows in this process: for tests, and for a single process whose restarts may lose them."""

    clock: Callable[[], float] = time.time
    rows: dict[str, dict[int, JobRow]] = field(default_factory=dict)
    swept: float = float("-inf")

    async def put(self, rows: Sequence[JobRow]) -> None:
        """Write rows, and forget those whose time is over."""
        for row in rows:
            self.rows.setdefault(row.id, {})[row.row] = row
        now = self.clock()
        if now - self.swept < SWEEP:
            return
        self.swept = now
        for id in [id for id, known in self.rows.items() if all(row.expires <= now for row in known.values())]:
            del self.rows[id]

    async def get(self, id: str) -> list[JobRow]:
        """Give the rows of an id in their order."""
        known = self.rows.get(id, {})
        return [known[number] for number in sorted(known)]

    async def __aenter__(self) -> MemoryStore:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None
