"""A cache in Redis: shared, exact, and never missed when it is away."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from hansang import Batch, cached, node
from hansang.call import Step
from hansang.graph import Node
from hansang.nodes.cache.store import Redis, Store, redis_at
from hansang.nodes.cached import Cached
from hansang.site import Site
from hansang.testing import Clock, on_loop, turns
from tests.nodes.cache.servers import RedisServer
from tests.nodes.test_cached import Doubles, ask, calls, counted

redis = pytest.importorskip("redis")


class Face(BaseModel):
    age: int
    scores: list[float]


def errors(graph: Cached) -> dict[str, float]:
    return {reason: counter.value for reason, counter in graph.cache.counts.errors.items()}


async def written(graph: Cached) -> None:
    assert graph.cache.far is not None
    await graph.cache.far.written()


def patient(graph: Cached, patience: float = 20.0, **options: Any) -> Cached:
    """Let a cache wait for long, so that a busy machine does not decide what a test sees."""
    return replace(graph, patience=patience, **options)


@on_loop
async def test_another_process_finds_what_this_one_has_answered(redis_url: str) -> None:
    inner, other = Doubles(), Doubles()
    async with patient(cached(inner, 60, redis_url)) as one, patient(cached(other, 60, redis_url)) as two:
        assert await ask(one, 1, 2, 1) == [2, 4, 2]
        await written(one)
        batch = Batch.of([2, 3, 1], calls(3))
        assert (await two(batch)).rows == [4, 6, 2]
    assert (inner.seen, other.seen) == ([[1, 2]], [[3]])
    assert counted(two) == {"hit": 2, "miss": 1, "joined": 0, "bypass": 0}
    assert batch.calls[0].trail == [Step("cached", "doubles", "1", cached=True)]
    assert batch.calls[2].trail[0] is batch.calls[0].trail[0]


@on_loop
async def test_answers_come_back_exactly_and_what_cannot_is_not_stored(redis_url: str) -> None:
    @node
    def faces(batch: Batch) -> list[Any]:
        seen.append(list(batch.rows))
        return [{1, 2} if row == 9 else Face(age=row, scores=[0.1 + 0.2, -0.0]) for row in batch.rows]

    seen: list[Any] = []
    async with patient(cached(faces, 60, redis_url)) as graph:
        first = await ask(graph, 3, 9)
        await written(graph)
        second = await ask(graph, 3, 9)
        assert second == first
        assert str(second[0]) == str(first[0]) == "age=3 scores=[0.30000000000000004, -0.0]"
        assert seen == [[3, 9], [9]]
        await written(graph)
        assert errors(graph) == {"value": 2}


@on_loop
async def test_another_version_service_or_code_is_another_key(redis_url: str) -> None:
    def named(number: int) -> Node:
        @node
        def answer(batch: Batch) -> list[Any]:
            return [number] * batch.size

        return answer

    def bind(graph: Cached, service: str = "s") -> Cached:
        bound = Site(service=service).graph(graph)
        assert isinstance(bound, Cached)
        return bound

    graphs = [bind(patient(cached(named(number), 60, redis_url))) for number in (1, 2)]
    graphs.append(bind(patient(cached(named(1), 60, redis_url)), "another"))
    graphs += [bind(patient(cached(named(1), 60, redis_url, version=version))) for version in ("a", "b")]
    graphs.append(bind(patient(cached(named(1), 60, redis_url, key="x"))))
    for graph in graphs:
        await ask(graph, {"x": 1})
        await written(graph)
        assert counted(graph) == {"hit": 0, "miss": 1, "joined": 0, "bypass": 0}
    again = bind(patient(cached(named(1), 60, redis_url)))
    assert await ask(again, {"x": 1}) == [1]
    assert counted(again)["hit"] == 1
    for graph in [*graphs, again]:
        await graph.__aexit__(None, None, None)


@on_loop
async def test_a_lookup_is_one_round_trip_and_rows_that_come_meanwhile_join_it() -> None:
    store = Slow()
    inner = Doubles()
    graph = patient(cached(inner, 60, lambda: store))
    first = asyncio.create_task(ask(graph, 1, 2, 1))
    await turns()
    second = asyncio.create_task(ask(graph, 2, 3))
    await turns()
    assert [len(keys) for keys in store.asked] == [2, 1]
    store.gate.set()
    assert await first == [2, 4, 2]
    assert await second == [4, 6]
    assert sorted(inner.seen) == [[1, 2], [3]]
    await written(graph)
    assert len(store.kept) == 3
    assert counted(graph) == {"hit": 0, "miss": 3, "joined": 2, "bypass": 0}


class Slow:
    """A store in memory that answers when a test says so."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.kept: dict[bytes, bytes] = {}
        self.asked: list[list[bytes]] = []
        self.fault: Exception | None = None
        self.closed = False

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self.asked.append(list(keys))
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return [self.kept.get(key) for key in keys]

    async def put(self, values: Sequence[tuple[bytes, bytes]], seconds: float) -> None:
        assert seconds == 60
        self.kept.update(values)

    async def close(self) -> None:
        self.closed = True


