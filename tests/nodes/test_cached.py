"""A cached node answers as the node inside would; it only computes less."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansang import Batch, Call, Model, Service, UsageError, cached, node
from hansang.call import Step
from hansang.dispatch import Dispatcher, Part, flow
from hansang.errors import (
    CallerLeft,
    DeadlineExceeded,
    InvalidRow,
    ModelFailed,
    Overloaded,
    Problem,
    TooManyRequests,
    Unavailable,
)
from hansang.graph import Node
from hansang.models.batcher import Batcher, Limits
from hansang.nodes.cached import Cached
from hansang.site import Site
from hansang.testing import Clock, on_loop, turns
from tests.models.bench import Bench


@dataclass(frozen=True, slots=True, eq=False)
class Doubles(Node):
    """Doubles its rows, and remembers which; `outcomes` are what it says of some rows instead, each once."""

    version: str = "1"
    outcomes: dict[Any, list[Any]] = field(default_factory=dict)
    seen: list[list[Any]] = field(default_factory=list, init=False, repr=False)
    gates: list[asyncio.Event] = field(default_factory=list, repr=False)

    async def __call__(self, batch: Batch) -> Batch:
        self.seen.append(list(batch.rows))
        if self.gates:
            await self.gates.pop(0).wait()
        batch.mark(Step("model", "doubles", self.version, rows=batch.size))
        answers = [self.outcomes[row].pop(0) if self.outcomes.get(row) else row * 2 for row in batch.rows]
        return batch.replace(answers)


def calls(count: int, **facts: Any) -> list[Call]:
    return [Call(row=row, **facts) for row in range(count)]


async def ask(graph: Node, *rows: Any, **facts: Any) -> list[Any]:
    return (await graph(Batch.of(list(rows), calls(len(rows), **facts)))).rows


def told(outcomes: Sequence[Any]) -> list[Any]:
    return [(type(row).__name__, str(row)) if isinstance(row, Exception) else (type(row), row) for row in outcomes]


def counted(graph: Cached) -> dict[str, float]:
    counts = graph.cache.counts
    return {name: getattr(counts, name).value for name in ("hit", "miss", "joined", "bypass")}


# --- hits and misses ---


@on_loop
async def test_a_row_that_was_answered_before_is_not_computed_again() -> None:
    inner = Doubles()
    graph = cached(inner)
    assert await ask(graph, 1, 2) == [2, 4]
    assert await ask(graph, 3, 2, 1) == [6, 4, 2]
    assert inner.seen == [[1, 2], [3]]
    assert counted(graph) == {"hit": 2, "miss": 3, "joined": 0, "bypass": 0}


@on_loop
async def test_equal_rows_of_one_batch_are_computed_once() -> None:
    inner = Doubles()
    graph = cached(inner)
    assert await ask(graph, 1, 2, 1, 1) == [2, 4, 2, 2]
    assert inner.seen == [[1, 2]]
    assert counted(graph) == {"hit": 0, "miss": 2, "joined": 2, "bypass": 0}


@on_loop
async def test_a_hit_is_settled_while_a_miss_is_still_computed() -> None:
    inner = Doubles(gates=[asyncio.Event(), asyncio.Event()])
    inner.gates[0].set()
    graph, gate = cached(inner), inner.gates[1]
    await ask(graph, 1)
    sent: dict[int, Any] = {}
    batch = Batch.of([5, 1], calls(2))
    running = asyncio.create_task(
        flow(graph, batch, range(2), lambda at, answers: sent.update(zip(at, answers.rows, strict=True)))
    )
    await turns()
    assert sent == {1: 2}
    gate.set()
    await running
    assert sent == {1: 2, 0: 10}


@on_loop
async def test_a_hit_says_in_the_trail_what_answered_it_and_rows_share_their_step() -> None:
    graph = cached(Doubles("7"), name="face-cache")
    await ask(graph, 1, 2)
    await ask(graph, 3)
    batch = Batch.of([1, 2, 3], calls(3))
    await graph(batch)
    first = batch.calls[0].trail[0]
    assert first == Step("face-cache", "doubles", "7", cached=True)
    assert all(len(call.trail) == 1 and call.trail[0] is first for call in batch.calls)


@on_loop
async def test_the_step_of_a_hit_holds_all_models_and_variants_on_the_way() -> None:
    @node
    def light(batch: Batch) -> list[Any]:
        batch.mark(Step("split", variant="b"))
        return batch.rows

    graph = cached(light >> Doubles("1") >> Doubles("2"))
    await ask(graph, 1)
    batch = Batch.of([1], calls(1))
    assert (await graph(batch)).rows == [4]
    assert batch.calls[0].trail == [Step("cached", "doubles,doubles", "1,2", "b", cached=True)]


@on_loop
async def test_who_changes_an_answer_changes_nothing_that_is_kept() -> None:
    @node
    def details(batch: Batch) -> list[dict[str, Any]]:
        return [{"value": row, "list": [row], "array": np.zeros(2)} for row in batch.rows]

    @node.each
    def spoil(row: dict[str, Any]) -> dict[str, Any]:
        row["list"].append("spoilt")
        row["array"] += 1
        row.pop("value")
        return row

    graph = cached(details) >> spoil
    first = [str(row) for row in await ask(graph, 1, 1)]
    assert [str(row) for row in await ask(graph, 1, 1)] == first
    assert first[0] == first[1] == "{'list': [1, 'spoilt'], 'array': array([1., 1.])}"


@on_loop
async def test_columns_without_calls_are_cached_too() -> None:
    @node
    def total(batch: Batch) -> np.ndarray:
        seen.append(batch.size)
        return batch.columns(["x"])["x"] * 10

    seen: list[int] = []
    graph = cached(total)
    columns = {"x": np.array([1.0, 2.0, 1.0, 3.0])}
    first = await graph(Batch.of_columns(columns))
    assert first.rows == [10.0, 20.0, 10.0, 30.0]
    assert not first.has_calls
    assert (await graph(Batch.of_columns({"x": np.array([3.0, 4.0])}))).rows == [30.0, 40.0]
    assert await ask(graph, {"x": 4.0}) == [40.0]
    assert seen == [3, 1]


@on_loop
async def test_rows_without_a_key_are_computed_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    @node
    def count(batch: Batch) -> list[int]:
        return [7] * batch.size

    graph = cached(count)
    for _ in range(2):
        assert await ask(graph, {"x": object()}, {"x": object()}, {"x": 1}) == [7, 7, 7]
    assert counted(graph) == {"hit": 1, "miss": 1, "joined": 0, "bypass": 4}
    assert caplog.text.count("rows like this dict have no key and are not cached") == 1
    assert "give key=" in caplog.text


# --- what a key is made of ---


@on_loop
async def test_another_version_of_the_model_is_another_key() -> None:
    """The fault of a cache whose key lacks model and version: one model answers with another's prediction."""

    def one(batch: Batch) -> list[Any]:
        return [row["x"] + 1 for row in batch.rows]

    def two(batch: Batch) -> list[Any]:
        return [row["x"] + 2 for row in batch.rows]

    async with Model(one, name="m") as model, Model(two, name="m") as other:
        graph = cached(model)
        assert await ask(graph, {"x": 1}) == [2]
        old = model._state[0]
        model._state[0] = other.loaded  # as a hot swap does
        assert await ask(graph, {"x": 1}) == [3]
        model._state[0] = replace(other.loaded, fingerprint=f"{other.loaded.fingerprint} again")
        assert await ask(graph, {"x": 1}) == [3]
        assert counted(graph) == {"hit": 0, "miss": 3, "joined": 0, "bypass": 0}
        model._state[0] = old
        assert await ask(graph, {"x": 1}) == [2]
        assert counted(graph)["hit"] == 1


