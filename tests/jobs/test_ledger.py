"""What becomes of jobs is written soon, and whoever notes it never waits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from hansang.errors import JobsError
from hansang.jobs.ledger import Ledger
from hansang.jobs.store import JobRow, MemoryStore
from hansang.testing import on_loop, turns


class Held(MemoryStore):
    """Writes when a test says so, and keeps what each write had."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.writes: list[list[JobRow]] = []
        self.broken = False

    async def put(self, rows: Sequence[JobRow]) -> None:
        self.writes.append(list(rows))
        await self.gate.wait()
        if self.broken:
            raise JobsError("disk full")
        await super().put(rows)


def row(number: int, state: str = "queued") -> JobRow:
    return JobRow("a", number, state, 9e9)  # type: ignore[arg-type]  # a state is one of few words


@on_loop
async def test_what_is_noted_during_a_write_goes_with_the_next_and_only_its_newest_state() -> None:
    store = Held()
    async with Ledger(store) as ledger:
        ledger.note([row(0)])
        await turns()
        ledger.note([row(1), row(2)])
        ledger.note([row(0, "running"), row(1, "done")])
        store.gate.set()
        await ledger.saved()
        assert store.writes == [[row(0)], [row(1, "done"), row(2), row(0, "running")]]
        assert await store.get("a") == [row(0, "running"), row(1, "done"), row(2)]


@on_loop
async def test_a_write_that_fails_is_tried_again_and_newer_states_win(caplog: pytest.LogCaptureFixture) -> None:
    store = Held()
    store.broken = True
    store.gate.set()
    async with Ledger(store, retry=0.0) as ledger:
        ledger.note([row(0), row(1)])
        await turns()
        ledger.note([row(0, "done")])
        assert not ledger._saved.is_set()
        store.broken = False
        await ledger.saved()
        assert await store.get("a") == [row(0, "done"), row(1)]
    assert "2 rows wait: disk full" in caplog.text


@on_loop
async def test_what_cannot_be_written_at_the_end_is_told(caplog: pytest.LogCaptureFixture) -> None:
    store = Held()
    async with Ledger(store, finish=0.01) as ledger:
        ledger.note([row(0)])
        await turns()
        ledger.note([row(1)])
    assert "the states of 2 rows are not in" in caplog.text