@on_loop
async def test_a_cancelled_lookup_leaves_no_flight_behind() -> None:
    store: Any = Slow()
    graph = patient(cached(Doubles(), 60, lambda: store))
    leader = asyncio.create_task(ask(graph, 1))
    await turns()
    follower = asyncio.create_task(ask(graph, 1))
    await turns()
    leader.cancel()
    store.gate.set()
    assert await follower == [2]
    assert not graph.cache.flights.flying


@on_loop
async def test_a_store_that_fails_is_left_alone_for_a_second_and_comes_back_by_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "hansang")
    store, clock, inner = Slow(), Clock(), Doubles()
    store.gate.set()
    graph = patient(cached(inner, 60, lambda: store), clock=clock)
    await ask(graph, 1)
    await written(graph)
    store.fault = ConnectionError("gone")
    assert await ask(graph, 1) == [2]
    for _ in range(5):
        assert await ask(graph, 1, 2) == [2, 4]
    assert len(store.asked) == 2
    assert counted(graph)["bypass"] == 11
    clock.advance(1.0)
    assert await ask(graph, 1) == [2]
    assert await ask(graph, 1) == [2]
    assert len(store.asked) == 3
    assert caplog.text.count("the cache's store does not answer") == 1
    assert "ConnectionError: gone" in caplog.text
    store.fault = None
    clock.advance(1.0)
    assert await ask(graph, 1) == [2]
    assert "the cache's store answers again" in caplog.text
    assert counted(graph)["hit"] == 1
    assert errors(graph)["unreachable"] >= 2


@on_loop
async def test_bytes_that_are_no_entry_are_computed_anew_and_counted() -> None:
    store = Slow()
    store.gate.set()
    graph = patient(cached(Doubles(), 60, lambda: store))
    await ask(graph, 1, 2)
    await written(graph)
    one, other = store.kept
    store.kept[one], store.kept[other] = store.kept[other], b"\x80\x04K\x01."
    assert await ask(graph, 1, 2) == [2, 4]
    assert errors(graph) == {"unreadable": 2}


@on_loop
async def test_what_waits_to_be_written_is_written_at_the_end_and_the_store_is_closed() -> None:
    store = Slow()
    store.gate.set()
    async with patient(cached(Doubles(), 60, lambda: store)) as graph:
        await ask(graph, 1, 2)
    assert len(store.kept) == 2
    assert store.closed


@on_loop
async def test_a_redis_that_hangs_costs_its_patience_once_and_no_answer_is_mixed_up(redis_server: RedisServer) -> None:
    clock, inner = Clock(), Doubles()
    async with replace(cached(inner, 60, redis_server.url), patience=0.2, clock=clock) as graph:
        await ask(graph, 1, 2)
        await written(graph)
        redis_server.freeze()
        assert await ask(graph, 1, 2) == [2, 4]
        assert counted(graph)["bypass"] == 2
        redis_server.thaw()
        for row in range(1, 30):
            clock.advance(1.1)
            assert await ask(graph, row) == [row * 2]
        assert counted(graph)["hit"] >= 1