@dataclass(frozen=True, eq=False)
class Swapped(Node):
    """A model whose version changes while it computes."""

    now: list[str] = field(default_factory=lambda: ["1"])
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    changing: ClassVar[bool] = True

    def fingerprint(self) -> str:
        return self.now[0]

    async def __call__(self, batch: Batch) -> Batch:
        await self.gate.wait()
        return batch.replace([f"{row} by {self.now[0]}" for row in batch.rows])


@on_loop
async def test_an_answer_of_the_new_version_is_not_kept_under_the_key_of_the_old_one() -> None:
    inner = Swapped()
    graph = cached(inner)
    running = asyncio.create_task(ask(graph, "a"))
    await turns()
    inner.now[0] = "2"
    inner.gate.set()
    assert await running == ["a by 2"]
    inner.now[0] = "1"
    assert await ask(graph, "a") == ["a by 1"]


@on_loop
async def test_a_key_can_be_some_fields_or_a_function_or_none() -> None:
    @node
    def show(batch: Batch) -> list[str]:
        return [str(row) for row in batch.rows]

    by_field = cached(show, key="user")
    assert await ask(by_field, {"user": 1, "at": 5}) == await ask(by_field, {"user": 1, "at": 6})
    assert await ask(by_field, {"user": 2, "at": 6}) != await ask(by_field, {"user": 1, "at": 6})
    by_fields = cached(show, key=["user", "at"])
    assert await ask(by_fields, {"user": 1, "at": 5}) != await ask(by_fields, {"user": 1, "at": 6})
    rounded = cached(show, key=lambda row: None if row["at"] < 0 else round(row["at"]))
    assert await ask(rounded, {"at": 5.1}) == await ask(rounded, {"at": 4.9})
    assert await ask(rounded, {"at": -1.0}, {"at": -2.0}) == ["{'at': -1.0}", "{'at': -2.0}"]
    assert counted(rounded)["bypass"] == 2


