"""A candidate answers beside the live node and can do it no harm."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from hansang import Batch, Call, Model, Service, UsageError, node, remote, shadow
from hansang.dispatch import Dispatcher, Part, flow
from hansang.errors import DeadlineExceeded, InvalidRow, ModelFailed, SchemaError, WrongRows
from hansang.graph import walk
from hansang.server.health import Readiness
from hansang.server.serving import Serving
from hansang.settings import Settings, load_settings
from hansang.site import Site
from hansang.testing import on_loop, turns
from tests.nodes.running import Record, batch_of, counted, running

ROWS = "hansang_shadow_rows_total"


@node
def double(batch: Batch) -> list[Any]:
    return [row * 2 for row in batch.rows]


@node
async def triple(batch: Batch) -> list[Any]:
    return [row * 3 for row in batch.rows]


class Row(BaseModel):
    x: float


def site_with(record: Record) -> Site:
    return Site(endpoint="predict", record=record)


@on_loop
async def test_the_live_node_answers_and_the_candidate_is_recorded_under_the_same_ids() -> None:
    record = Record()
    site = site_with(record)
    async with running(shadow(double, triple), site) as graph:
        batch = batch_of(1, 2, 3)
        assert (await graph(batch)).rows == [2, 4, 6]
        kept = await record.has(3)
        assert record.outcomes == {"0": 3, "1": 6, "2": 9}
        assert {each.role for each in kept} == {"shadow"}
        assert [call.trail for call in batch.calls] == [[], [], []], "the candidate writes into trails of its own"
    assert counted(site, ROWS) == {"ok": 3.0}


@on_loop
async def test_what_each_side_does_to_its_rows_is_not_seen_by_the_other() -> None:
    @node
    def spoil(batch: Batch) -> list[Any]:
        for row in batch.rows:
            row["x"] += 1000
        return [row["x"] for row in batch.rows]

    @node
    def spoil_models(batch: Batch) -> list[Any]:
        for row in batch.rows:
            row.x += 1000
        return [row.x for row in batch.rows]

    @node
    def spoil_columns(batch: Batch) -> list[Any]:
        batch.columns(["x"])["x"][:] += 1000
        return [row["x"] for row in batch.rows]

    columns = Batch.of_columns({"x": np.array([1, 2])})
    columns.calls[0].id, columns.calls[1].id = "0", "1"
    for spoiling, batch in (
        (spoil, batch_of({"x": 1}, {"x": 2})),
        (spoil_models, batch_of(Row(x=1), Row(x=2))),
        (spoil_columns, columns),
    ):
        record = Record()
        async with running(shadow(spoiling, spoiling), site_with(record)) as graph:
            assert (await graph(batch)).rows == [1001, 1002]
            await record.has(2)
            assert record.outcomes == {"0": 1001, "1": 1002}


@on_loop
async def test_a_caller_who_leaves_or_has_no_time_does_not_end_the_candidate() -> None:
    record = Record()
    seen: list[Any] = []

    @node
    async def look(batch: Batch) -> list[Any]:
        seen.extend((call.deadline, call.gone, call.id) for call in batch.calls)
        assert batch.background
        return batch.rows

    async with running(shadow(double, Model(lambda batch: batch.rows, "m") >> look), site_with(record)) as graph:
        batch = batch_of(1, deadline=0.0, headers={"x-user": "kim"}, key="k", request_id="r")
        parts = graph.parts(batch)
        batch.calls[0].leave()
        assert len(list(parts)) == 1
        (kept,) = await record.has(1)
        assert seen == [(None, False, "0")]
        assert (kept.call.key, kept.call.request_id, kept.call.headers) == ("k", "r", {"x-user": "kim"})
        assert [step.node for step in kept.call.trail] == ["shadow", "model"]


@on_loop
async def test_a_sync_candidate_runs_on_a_thread_and_the_loop_goes_on() -> None:
    release, threads = threading.Event(), []

    @node
    def whole(batch: Batch) -> list[Any]:
        threads.append(threading.current_thread())
        release.wait(30)
        return batch.rows

    @node.each
    def each(row: Any) -> Any:
        threads.append(threading.current_thread())
        release.wait(30)
        return row

    for candidate in (whole, each, Model(whole.function, "m", inline=True)):
        record = Record()
        release.clear()
        async with running(shadow(double, candidate), site_with(record)) as graph:
            for n in range(20):
                assert (await graph(batch_of(n, first=n))).rows == [2 * n]
            assert not record.rows
            release.set()
            await record.has(20)
    assert threading.main_thread() not in threads
    assert all(thread.daemon for thread in threads)


@on_loop
async def test_rows_without_an_id_have_no_shadow() -> None:
    record = Record()
    site = site_with(record)
    async with running(shadow(double, triple), site) as graph:
        bare = Batch.of([1, 2])
        assert (await graph(bare)).rows == [2, 4]
        assert not bare.has_calls, "offline rows get no calls for it"
        assert (await graph(Batch.of([1], [Call()]))).rows == [2]
        await graph(Batch.of([1, 2], [Call(), Call(id="named")]))
        await record.has(1)
    assert record.outcomes == {"named": 6}
    assert counted(site, ROWS) == {"ok": 1.0}


@on_loop
async def test_rows_over_the_bound_are_dropped_and_counted() -> None:
    gate, record = asyncio.Event(), Record()
    site = site_with(record)

    @node
    async def held(batch: Batch) -> list[Any]:
        await gate.wait()
        return batch.rows

    async with running(shadow(double, held, max_rows=5), site) as graph:
        for n in range(40):
            assert (await graph(batch_of(n, n, first=2 * n))).rows == [2 * n, 2 * n]
            await turns(1)
        assert counted(site, ROWS) == {"dropped": 75.0}
        gate.set()
        await record.has(5)
        await turns()
        await graph(batch_of(7, first=99))
        await record.has(6)
    assert list(record.outcomes) == ["0", "1", "2", "3", "4", "99"], "the oldest stay, in their order"
    assert counted(site, ROWS) == {"dropped": 75.0, "ok": 6.0}


@on_loop
async def test_a_candidate_that_hangs_is_given_up_and_piles_up_no_threads() -> None:
    release, calls = threading.Event(), []

    @node
    def hang(batch: Batch) -> list[Any]:
        calls.append(batch.size)
        release.wait(30)
        return batch.rows

    record = Record()
    site = site_with(record)
    async with running(shadow(double, hang, timeout=0.02), site) as graph:
        before = threading.active_count()
        for n in range(6):
            assert (await graph(batch_of(n, first=n))).rows == [2 * n]
            await record.has(n + 1)
        assert threading.active_count() <= before + 1
        assert len(calls) == 1, "the next call waits until the one that hangs has ended"
        assert all(isinstance(kept.outcome, DeadlineExceeded) for kept in record.rows)
        assert counted(site, ROWS) == {"late": 6.0}
        release.set()


@on_loop
async def test_a_model_that_hangs_is_given_up_too() -> None:
    release, record = threading.Event(), Record()

    def hang(batch: Batch) -> list[Any]:
        release.wait(30)
        return batch.rows

    model = Model(hang, "hang")
    async with running(shadow(double, model, timeout=0.02), site_with(record)) as graph:
        for n in range(4):
            await graph(batch_of(n, first=n))
            await record.has(n + 1)
        await turns()
        assert not model.loaded.batcher.background, "what was given up waits no longer"
        release.set()
    assert all(isinstance(kept.outcome, DeadlineExceeded) for kept in record.rows)


@on_loop
async def test_whatever_the_candidate_does_wrong_is_recorded_as_its_error() -> None:
    def sync(error: BaseException | None) -> Any:
        def candidate(batch: Batch) -> list[Any]:
            if error is not None:
                raise error
            return batch.rows[1:]

        return node(candidate)

    def late(error: BaseException) -> Any:
        async def candidate(batch: Batch) -> list[Any]:
            raise error

        return node(candidate)

    wrong = [
        (sync(KeyError("x")), ModelFailed),
        (sync(InvalidRow("not mine")), InvalidRow),
        (sync(SystemExit(3)), ModelFailed),
        (sync(None), WrongRows),
        (late(KeyError("x")), ModelFailed),
        (late(SystemExit(3)), ModelFailed),
    ]
    for candidate, kind in wrong:
        record = Record()
        site = site_with(record)
        async with running(shadow(double, candidate), site) as graph:
            assert (await graph(batch_of(1))).rows == [2]
            await record.has(1)
            assert (await graph(batch_of(1, 2, first=1))).rows == [2, 4]
            await record.has(3)
        assert {type(outcome) for outcome in record.outcomes.values()} == {kind}
        assert counted(site, ROWS) == {"error": 3.0}


@on_loop
async def test_a_flood_of_errors_is_one_line_a_second(caplog: pytest.LogCaptureFixture) -> None:
    record = Record()

    @node
    async def fail(batch: Batch) -> list[Any]:
        raise KeyError("secret")

    async with running(shadow(double, fail), site_with(record)) as graph:
        for n in range(50):
            await graph(batch_of(n, first=n))
            await record.has(n + 1)
    assert len([line for line in caplog.records if "shadow" in line.getMessage()]) <= 2


@on_loop
async def test_a_row_that_cannot_be_copied_is_dropped_and_the_live_one_answered() -> None:
    class Stubborn:
        def __copy__(self) -> Any:
            raise TypeError("no copy of me")

    record = Record()
    site = site_with(record)
    async with running(shadow(node(lambda batch: [1] * len(batch)), triple), site) as graph:
        assert (await graph(batch_of(Stubborn(), 2))).rows == [1, 1]
    assert counted(site, ROWS) == {"dropped": 2.0}
    assert not record.rows


@on_loop
async def test_a_record_that_fails_neither_ends_the_shadow_nor_the_live_answer() -> None:
    record, broken = Record(), [True]

    def keep(rows: Batch, answers: Batch, seconds: float, role: str = "shadow") -> None:
        if broken[0]:
            raise OSError("no record today")
        record(rows, answers, seconds, role)

    async with running(shadow(double, triple), Site(record=keep)) as graph:
        assert (await graph(batch_of(1))).rows == [2]
        await turns(20)
        broken[0] = False
        assert (await graph(batch_of(1, first=1))).rows == [2]
        await record.has(1)


@dataclass(frozen=True, slots=True, eq=False)
class Halves(Dispatcher):
    """Settles even rows here and gives the odd ones to a node that waits."""

    gate: asyncio.Event

    def parts(self, batch: Batch) -> Iterable[Part]:
        async def slow(part: Batch) -> Batch:
            await self.gate.wait()
            return part

        even = [n for n, row in enumerate(batch.rows) if row % 2 == 0]
        odd = [n for n, row in enumerate(batch.rows) if row % 2]
        parts = [Part(batch.take(even), at=even), Part(batch.take(odd), slow, odd)]
        return [part for part in parts if part.batch.size]


@on_loop
async def test_settled_rows_of_a_dispatcher_inside_leave_at_once_on_both_sides() -> None:
    live, candidate, record = asyncio.Event(), asyncio.Event(), Record()
    sent: dict[int, Any] = {}
    async with running(shadow(Halves(live), Halves(candidate)), site_with(record)) as graph:
        batch = batch_of(2, 1, 4, 3)  # the first run of a candidate has one row, the second two
        task = asyncio.create_task(
            flow(graph, batch, range(4), lambda at, answers: sent.update(zip(at, answers.rows, strict=True)))
        )
        await record.has(2)
        assert record.outcomes == {"0": 2, "2": 4}
        assert sent == {0: 2, 2: 4}
        live.set()
        await task
        assert sent == {0: 2, 1: 1, 2: 4, 3: 3}
        candidate.set()
        await record.has(4)


@on_loop
async def test_what_waits_at_the_end_has_a_short_time_and_is_then_counted_as_dropped() -> None:
    gate, record = asyncio.Event(), Record()
    site = site_with(record)

    @node
    async def held(batch: Batch) -> list[Any]:
        await gate.wait()
        return batch.rows

    async with running(shadow(double, held), site) as graph:
        for n in range(3):
            await graph(batch_of(n, first=n))
        asyncio.get_running_loop().call_later(0.05, gate.set)
    assert counted(site, ROWS) == {"ok": 3.0}, "they were finished while it ended"
    gate.clear()
    site = site_with(record)
    async with running(shadow(double, held), site) as graph:
        for n in range(3):
            await graph(batch_of(n, first=n))
        await turns()
    assert counted(site, ROWS) == {"dropped": 3.0}
    assert (await graph(batch_of(1))).rows == [2], "an answer after the end has no shadow"


@on_loop
async def test_a_share_of_users_is_shadowed_all_or_not_at_all() -> None:
    users = [{"user": f"user-{n % 500}", "n": n} for n in range(4000)]

    async def chosen(by: str | Callable[[Any], Any] | None, name: str = "shadow", share: float = 0.2) -> list[int]:
        record = Record()
        graph = shadow(lambda batch: batch.rows, lambda batch: batch.rows, share, by, max_rows=10_000, name=name)
        async with running(graph, site_with(record)) as bound:
            calls = [Call(id=str(n), headers={"x-user": str(row["user"])}) for n, row in enumerate(users)]
            batch = Batch.of(users, calls)
            return list(bound.chosen(batch))

    by_field = await chosen("user")
    picked = {users[n]["user"] for n in by_field}
    assert len(by_field) == 8 * len(picked), "every row of a user, or none"
    assert 60 <= len(picked) <= 140
    assert await chosen("user") == by_field == await chosen("header:X-User"), "again the same; a header does as well"
    assert set(by_field) <= set(await chosen("user", share=0.4)), "a larger share keeps who was in"
    other = {users[n]["user"] for n in await chosen("user", name="other")}
    assert 5 <= len(picked & other) <= 45, "another experiment chooses on its own"
    by_id = await chosen(None)
    assert 600 <= len(by_id) <= 1000
    assert await chosen("nobody") == by_id, "rows without the key are chosen by their id"
    assert await chosen("user", share=0.0) == []
    assert await chosen(lambda row: row["user"]) == by_field


def test_wrong_settings_are_told_when_it_is_built() -> None:
    with pytest.raises(UsageError, match="share is 10; give a part of the rows"):
        shadow(double, triple, share=10)
    with pytest.raises(UsageError, match="max_rows is 0; give at least 1"):
        shadow(double, triple, max_rows=0)
    with pytest.raises(UsageError, match="timeout is nan; give seconds above 0"):
        shadow(double, triple, timeout=float("nan"))
    with pytest.raises(SchemaError, match="shadow 'shadow' looks at the field 'user'"):
        shadow(double, triple, by="user").check(Row)
    with pytest.raises(UsageError, match="is not a node"):
        shadow(double, 3)


def test_its_configuration_is_its_repr_and_an_answer_does_not_wait_for_the_candidate() -> None:
    graph = shadow(double, triple, 0.5, "user")
    assert "share=0.5, by='user', max_rows=1024, timeout=10.0, name='shadow')" in repr(graph)
    assert list(walk(graph)) == [graph, double, triple]
    assert list(walk(graph, aside=False)) == [graph, double]


@on_loop
async def test_a_candidate_that_is_stuck_does_not_take_the_service_off_the_air() -> None:
    release, started = threading.Event(), threading.Event()

    def hang(batch: Batch) -> list[Any]:
        started.set()
        release.wait(30)
        return batch.rows

    candidate = Model(hang, "candidate")
    service = Service("s", shadow(Model(lambda b: b.rows, "live"), candidate), input=Row, example={"x": 1.0})
    async with Serving(service, load_settings(Settings, record=False, stuck_after=0.01)).running() as serving:
        await serving.turns["/predict"].graph(batch_of(Row(x=1.0)))
        await asyncio.to_thread(started.wait, 30)
        await asyncio.sleep(0.02)  # twice as long as a call may take
        assert candidate.loaded.batcher.stuck(0.01)
        assert (await Readiness(serving).report())["ready"]
        release.set()


@on_loop
async def test_a_candidate_elsewhere_that_never_answered_does_not_take_the_service_off_the_air_either() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        candidate = remote(f"http://127.0.0.1:{taken.getsockname()[1]}/predict")
        service = Service("s", shadow(Model(lambda b: b.rows, "live"), candidate), input=Row, example={"x": 1.0})
        async with Serving(service, load_settings(Settings, record=False)).running() as serving:
            report = await Readiness(serving).report()
            assert (report["ready"], list(report["checks"])) == (True, ["endpoint /predict"])
