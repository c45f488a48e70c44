"""What becomes of jobs, on its way into their store: off the event loop, many rows a write."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from hansang.errors import JobsError
from hansang.jobs.store import JobRow, JobStore

log = logging.getLogger("hansang")


@dataclass(slots=True, eq=False)
class Ledger:
    """Writes rows into a store while it is entered; who notes a row never waits.

    All that is noted while a write is under way goes with the next one. A write that fails is tried again after `retry`
    seconds, with what came meanwhile; who bounds the number of rows waits for `saved`. Left, it has `finish` seconds
    for the rest, and logs how many rows stay unwritten.
    """

    store: JobStore
    retry: float = 1.0
    finish: float = 2.0
    writing: dict[tuple[str, int], JobRow] = field(default_factory=dict)
    pending: dict[tuple[str, int], JobRow] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _saved: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, rows: Iterable[JobRow]) -> None:
        """Have rows written soon."""
        self.pending.update(((row.id, row.row), row) for row in rows)
        self._saved.clear()
        self._wake.set()

    async def saved(self) -> None:
        """Wait until all that was noted is in the store."""
        await self._saved.wait()

    async def __aenter__(self) -> Ledger:
        await self.store.__aenter__()
        self._saved.set()
        self.task = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.task is not None:
            try:
                await asyncio.wait_for(self._saved.wait(), self.finish)
            except TimeoutError:
                left = len(self.writing | self.pending)
                log.error("the states of %d rows are not in %r; they will be found as failed", left, self.store)
            self.task.cancel()
            await asyncio.wait({self.task})
            self.task = None
        await self.store.__aexit__(*exc)

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self.writing, self.pending = self.pending, {}
            try:
                await self.store.put(list(self.writing.values()))
            except Exception as error:
                self.pending = self.writing | self.pending
                log.error("%r: %d rows wait: %s", self.store, len(self.writing), error, exc_info=known(error))
                await asyncio.sleep(self.retry)
                self._wake.set()
            self.writing = {}
            if not self.pending:
                self._saved.set()


def known(error: Exception) -> Exception | None:
    """Give an error whose place matters: one that the store did not expect."""
    return None if isinstance(error, JobsError) else error