@on_loop
async def test_header_fields_count_where_they_are_named() -> None:
    @node
    async def greet(batch: Batch) -> list[str]:
        return [
            f"{call.headers.get('accept-language')} {row}" for row, call in zip(batch.rows, batch.calls, strict=True)
        ]

    graph = cached(greet, vary="Accept-Language")
    assert await ask(graph, 1, headers={"accept-language": "ko"}) == ["ko 1"]
    assert await ask(graph, 1, headers={"accept-language": "en"}) == ["en 1"]
    assert await ask(graph, 1) == ["None 1"]
    assert await ask(graph, 1, headers={"accept-language": "ko", "x-request-id": "7"}) == ["ko 1"]
    assert counted(graph) == {"hit": 1, "miss": 3, "joined": 0, "bypass": 0}


@dataclass(frozen=True, slots=True, eq=False)
class Marked(Node):
    """Says something of each row that belongs to one caller: a tag, or a job."""

    tag: bool
    seen: list[int] = field(default_factory=list)

    async def __call__(self, batch: Batch) -> Batch:
        self.seen.append(batch.size)
        for row, call in zip(batch.rows, batch.calls, strict=True):
            if row > 1:
                if self.tag:
                    call.tag("missing", ["age"])
                else:
                    call.trail.append(Step("staged", job=True))
        return batch


@pytest.mark.parametrize("tag", [True, False])
@on_loop
async def test_an_answer_that_is_one_callers_alone_is_not_kept(tag: bool) -> None:
    """A partial answer is tagged, and a hit would not say so; the job of a staged answer is its caller's."""
    inner = Marked(tag)
    graph = cached(inner)
    for _ in range(2):
        batch = Batch.of([1, 2, 2], calls(3, tags={"traceparent": "x"}))
        assert (await graph(batch)).rows == [1, 2, 2]
        assert all(len(call.trail) + len(call.tags or ()) > 1 for call in batch.calls[1:])
    assert inner.seen == [2, 1, 1, 1]


# --- time, and what is not kept ---


@on_loop
async def test_an_answer_is_good_for_its_ttl() -> None:
    inner, clock = Doubles(), Clock()
    graph = replace(cached(inner, ttl=60), clock=clock)
    await ask(graph, 1)
    clock.advance(59.9)
    await ask(graph, 1)
    assert inner.seen == [[1]]
    clock.advance(0.2)
    await ask(graph, 1)
    assert inner.seen == [[1], [1]]


@on_loop
async def test_the_bounds_hold_and_what_is_dropped_is_computed_again() -> None:
    inner = Doubles()
    graph = cached(inner, max_rows=2)
    await ask(graph, 1, 2, 3)
    assert await ask(graph, 3, 2, 1) == [6, 4, 2]
    assert inner.seen == [[1, 2, 3], [1]]


@on_loop
async def test_errors_are_not_kept_unless_asked() -> None:
    for errors, again in ((False, [4, 6]), (True, ["no 1", "broken"])):
        inner = Doubles(outcomes={2: [InvalidRow("no 1")], 3: [ModelFailed("broken")]})
        graph = cached(inner, errors=errors)
        assert [str(row) for row in await ask(graph, 2, 3)] == ["no 1", "broken"]
        assert [row if isinstance(row, int) else str(row) for row in await ask(graph, 2, 3)] == again


class Busy(Problem):
    """A user's own error that is the caller's."""

    status = 429


@pytest.mark.parametrize(
    "error", [CallerLeft(), DeadlineExceeded(), Overloaded(), Unavailable(), TooManyRequests(), Busy()], ids=repr
)
@on_loop
async def test_what_is_the_leaders_own_fault_is_neither_kept_nor_inherited(error: Problem) -> None:
    inner = Doubles(outcomes={1: [error]})
    graph = cached(inner, errors=True)
    first, second, third = await ask(graph, 1, 1, 1)
    assert first is error
    assert (second, third) == (2, 2)
    assert inner.seen == [[1], [1]]
    assert await ask(graph, 1) == [2]


