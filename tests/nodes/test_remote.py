"""A remote node against real far sides: what comes back, and what a far side that is not well costs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from hansang import Batch, Call, Model, Problem, Service, UsageError, cached, node
from hansang.call import Step
from hansang.errors import (
    CallerLeft,
    DeadlineExceeded,
    InvalidRow,
    ModelFailed,
    TooLarge,
    Unavailable,
)
from hansang.metrics import Metrics
from hansang.nodes.breaker import Breaker
from hansang.nodes.remote import remote
from hansang.site import Site
from hansang.testing import Clock, on_loop
from tests.nodes.serving import answer, asking, batch, misbehaving, serving, whole
from tests.served.ports import held


class Row(BaseModel):
    x: float = Field(le=100)


class Taken(Problem):
    status = 409
    title = "Taken"


seen: list[dict[str, Any]] = []


@node
async def half(rows: Batch) -> list[Any]:
    seen.extend({"headers": dict(call.headers), "deadline": call.deadline} for call in rows.calls)
    rows.mark(Step("half", "m", "7", variant="b"))
    return [
        Taken("by you") if row.x == 4 else ValueError("bad") if row.x == 5 else {"y": row.x / 2} for row in rows.rows
    ]


def service(**options: Any) -> Service:
    seen.clear()
    return Service("halves", half, input=Row, **options)


# --- a service ---


@on_loop
async def test_rows_go_together_and_each_has_its_own_outcome(tmp_path: Path) -> None:
    async with serving(service(), tmp_path) as url, asking(f"{url}/predict", name="halves") as far:
        rows = batch({"x": 3.0}, {"x": 4.0}, {"x": 5.0}, {"x": 101.0}, Row(x=1))
        answers = await far(rows)
    first, taken, failed, invalid, last = answers.rows
    assert (first, last) == ({"y": 1.5}, {"y": 0.5})
    assert (taken.status, taken.title, taken.detail, taken.public) == (409, "Taken", "by you", True)
    assert type(failed) is ModelFailed
    assert "bad" not in str(failed)
    assert type(invalid) is InvalidRow
    assert invalid.errors is not None
    assert invalid.errors[0]["loc"] == ["x"]
    assert len(seen) == 4, "one request, without the row that does not fit"
    assert [step.version for step in rows.calls[0].trail] == ["7"]
    assert rows.calls[0].trail[0].variant == "b"


@on_loop
async def test_rows_keep_their_own_status_when_all_of_them_failed(tmp_path: Path) -> None:
    async with serving(service(), tmp_path) as url, asking(f"{url}/predict") as far:
        answers = await far(batch({"x": 5.0}, {"x": 4.0}, {"x": 101.0}))
        assert [row.status for row in answers.rows] == [500, 409, 422]
        (alone,) = (await far(batch({"x": 4.0}))).rows
        assert (alone.status, alone.title) == (409, "Taken")


@on_loop
async def test_deadline_and_trace_go_along(tmp_path: Path) -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    async with serving(service(), tmp_path) as url, asking(f"{url}/predict", headers={"X-Tenant": "acme"}) as far:
        deadline = time.monotonic() + 5.0
        await far(batch({"x": 1.0}, deadline=deadline, headers={"traceparent": trace}, request_id="r-1"))
    (call,) = seen
    assert call["headers"]["traceparent"] == trace
    assert call["headers"]["x-request-id"] == "r-1"
    assert call["headers"]["x-tenant"] == "acme"
    assert abs(deadline - call["deadline"]) < 1.0


@on_loop
async def test_a_batch_larger_than_the_far_side_takes_is_cut(tmp_path: Path) -> None:
    async with serving(service(), tmp_path, max_rows=3) as url, asking(f"{url}/predict") as far:
        rows = [{"x": float(n)} for n in range(11) if n not in (4, 5)]
        for _ in range(2):
            answers = await far(batch(*rows))
            assert [row["y"] for row in answers.rows] == [row["x"] / 2 for row in rows]
        assert far.far.most == 3


@on_loop
async def test_a_row_that_is_too_large_alone_is_told_so(tmp_path: Path) -> None:
    async with serving(service(), tmp_path, max_body=1024) as url, asking(f"{url}/predict") as far:
        answers = await far(batch({"x": 1.0}, {"x": 2.0, "more": "a" * 2000}))
    assert answers.rows[0] == {"y": 0.5}
    assert isinstance(answers.rows[1], TooLarge)


@on_loop
async def test_an_address_that_is_wrong_is_not_the_callers_fault(tmp_path: Path) -> None:
    async with serving(service(), tmp_path) as url, asking(f"{url}/nowhere") as far:
        (outcome,) = (await far(batch({"x": 1.0}))).rows
    assert type(outcome) is ModelFailed
    assert "answered 404" in str(outcome)


# --- rows that nobody waits for ---


@on_loop
async def test_rows_that_nobody_waits_for_are_not_sent(tmp_path: Path) -> None:
    async with serving(service(), tmp_path) as url, asking(f"{url}/predict") as far:
        rows = batch({"x": 1.0}, {"x": 2.0}, {"x": 3.0})
        rows.calls[0].leave()
        rows.calls[2].deadline = time.monotonic() - 1.0
        left, good, late = (await far(rows)).rows
    assert (type(left), good, type(late)) == (CallerLeft, {"y": 1.0}, DeadlineExceeded)
    assert len(seen) == 1


# --- a far side that is not well ---


@on_loop
async def test_nobody_listens(unused_port: int) -> None:
    metrics = Metrics()
    site = Site(metrics=metrics, endpoint="e")
    async with asking(f"http://127.0.0.1:{unused_port}/predict", site, name="far") as far:
        started = time.monotonic()
        (outcome,) = (await far(batch({"x": 1.0}))).rows
    assert type(outcome) is Unavailable
    assert outcome.detail == "far is not available"
    assert time.monotonic() - started < 2.0
    counted = {(f.name, *s.labels.values()): s.value for f in metrics.collect() for s in f.samples}
    assert counted["hansang_remote_rows", "e", "far", "unavailable"] == 1.0
    assert counted["hansang_remote_retries", "e", "far"] == 1.0


@pytest.fixture
def unused_port() -> Iterator[int]:
    with held() as ports:
        yield ports[0]


@on_loop
async def test_a_connection_that_closes_before_the_answer_is_tried_again_once() -> None:
    requests = 0

    async def close_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        while await whole(reader):
            requests += 1
            if requests in (1, 3, 4):
                break
            writer.write(answer("200 OK", b'[{"y":1}]'))

    async with misbehaving(close_first) as url, asking(f"{url}/predict") as far:
        assert (await far(batch({"x": 1.0}))).rows == [{"y": 1}]
        (outcome,) = (await far(batch({"x": 1.0}))).rows
        assert type(outcome) is Unavailable
    assert requests == 4


@on_loop
async def test_an_answer_that_breaks_off_is_not_asked_for_again_unless_that_is_safe() -> None:
    requests = 0

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await whole(reader)
        requests += 1
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[{")

    async with misbehaving(break_off) as url:
        async with asking(f"{url}/predict") as far:
            assert type((await far(batch({"x": 1.0}))).rows[0]) is Unavailable
        assert requests == 1
        async with asking(f"{url}/predict", idempotent=True, retries=2) as far:
            assert type((await far(batch({"x": 1.0}))).rows[0]) is Unavailable
        assert requests == 4


@on_loop
async def test_a_request_that_may_be_running_is_not_sent_again_and_its_connection_is_closed() -> None:
    requests, closed = 0, asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await whole(reader)
        requests += 1
        assert await reader.read() == b""
        closed.set()

    async with misbehaving(hang) as url, asking(f"{url}/predict", timeout=0.05, retries=3) as far:
        (outcome,) = (await far(batch({"x": 1.0}))).rows
        assert type(outcome) is DeadlineExceeded
        await asyncio.wait_for(closed.wait(), 5)
        rows = batch({"x": 1.0}, deadline=time.monotonic() + 0.03)
        assert type((await far(rows)).rows[0]) is DeadlineExceeded
    assert requests == 2


@on_loop
async def test_503_with_a_time_is_tried_again_when_the_deadline_allows_it() -> None:
    requests = 0

    async def busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        while await whole(reader):
            requests += 1
            wait = "retry-after: 0" if requests == 1 else "retry-after: 100"
            body = b'{"detail":"the queue is full"}'
            writer.write(answer("200 OK", b'[{"y":1}]') if requests == 2 else answer("503 Busy", body, wait))

    async with misbehaving(busy) as url, asking(f"{url}/predict", name="far") as far:
        assert (await far(batch({"x": 1.0}))).rows == [{"y": 1}]
        (outcome,) = (await far(batch({"x": 1.0}, deadline=time.monotonic() + 30))).rows
    assert type(outcome) is Unavailable
    assert (outcome.detail, outcome.retry_after) == ("far: the queue is full", 100.0)
    assert requests == 3


@pytest.mark.parametrize(
    "said",
    [b"nonsense\r\n\r\n", answer("200 OK", b"{"), answer("200 OK", b'[{"y":1},{"y":2}]'), answer("200 OK", b"{}")],
)
@on_loop
async def test_an_answer_that_makes_no_sense_fails_the_rows(said: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole(reader)
        writer.write(said)

    async with misbehaving(talk) as url, asking(f"{url}/predict") as far:
        (outcome,) = (await far(batch({"x": 1.0}))).rows
    assert isinstance(outcome, ModelFailed | Unavailable)


@on_loop
async def test_the_breaker_rests_and_the_far_side_is_found_again_by_itself(unused_port: int) -> None:
    clock = Clock(time.monotonic())
    breaker = Breaker(min_rows=2, open_for=5.0, probes=1)
    requests = 0

    async def well(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        while body := await whole(reader):
            requests += 1
            writer.write(answer("200 OK", json.dumps([{"y": 1}] * len(json.loads(body))).encode()))

    node = remote(f"http://127.0.0.1:{unused_port}/predict", breaker=breaker, retries=0)
    far = type(node)(node.url, retries=0, breaker=breaker, clock=clock)
    async with far:
        assert [type(row) for row in (await far(batch({"x": 1.0}, {"x": 2.0}))).rows] == [Unavailable] * 2
        async with misbehaving(well, unused_port):
            (resting,) = (await far(batch({"x": 1.0}))).rows
            assert (type(resting), requests) == (Unavailable, 0)
            clock.advance(5.0)
            probe, other = (await far(batch({"x": 1.0}, {"x": 2.0}))).rows
            assert (probe, type(other), requests) == ({"y": 1}, Unavailable, 1)
            assert (await far(batch({"x": 1.0}, {"x": 2.0}))).rows == [{"y": 1}] * 2


@on_loop
async def test_connections_are_bounded_and_used_again() -> None:
    open_now = most = connections = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most, connections
        connections += 1
        while await whole(reader):
            open_now += 1
            most = max(most, open_now)
            await asyncio.sleep(0.002)
            open_now -= 1
            writer.write(answer("200 OK", b'[{"y":1}]'))

    async with misbehaving(count) as url, asking(f"{url}/predict", max_connections=3) as far:
        await asyncio.gather(*[far(batch({"x": 1.0})) for _ in range(20)])
        assert most <= 3
        assert connections <= 3
        cancelled = [asyncio.ensure_future(far(batch({"x": 1.0}))) for _ in range(8)]
        await asyncio.sleep(0.001)
        for task in cancelled[:6]:
            task.cancel()
        await asyncio.gather(*cancelled, return_exceptions=True)
        assert (await far(batch({"x": 1.0}))).rows == [{"y": 1}]
        assert far.far.client.pool.open <= 3


# --- one node of a file ---


def test_what_makes_no_sense_is_refused_with_a_remedy() -> None:
    for url in ("localhost:8000/predict", "ftp://a/b", "http://", "http://a:x/b", "http://a/b?c=1", "http://u:p@a/b"):
        with pytest.raises(UsageError, match="give http://host:port/path"):
            remote(url)
    with pytest.raises(UsageError, match="give the route of a service"):
        remote("http://a:1")
    with pytest.raises(UsageError, match="timeout of the remote node"):
        remote("http://a/predict", timeout=0)
    with pytest.raises(UsageError, match="protocol='grpc' is not one of service, node, inference"):
        remote("http://a/predict", protocol="grpc")
    with pytest.raises(UsageError, match="is not a header field"):
        remote("http://a/predict", headers={"a": "b\r\nc: d"})


def test_the_url_says_what_is_there_and_names_the_node() -> None:
    assert remote("http://a:80/nodes/crop").label == "crop"
    assert remote("http://a:80/v2/models/digits/versions/3").label == "digits"
    assert remote("http://a:81/predict").label == "a:81"
    assert "secret" not in repr(remote("http://a/predict", headers={"authorization": "secret"}))


def model(rows: Batch) -> list[Any]:
    return rows.rows


def test_models_that_are_elsewhere_are_not_loaded_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hansang.settings import Settings

    here, there = Model(model, name="here"), Model(tmp_path / "not-there.onnx", name="there")
    service = Service("s", here >> there, input=Row)
    service.load(Settings(nodes={"there": {"port": 8101}}))  # type: ignore[dict-item]  # as TOML gives it
    assert service.models == [here]
    service.unload()


@on_loop
async def test_a_cache_before_a_remote_node_keeps_the_versions_apart_that_answer_there() -> None:
    """The far side's version is learned from its answers; an answer of another one is no hit any more."""
    versions = iter(["1", "1", "2", "1"])
    seen: list[str] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while body := await whole(reader):
            seen.append(version := next(versions))
            answers = json.dumps([f"by {version}"] * len(json.loads(body))).encode()
            fields = "content-type: application/json", f"x-model-version: {version}"
            writer.write(answer("200 OK", answers, *fields))

    async with misbehaving(handler) as url, remote(f"{url}/predict") as far:
        graph = cached(far)

        async def ask(number: int) -> Any:
            return (await graph(Batch.of([{"n": number}], [Call()]))).rows[0]

        assert [await ask(1), await ask(1), await ask(1)] == ["by 1"] * 3  # the first one tells the version
        assert seen == ["1", "1"]
        assert await ask(2) == "by 2"
        assert await ask(1) == "by 1"
        assert seen == ["1", "1", "2", "1"]
        assert await ask(1) == "by 1"
