"""A quick answer now, and the slow one under the same id later."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import from_json

from hansang import Batch, Call, Problem, UsageError, node, shadow, staged
from hansang.errors import JobsError
from hansang.jobs.sqlite import SqliteStore
from hansang.jobs.store import JobRow, MemoryStore
from hansang.nodes.staged import Staged
from hansang.site import Site
from hansang.testing import on_loop, turns
from tests.nodes.running import Record, batch_of, counted, running

ROWS = "hansang_staged_rows_total"


@node
def quick(batch: Batch) -> list[Any]:
    return [row * 2 for row in batch.rows]


class Teapot(Problem):
    status = 418
    title = "I am a teapot"


def held(gate: asyncio.Event) -> Any:
    @node
    async def slow(batch: Batch) -> list[Any]:
        await gate.wait()
        return [Teapot("short") if row == 13 else KeyError("private") if row == 14 else row * 3 for row in batch.rows]

    return slow


async def saved(graph: Staged) -> None:
    await graph._work[0][1].ledger.saved()


async def states(graph: Staged, *ids: str) -> list[str]:
    await saved(graph)
    (store,) = graph.stores
    return [row.state for id in ids for row in await store.get(id)]


@on_loop
async def test_the_quick_answer_comes_at_once_and_the_slow_one_is_found_under_its_id() -> None:
    gate, record = asyncio.Event(), Record()
    site = Site(record=record)
    async with running(staged(quick, held(gate)), site) as graph:
        one, two = batch_of(1), batch_of(2, first=1)
        assert (await graph(one)).rows == [2]
        assert (await graph(two)).rows == [4]
        assert [step.job for step in one.calls[0].trail] == [True], "the answer says that more will come"
        await turns()
        assert await states(graph, "0", "1") == ["running", "queued"]
        gate.set()
        await record.has(2)
        assert await states(graph, "0", "1") == ["done", "done"]
        (found,) = await graph.stores[0].get("1")
        assert found.result == b"6"
        assert [(kept.role, kept.outcome) for kept in record.rows] == [("staged", 3), ("staged", 6)]
    assert counted(site, ROWS) == {"ok": 2.0}


@on_loop
async def test_rows_of_an_array_have_each_their_own_state() -> None:
    gate, record = asyncio.Event(), Record()
    gate.set()
    site = Site(record=record)
    async with running(staged(quick, held(gate)), site) as graph:
        calls = [Call(id="a", row=row, request_id="mine") for row in (0, 2, 3)]
        await graph(Batch.of([1, 13, 14], calls))
        await record.has(3)
        await saved(graph)
        first, teapot, private = await graph.stores[0].get("a")
    assert (first.row, first.state, first.result) == (0, "done", b"3")
    assert (teapot.row, teapot.state, from_json(teapot.result)["detail"]) == (2, "failed", "short")
    assert private.state == "failed"
    assert b"private" not in private.result, "a text that is not public stays in the log"
    assert from_json(private.result)["request_id"] == "mine"
    assert counted(site, ROWS) == {"ok": 1.0, "error": 2.0}


@on_loop
async def test_the_slow_answer_is_written_as_the_endpoints_own_or_fails() -> None:
    def encode(value: Any) -> bytes:
        if value > 3:
            raise ValueError("does not fit")
        return b'{"y":%d}' % value

    gate, record = asyncio.Event(), Record()
    gate.set()
    async with running(staged(quick, held(gate)), Site(record=record, encode=encode)) as graph:
        await graph(batch_of(1, 2))
        await record.has(2)
        assert await states(graph, "0", "1") == ["done", "failed"]
        assert (await graph.stores[0].get("0"))[0].result == b'{"y":3}'


@on_loop
async def test_a_row_that_finds_the_queue_full_has_no_job_and_its_quick_answer() -> None:
    gate = asyncio.Event()
    site = Site()
    async with running(staged(quick, held(gate), max_rows=2), site) as graph:
        batch = batch_of(1, 2, 3, 4)
        assert (await graph(batch)).rows == [2, 4, 6, 8]
        assert [bool(call.trail) for call in batch.calls] == [True, True, False, False]
        assert await states(graph, "2", "3") == []
        assert counted(site, ROWS) == {"dropped": 2.0}
        gate.set()


@on_loop
async def test_what_has_no_answer_when_the_service_ends_has_failed() -> None:
    gate, store = threading.Event(), MemoryStore()

    @node
    def hang(batch: Batch) -> list[Any]:
        gate.wait(30)
        return batch.rows

    site = Site()
    async with running(staged(quick, hang, store), site) as graph:
        await graph(batch_of(1))
        await turns()
        await graph(batch_of(2, first=1))
    gate.set()
    assert [(await store.get(id))[0].state for id in ("0", "1")] == ["failed", "failed"]
    assert from_json((await store.get("0"))[0].result)["status"] == 503
    assert counted(site, ROWS) == {"dropped": 2.0}


@on_loop
async def test_a_run_that_takes_too_long_fails_its_rows() -> None:
    record = Record()
    site = Site(record=record)
    async with running(staged(quick, held(asyncio.Event()), timeout=0.02), site) as graph:
        await graph(batch_of(1))
        await record.has(1)
        assert await states(graph, "0") == ["failed"]
        assert from_json((await graph.stores[0].get("0"))[0].result)["status"] == 504
    assert counted(site, ROWS) == {"late": 1.0}


@on_loop
async def test_a_store_that_cannot_be_written_holds_up_slow_answers_and_no_quick_one() -> None:
    class Full(MemoryStore):
        async def put(self, rows: Sequence[JobRow]) -> None:
            raise JobsError("disk full")

    record = Record()
    site = Site(record=record)
    async with running(staged(quick, held(asyncio.Event()), Full(), max_rows=3), site) as graph:
        graph._work[0][1].ledger.finish = 0.0
        for n in range(30):
            assert (await graph(batch_of(n, first=n))).rows == [2 * n]
        assert len(graph._work[0][1].ledger.pending) <= 3
    assert counted(site, ROWS)["dropped"] == 30.0


@on_loop
async def test_rows_without_an_id_have_no_job() -> None:
    async with running(staged(quick, held(asyncio.Event())), Site()) as graph:
        bare = Batch.of([1, 2])
        assert (await graph(bare)).rows == [2, 4]
        assert not bare.has_calls, "offline the quick answer stands"
        nameless = Batch.of([1], [Call()])
        assert (await graph(nameless)).rows == [2]
        assert nameless.calls[0].trail == []
        assert not graph._work[0][0].rows


@on_loop
async def test_two_services_share_a_store_of_their_own(tmp_path: Path) -> None:
    gate, store, record = asyncio.Event(), SqliteStore(tmp_path / "jobs.sqlite"), Record()
    gate.set()
    async with running(staged(quick, held(gate), store), Site(record=record)) as one:
        async with running(staged(quick, held(gate), store), Site(record=record)) as other:
            await one(batch_of(1))
            await other(batch_of(2, first=1))
            await record.has(2)
            await saved(other)
        assert await states(one, "0", "1") == ["done", "done"]


@on_loop
async def test_a_staged_candidate_gives_its_shadow_the_quick_answer_and_makes_no_job() -> None:
    record, gate = Record(), asyncio.Event()
    async with running(shadow(quick, staged(quick, held(gate))), Site(record=record)) as graph:
        batch = batch_of(1)
        assert (await graph(batch)).rows == [2]
        (kept,) = await record.has(1)
        assert (kept.role, kept.outcome) == ("shadow", 2)
        assert [step.job for step in kept.call.trail] == [False]


def test_wrong_settings_are_told_when_it_is_built() -> None:
    with pytest.raises(UsageError, match="ttl is 0; give seconds above 0"):
        staged(quick, quick, ttl=0)
    with pytest.raises(UsageError, match="max_rows is -1; give at least 1"):
        staged(quick, quick, max_rows=-1)