@on_loop
async def test_followers_inherit_an_error_of_the_row_each_as_a_copy_of_its_own() -> None:
    inner = Doubles(outcomes={1: [InvalidRow("no")]})
    outcomes = await ask(cached(inner), 1, 1, 1)
    assert [str(outcome) for outcome in outcomes] == ["no"] * 3
    assert len({id(outcome) for outcome in outcomes}) == 3
    assert inner.seen == [[1]]


@pytest.mark.parametrize(("wish", "kept"), [("no-cache", True), ("no-store", False), ("max-age=0, No-Store", False)])
@on_loop
async def test_a_caller_who_wants_no_cache_gets_none(wish: str, kept: bool) -> None:
    inner = Doubles()
    graph = cached(inner)
    assert await ask(graph, 1, 1, headers={"cache-control": wish}) == [2, 2]
    assert inner.seen == [[1, 1]]
    await ask(graph, 1)
    assert len(inner.seen) == (1 if kept else 2)
    await ask(graph, 1, headers={"cache-control": wish})
    assert inner.seen[-1] == [1]
    assert counted(graph)["bypass"] == 3


@on_loop
async def test_rows_with_and_without_a_wish_go_each_their_way_in_one_batch() -> None:
    inner = Doubles()
    graph = cached(inner)
    await ask(graph, 1)
    wish = {"cache-control": "no-cache"}
    batch = Batch.of([1, 2, 1, 2], [Call(), Call(headers=wish), Call(headers=wish), Call()])
    assert (await graph(batch)).rows == [2, 4, 2, 4]
    assert sorted(map(tuple, inner.seen[1:])) == [(2,), (2, 1)]


# --- single flight ---


@asynccontextmanager
async def held(inner: Doubles, graph: Node, *rows: Any) -> AsyncIterator[tuple[asyncio.Event, asyncio.Task[list[Any]]]]:
    """Start a batch that computes until the gate opens."""
    gate = asyncio.Event()
    inner.gates.append(gate)
    task = asyncio.create_task(ask(graph, *rows))
    await turns()
    try:
        yield gate, task
    finally:
        gate.set()
        await asyncio.gather(task, return_exceptions=True)


@on_loop
async def test_rows_of_other_batches_wait_for_the_one_that_computes() -> None:
    inner = Doubles()
    graph = cached(inner)
    async with held(inner, graph, 1, 2) as (gate, first):
        others = [asyncio.create_task(ask(graph, 2, 3)) for _ in range(3)]
        await turns()
        assert inner.seen == [[1, 2], [3]]
        gate.set()
        assert await first == [2, 4]
        assert await asyncio.gather(*others) == [[4, 6]] * 3
    assert inner.seen == [[1, 2], [3]]
    assert not graph.cache.flights.flying


@on_loop
async def test_a_joined_row_is_marked_as_one_that_was_not_computed() -> None:
    inner = Doubles("5")
    graph = cached(inner)
    async with held(inner, graph, 1) as (gate, _):
        batch = Batch.of([1], calls(1))
        second = asyncio.ensure_future(graph(batch))
        await turns()
        gate.set()
        await second
    assert batch.calls[0].trail == [Step("cached", "doubles", "5", cached=True)]


@on_loop
async def test_a_cancelled_leader_leaves_no_flight_behind_and_a_follower_flies() -> None:
    inner = Doubles()
    graph = cached(inner)
    async with held(inner, graph, 1, 2) as (_, leader):
        followers = [asyncio.create_task(ask(graph, 1)), asyncio.create_task(ask(graph, 2, 1))]
        await turns()
        leader.cancel()
        await asyncio.gather(leader, return_exceptions=True)
        assert await asyncio.gather(*followers) == [[2], [4, 2]]
    assert not graph.cache.flights.flying
    assert sorted(row for rows in inner.seen[1:] for row in rows) == [1, 2]


@on_loop
async def test_a_leader_that_is_given_up_within_its_task_leaves_no_flight_behind() -> None:
    """A time limit around the graph cancels the call, not the task."""
    inner = Doubles()
    graph = cached(inner)

    async def impatient() -> str:
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time()):
                await ask(graph, 1)
        except TimeoutError:
            return "late"
        return "in time"

    inner.gates.append(asyncio.Event())
    assert await impatient() == "late"
    assert not graph.cache.flights.flying
    assert await ask(graph, 1) == [2]