@on_loop
async def test_no_request_fails_while_redis_is_stopped_and_started_under_load(redis_server: RedisServer) -> None:
    inner = Doubles()
    async with cached(inner, 60, redis_server.url) as graph:
        running, failed, answered = True, 0, 0

        async def load(seed: int) -> None:
            nonlocal failed, answered
            number = seed
            while running:
                number += 7
                rows = [number % 50, number % 13, seed]
                outcomes = await ask(graph, *rows)
                failed += outcomes != [row * 2 for row in rows]
                answered += len(rows)
                await asyncio.sleep(0)

        async def until(true: Any) -> None:
            before, end = answered, time.monotonic() + 30
            while not true() or answered < before + 300:
                assert time.monotonic() < end, (counted(graph), errors(graph))
                await asyncio.sleep(0.005)

        clients = [asyncio.create_task(load(seed)) for seed in range(16)]
        for _ in range(2):
            hits = counted(graph)["hit"]
            await until(lambda hits=hits: counted(graph)["hit"] > hits + 100)
            lost = counted(graph)["bypass"]
            await asyncio.to_thread(redis_server.stop)
            await until(lambda lost=lost: counted(graph)["bypass"] > lost + 100)
            await asyncio.to_thread(redis_server.start)
        hits = counted(graph)["hit"]
        await until(lambda: counted(graph)["hit"] > hits + 100)
        running = False
        await asyncio.gather(*clients)
        assert failed == 0
        assert errors(graph)["unreachable"] > 0
        assert not graph.cache.flights.flying


@on_loop
async def test_a_service_starts_and_answers_while_redis_is_not_there(redis_server: RedisServer) -> None:
    redis_server.stop()
    async with cached(Doubles(), 60, redis_server.url) as graph:
        assert await ask(graph, 1, 1) == [2, 2]
        redis_server.start()


@on_loop
async def test_a_socket_and_a_prefix_are_read_from_the_url(redis_server: RedisServer) -> None:
    url = f"unix://{redis_server.socket}?db=1&prefix=mine:"
    async with patient(cached(Doubles(), 60, url)) as graph:
        await ask(graph, 1)
        await written(graph)
    client = redis.Redis(port=redis_server.port, db=1)
    (key,) = client.keys()
    assert key.startswith(b"mine:")
    assert 0 < client.pttl(key) <= 60_000
    client.close()


@on_loop
async def test_an_answer_without_a_ttl_is_kept_for_a_day(redis_server: RedisServer) -> None:
    async with patient(cached(Doubles(), store=redis_server.url)) as graph:
        await ask(graph, 1)
        await written(graph)
    client = redis.Redis(port=redis_server.port)
    assert 86_000 < client.ttl(client.keys()[0]) <= 86_400
    client.close()


def test_a_password_is_not_shown() -> None:
    graph = cached(Doubles(), store="rediss://kim:secret@cache.example:6380/1?prefix=p:")
    assert "Redis('rediss://kim:***@cache.example:6380/1', prefix='p:')" in repr(graph)
    assert "secret" not in repr(redis_at("unix:///run/redis.sock?password=secret&db=2", "cached"))
    assert redis_at("redis://localhost/0", "cached") == Redis("redis://localhost/0", "hansang:")


def test_a_store_needs_no_base_class() -> None:
    store: Store = Slow()
    assert isinstance(store, Slow)


CODE = """
import asyncio, sys
from hansang import Batch, Call, cached, node
from hansang.nodes.cached import Cached
from dataclasses import replace

EXTRA = {extra}

def helper(row):
    return row["x"] + EXTRA

@node.each
def answer(row):
    return helper(row)

async def main():
    async with replace(cached(answer, 60, sys.argv[1]), patience=20.0) as graph:
        answers = await graph(Batch.of([{{"x": 1.5, "y": [1, 2]}}], [Call()]))
        await graph.cache.far.written()
        print(answers.rows, int(graph.cache.counts.hit.value))

asyncio.run(main())
"""


def test_deployments_share_a_redis_and_never_the_answers_of_other_code(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "deployed.py"
    shown = []
    for extra in (1, 1, 2, 1):
        path.write_text("\n" * extra + CODE.format(extra=extra))
        done = subprocess.run([sys.executable, path, redis_url], capture_output=True, text=True, check=True)
        shown.append(done.stdout.strip())
    assert shown == ["[2.5] 0", "[2.5] 1", "[3.5] 0", "[2.5] 1"]
