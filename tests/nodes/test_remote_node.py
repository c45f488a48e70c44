"""A node of the same file in another process: the same answers, calls and trails as beside it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from hansang import Batch, Model, Node, Service, UsageError, node
from hansang.alone import alone
from hansang.call import Step
from hansang.errors import CallerLeft, ModelFailed, TooLarge
from hansang.graph import settle
from hansang.peers.wire import MEDIA
from hansang.places import find, named, placed
from hansang.testing import on_loop
from tests.nodes.serving import asking, batch, serving
from tests.peers.shapes import Point, Teapot


@node
async def look(rows: Batch) -> list[Any]:
    """Look at everything that a node may look at, and write everywhere that it may write."""
    said = []
    for row, call in zip(rows.rows, rows.calls, strict=True):
        patience = None if call.deadline is None else round(call.deadline - time.monotonic())
        told = [call.id, call.row, call.request_id, call.key, patience, dict(call.headers), call.tags, call.gone]
        said.append({"row": row, "call": told, "trail": list(call.trail)} if row != "teapot" else Teapot("red"))
        call.tag("looked", ("at", row))
        call.key = "changed"
    rows.mark(Step("look", "eyes", "2", rows=rows.size, queue=0.25))
    rows.mark(Step("second"))
    return said


def columns_only(rows: Batch) -> dict[str, np.ndarray]:
    assert rows.whole is not None
    return {"sum": rows.whole["a"] + rows.whole["b"], "background": np.full(rows.size, rows.background)}


def service() -> Service:
    graph = look >> Model(columns_only, name="sums") >> Model(lambda rows: [object() for _ in rows.rows], name="odd")
    return Service("s", graph, input=dict[str, float])


def rows_with_calls() -> Batch:
    rows = batch({"a": np.arange(3)}, (1, "teapot"), "teapot", Point(x=2), headers={"x-a": "b", "host": "me"}, key="k")
    for call in rows.calls:
        call.trail.append(Step("before", "m", "1"))
        call.request_id, call.tags = "r-9", {"t": 1.5}
    rows.calls[0].deadline = time.monotonic() + 50.0
    return rows


@on_loop
async def test_a_node_sees_and_says_the_same_as_beside(tmp_path: Path) -> None:
    here, there = rows_with_calls(), rows_with_calls()
    expected = await look(here)
    async with serving(alone(service(), "look"), tmp_path) as url, asking(f"{url}/nodes/look") as far:
        got = await far(there)
    for mine, its in zip(expected.rows, got.rows, strict=True):
        if isinstance(mine, Exception):
            assert (type(its), str(its)) == (type(mine), str(mine))
        else:
            mine["call"][5].pop("host")
            assert str(its) == str(mine)
    for mine, its in zip(here.calls, there.calls, strict=True):
        assert (its.trail, its.key, str(its.tags)) == (mine.trail, mine.key, str(mine.tags))
    assert there.calls[0].trail[1] is there.calls[1].trail[1], "rows of a batch share their steps"


@on_loop
async def test_columns_stay_columns_and_background_stays_background(tmp_path: Path) -> None:
    columns = Batch.of_columns({"a": np.arange(4), "b": np.ones(4)})
    columns.background = True
    async with serving(alone(service(), "sums"), tmp_path) as url:
        async with asking(f"{url}/nodes/sums") as far:
            answers = await far(columns)
            assert [step.model for step in columns.steps] == ["sums"]
        async with asking(f"{url}/nodes/sums", max_rows=3) as far:
            cut = Batch.of_columns({"a": np.arange(4), "b": np.ones(4)})
            assert (await far(cut)).rows[3]["sum"] == 4.0
            assert len(cut.steps) == 1
    assert answers.whole is not None
    assert answers.whole["sum"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert answers.whole["background"].all()
    assert not columns.has_calls


@on_loop
async def test_what_cannot_be_sent_is_the_failure_of_its_row(tmp_path: Path) -> None:
    async with serving(alone(service(), "look"), tmp_path) as url, asking(f"{url}/nodes/look") as far:
        first, bad, last = (await far(batch("a", object(), "c"))).rows
        assert (first["row"], last["row"]) == ("a", "c")
        assert type(bad) is ModelFailed
        assert "a object cannot be sent" in str(bad)
    async with serving(alone(service(), "odd"), tmp_path) as url, asking(f"{url}/nodes/odd") as far:
        (outcome,) = (await far(batch("a"))).rows
        assert "cannot be sent" in str(outcome)


@on_loop
async def test_bodies_that_are_no_batch_and_limits(tmp_path: Path) -> None:
    chosen = {"max_body": 4096, "max_rows": 4}
    async with serving(alone(service(), "look"), tmp_path, **chosen) as url, httpx.AsyncClient(base_url=url) as client:
        path, media = "/nodes/look", {"content-type": MEDIA}
        answer = await client.post(path, content=b'HSB\x01\0\0\0\x0e{"buffers":[]}', headers=media)
        assert (answer.status_code, answer.json()["detail"]) == (400, "the message has no rows")
        assert (await client.post(path, json={"a": 1})).status_code == 415
        assert (await client.post(path, content=b"a" * 5000, headers=media)).status_code == 413
        assert (await client.get("/readyz")).json()["ready"] is True
        assert 'endpoint="look",status="400"' in (await client.get("/metrics")).text
        assert (await client.get("/openapi.json")).status_code == 200
        async with asking(url + path) as far:
            assert [row["row"] for row in (await far(batch(*range(10)))).rows] == list(range(10))
            assert isinstance((await far(batch("a" * 5000))).rows[0], TooLarge)


@on_loop
async def test_any_asgi_server_can_serve_a_node() -> None:
    only = alone(service(), "look")
    transport = httpx.ASGITransport(only.app)
    async with only.lifespan(only.app), httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.post("/nodes/look", content=b"nothing", headers={"content-type": MEDIA})
        assert (answer.status_code, answer.json()["detail"]) == (400, "the body is not a message of hansang")


@on_loop
async def test_a_caller_who_leaves_is_known_on_the_other_side(tmp_path: Path) -> None:
    reached, left = asyncio.Event(), asyncio.Event()

    @node
    async def slow(rows: Batch) -> list[Any]:
        reached.set()
        while not rows.calls[0].gone:  # noqa: ASYNC110  # a call has no event: batchers look when they look
            await asyncio.sleep(0.001)
        left.set()
        return [CallerLeft("he left")]

    async with serving(alone(Service("s", slow, input=dict[str, int]), "slow"), tmp_path) as url:
        async with asking(f"{url}/nodes/slow") as far:
            asked = asyncio.ensure_future(far(batch(1)))
            await asyncio.wait_for(reached.wait(), 10)
            asked.cancel()
            await asyncio.wait_for(left.wait(), 10)


# --- which node is which ---


@dataclass(frozen=True, slots=True, eq=False)
class Sides(Node):
    members: dict[str, Node]

    async def __call__(self, rows: Batch) -> Batch:
        parts = [await member(rows) for member in self.members.values()]
        return rows.replace([list(said) for said in zip(*[part.rows for part in parts], strict=True)])


@node.each
def same(row: Any) -> Any:
    return row


@node.each
def plus(row: int) -> int:
    return row + 1


@node.each
def times(row: int) -> int:
    return row * 2


def test_nodes_are_named_by_their_labels_and_by_the_keys_under_which_they_are_held() -> None:
    model = Model(lambda rows: rows.rows, name="m")
    left = plus >> model
    graph = plus >> Sides({"left": left, "right": times})
    names = named(graph)
    assert {name: len(nodes) for name, nodes in names.items()} == {
        "plus": 1,
        "sides": 1,
        "left": 1,
        "right": 1,
        "times": 1,
        "m": 1,
    }
    assert find({"/p": graph}, "left") is left
    assert find({"/p": graph}, "right") is times


def test_a_name_that_is_unknown_or_of_several_says_so() -> None:
    graph = Sides({"a": Model(lambda rows: rows.rows, name="m"), "b": Model(lambda rows: rows.rows, name="m")})
    with pytest.raises(UsageError, match="2 nodes are called 'm'; give each a name of its own"):
        find({"/p": graph}, "m")
    with pytest.raises(UsageError, match="no node 'c'; /p has: a, b, m, sides"):
        find({"/p": graph}, "c")


def test_a_side_is_moved_with_all_that_it_holds() -> None:
    age = Model(lambda rows: rows.rows, name="age")
    side = plus >> age
    assert find({"/p": Sides({"age": side})}, "age") is side


@on_loop
async def test_a_graph_with_moved_nodes_gives_the_same_answers(tmp_path: Path) -> None:
    graph = plus >> Sides({"left": plus >> times, "right": times}) >> same
    whole = Service("s", graph, input=dict[str, int])
    expected = await settle(graph, batch(1, 2, 3))
    async with serving(alone(whole, "left"), tmp_path) as url, asking(f"{url}/nodes/left", name="left") as far:
        apart = placed(graph, {id(find({"/": graph}, "left")): far})
        assert (await settle(apart, batch(1, 2, 3))).rows == expected.rows == [[6, 4], [8, 6], [10, 8]]
    assert placed(graph, {}) is graph