@on_loop
async def test_a_part_that_is_cancelled_before_it_began_ends_its_flights() -> None:
    """Cancelled in the same turn in which it was cut, so that the parts' tasks never ran."""
    inner = Doubles()
    graph = cached(inner)
    await ask(graph, 1)
    async with held(inner, graph, 2) as (_, _first):
        inner.gates.append(asyncio.Event())
        task = asyncio.create_task(ask(graph, 1, 2, 3))
        await asyncio.sleep(0)
        assert len(graph.cache.flights.flying) == 2
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(graph.cache.flights.flying) == 1
    assert not graph.cache.flights.flying


@on_loop
async def test_a_cancelled_follower_harms_nobody() -> None:
    inner = Doubles()
    graph = cached(inner)
    async with held(inner, graph, 1) as (gate, leader):
        gone, stays = asyncio.create_task(ask(graph, 1)), asyncio.create_task(ask(graph, 1))
        await turns()
        gone.cancel()
        await turns()
        gate.set()
        assert await leader == [2]
        assert await stays == [2]
        assert gone.cancelled()


@on_loop
async def test_a_follower_honours_its_own_deadline() -> None:
    inner = Doubles()
    graph = cached(inner)
    async with held(inner, graph, 1) as (gate, leader):
        now = asyncio.get_running_loop().time()
        batch = Batch.of([1, 1, 1], [Call(deadline=now), Call(), Call(deadline=now + 1000)])
        sent: dict[int, Any] = {}
        waits = asyncio.create_task(
            flow(graph, batch, range(3), lambda at, answers: sent.update(zip(at, answers.rows, strict=True)))
        )
        while not sent:
            await turns()
        assert list(sent) == [0]
        assert isinstance(sent[0], DeadlineExceeded)
        gate.set()
        await waits
        assert (sent[1], sent[2], await leader) == (2, 2, [2])


@on_loop
async def test_a_follower_whose_caller_left_is_dropped_when_its_time_comes() -> None:
    inner = Doubles(outcomes={1: [Overloaded("full")]})
    graph = cached(inner)
    async with held(inner, graph, 1) as (_, _leader):
        now = asyncio.get_running_loop().time()
        batch = Batch.of([1, 1], [Call(deadline=now), Call(gone=True)])
        waits = asyncio.create_task(graph(batch))
        while not inner.seen or not waits.done():
            await turns()
            if waits.done():
                break
        assert [type(row) for row in waits.result().rows] == [DeadlineExceeded, CallerLeft]


@on_loop
async def test_a_live_row_does_not_wait_for_a_background_one() -> None:
    inner = Doubles()
    graph = cached(inner)
    gate = asyncio.Event()
    inner.gates.append(gate)
    slow = Batch.of([1], calls(1))
    slow.background = True
    behind = asyncio.ensure_future(graph(slow))
    await turns()
    assert await ask(graph, 1) == [2]
    assert inner.seen == [[1], [1]]
    gate.set()
    assert (await behind).rows == [2]
    assert not graph.cache.flights.flying


@on_loop
async def test_a_leader_whose_caller_leaves_the_queue_does_not_take_its_followers_along() -> None:
    bench = Bench(rows=1)
    graph = cached(node(Queue(bench.batcher)))
    busy = await bench.send(0)
    leader = Batch.of([1], calls(1))
    first = asyncio.ensure_future(graph(leader))
    await turns()
    follower = asyncio.create_task(ask(graph, 1))
    await turns()
    leader.calls[0].leave()
    for _ in range(2):
        await bench.finish()
        await turns()
    assert isinstance((await first).rows[0], CallerLeft)
    assert await follower == [2]
    await busy


class Queue:
    """A batcher as a function of a batch."""

    __name__ = "queue"

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher
        assert isinstance(batcher.limits, Limits)

    async def __call__(self, batch: Batch) -> Batch:
        return await self.batcher(batch)


# --- as if it were not there ---


@dataclass(frozen=True, slots=True, eq=False)
class Sides(Dispatcher):
    """Odd rows go to one node, even ones to another."""

    odd: Node
    even: Node

    def parts(self, batch: Batch) -> list[Part]:
        sides = {1: self.odd, 0: self.even}
        places = {side: [n for n, row in enumerate(batch.rows) if abs(row) % 2 == side] for side in sides}
        return [Part(batch.take(at), sides[side], at) for side, at in places.items() if at]


@node.each
def checked(row: int) -> int:
    if row % 5 == 3:
        raise InvalidRow(f"row {row}")
    if row % 7 == 4:
        raise ValueError(f"row {row}")
    return row * 3


@node
async def slow(batch: Batch) -> list[Any]:
    for _ in range(batch.size % 3):
        await asyncio.sleep(0)
    return [row - 1 for row in batch.rows]


def plus(number: int) -> Node:
    @node
    def add(batch: Batch) -> list[int]:
        return [row + number for row in batch.rows]

    return add


graphs = st.recursive(
    st.sampled_from([checked, slow, plus(1), plus(2)]),
    lambda inner: st.tuples(inner, inner).map(lambda pair: pair[0] >> pair[1]) | st.builds(Sides, inner, inner),
    max_leaves=5,
)


@given(
    graph=graphs,
    batches=st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=8), min_size=1, max_size=6),
    errors=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_cache_on_equals_cache_off(graph: Node, batches: list[list[int]], errors: bool, seed: int) -> None:
    """With rows that fail, callers that are cancelled, entries that are dropped, and requests that want no cache."""
    chance = random.Random(seed)

    async def main() -> None:
        on = cached(graph, errors=errors, max_rows=chance.choice([1, 3, 100]))
        for _ in range(3):
            tasks = []
            for rows in batches:
                wishes = [chance.choice([{}, {}, {}, {"cache-control": "no-cache"}]) for _ in rows]
                batch = Batch.of(list(rows), [Call(headers=wish) for wish in wishes])
                tasks.append(asyncio.ensure_future(on(batch)))
            for task in tasks:
                if chance.random() < 0.3:
                    await turns(chance.randrange(4))
                    task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            for rows, answers in zip(batches, done, strict=True):
                if isinstance(answers, Batch):
                    off = await graph(Batch.of(list(rows), calls(len(rows))))
                    assert told(answers.rows) == told(off.rows)
            assert not on.cache.flights.flying

    asyncio.run(main())


# --- in a service ---


@on_loop
async def test_a_bound_copy_counts_in_the_metrics_and_keeps_its_own_entries() -> None:
    inner = Doubles()
    graph = cached(inner, name="doubles")
    sites = [Site(service="s", endpoint=name) for name in ("one", "two")]
    one, two = (site.graph(graph) for site in sites)
    await ask(one, 1, 1)
    await ask(one, 1, 2)
    await ask(two, 1)
    await ask(two, 1, headers={"cache-control": "no-store"})
    found = {
        (family.name, sample.labels["endpoint"], sample.labels.get("result")): sample.value
        for site in sites
        for family in site.metrics.collect()
        for sample in family.samples
        if family.name.startswith("hansang_cache_")
    }
    rows = "hansang_cache_rows"
    assert found[rows, "one", "hit"] == found[rows, "one", "joined"] == found[rows, "two", "miss"] == 1
    assert found[rows, "one", "miss"] == 2
    assert found[rows, "two", "bypass"] == 1
    assert found["hansang_cache_entries", "one", None] == 2
    assert found["hansang_cache_bytes", "one", None] > 400
    assert graph.cache.near is not None
    assert len(graph.cache.near) == 0


@on_loop
async def test_a_service_with_a_cached_model_loads_and_binds_it() -> None:
    def half(batch: Batch) -> list[float]:
        return [row["x"] / 2 for row in batch.rows]

    service = Service("halves", cached(Model(half), ttl=60), input=dict[str, float], output=float)
    service.load()
    async with service.running():
        graph = service.endpoints[0].bound
        assert await ask(graph, {"x": 3.0}) == [1.5]
        assert await ask(graph, {"x": 3.0}) == [1.5]
        assert isinstance(graph, Cached)
        assert counted(graph) == {"hit": 1, "miss": 1, "joined": 0, "bypass": 0}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ttl": 0}, r"the ttl of faces is in seconds, above 0, got 0"),
        ({"max_rows": 0}, r"max_rows of faces must be above 0, got 0"),
        ({"store": "redis://localhost", "max_bytes": 10}, r"max_bytes of faces bounds the memory of this process"),
        ({"store": "http://localhost"}, r"the store of faces has the scheme 'http'; expected redis://host/0"),
        ({"store": "redis://localhost:x"}, r"a URL that Redis' client does not take"),
        ({"store": 7}, r"the store of faces is a URL or a function that opens a store, got 7"),
        ({"key": []}, r"the key of faces has no fields; name some"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        cached(Doubles(), name="faces", **options)
