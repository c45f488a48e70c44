"""Any graph of the patterns gives the same online, row by row and in `hansang score`; leaving callers touch nobody."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_core import from_json

from hansang import (
    Batch,
    Call,
    Model,
    Node,
    Problem,
    Service,
    cached,
    chain,
    fallback,
    node,
    parallel,
    shadow,
    split,
    staged,
    switch,
)
from hansang.scoring import score
from hansang.server.ask import Ask, Marks
from hansang.server.serving import Serving
from hansang.settings import Settings, load_settings


class Row(BaseModel):
    """What every node here takes and gives."""

    n: int
    user: str


class Refused(Problem):
    """The client's own fault."""

    status = 409


def leaf(number: int, bad: frozenset[int], client: frozenset[int], kind: str) -> Node:
    """Add a number to every row; for some remainders fail, by its own fault or by the client's."""

    def answer(row: Row) -> Any:
        if row.n % 7 in bad:
            return ValueError(f"{number} of {row.n}")
        return Refused(f"{number} of {row.n}") if row.n % 7 in client else Row(n=row.n + number, user=row.user)

    if kind == "model":
        return Model(lambda batch: [answer(row) for row in batch.rows], name=f"m{number}")

    @node
    async def adds(batch: Batch) -> list[Any]:
        if kind == "late":
            await asyncio.sleep(0)
        return [answer(row) for row in batch.rows]

    return adds


def first(answers: dict[str, Any]) -> Any:
    return next(answer for answer in answers.values() if answer is not None)


SOME = st.frozensets(st.integers(0, 6), max_size=2)
KINDS = st.sampled_from(["model", "late", "plain"])
LEAVES = st.tuples(st.integers(1, 9), SOME, SOME, KINDS).map(lambda facts: leaf(*facts))
ROWS = st.lists(
    st.builds(Row, n=st.integers(0, 30), user=st.sampled_from(["kim", "lee", "park"])), min_size=1, max_size=9
)


def graphs() -> st.SearchStrategy[Node]:
    return st.recursive(
        LEAVES,
        lambda inner: (
            st.lists(inner, min_size=2, max_size=3).map(lambda nodes: chain(*nodes))
            | inner.map(lambda each: cached(each, ttl=60.0))
            | st.lists(inner, min_size=2, max_size=3).map(lambda nodes: fallback(*nodes, breaker=None))
            | st.tuples(inner, inner).map(lambda pair: split({"a": (pair[0], 2), "b": (pair[1], 1)}, by="user"))
            | st.tuples(inner, inner).map(lambda pair: switch(lambda row: row.n % 2, {0: pair[0]}, default=pair[1]))
            | st.tuples(inner, inner).map(lambda pair: switch({"n > 9 and user != 'kim'": pair[0]}, default=pair[1]))
            | st.tuples(inner, inner).map(lambda pair: parallel(x=pair[0], y=pair[1], quorum=1, combine=first))
            | st.tuples(inner, inner).map(lambda pair: shadow(*pair))
            | st.tuples(inner, inner).map(lambda pair: staged(*pair))
        ),
        max_leaves=6,
    )


class Kept(Ask):
    """A request that keeps its answer."""

    def __init__(self, rows: list[Row], many: bool) -> None:
        super().__init__(list(rows), [Call(row=n) for n in range(len(rows))], many, None, 0.0)
        self.answers: list[tuple[int, bytes]] = []
        self.came = asyncio.Event()

    def deliver(self, status: int, media: bytes, body: bytes, marks: Marks, error: Problem | None) -> None:
        self.answers.append((status, body))
        self.came.set()

    def told(self) -> list[Any]:
        """Give each row's prediction, or the status and the detail of its problem."""
        assert len(self.answers) == 1
        status, body = self.answers[0]
        found = from_json(body)
        if not self.many:
            return [found if status == 200 else (found["status"], found["detail"])]
        if status not in (200, 207):
            return [(None, None)] * len(self.rows)  # every row failed: one problem says so
        return [read(entry) for entry in found]


def read(entry: Any) -> Any:
    error = entry.get("error")
    return (error["status"], error["detail"]) if error else entry


def asks_of(rows: list[Row], sizes: list[int]) -> list[Kept]:
    """Cut rows into requests: an object, or an array of some."""
    asks, at, turn = [], 0, 0
    while at < len(rows):
        size = sizes[turn % len(sizes)]
        asks.append(Kept(rows[at : at + max(size, 1)], size > 0))
        at += max(size, 1)
        turn += 1
    return asks


def service_of(graph: Node) -> Service:
    return Service("any", graph, input=Row, output=Row)


async def online(graph: Node, asks: list[Kept], leaving: frozenset[int] = frozenset(), *, apart: bool = False) -> None:
    """Send requests together, in one turn, or one after the other; some of the callers leave at once."""
    quiet = load_settings(Settings, record=False)
    async with Serving(service_of(graph), quiet).running() as at:
        turn = at.turns["/predict"]
        for number, ask in enumerate(asks):
            turn.add(ask)
            if number in leaving:
                ask.leave()
            if apart:
                await ask.came.wait()
        await asyncio.gather(*(ask.came.wait() for ask in asks))
    assert at.in_flight == 0


def same(outcome: Any, other: Any) -> bool:
    return bool(outcome in (other, (None, None)))


@given(graph=graphs(), rows=ROWS, sizes=st.lists(st.integers(0, 4), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_turn_of_requests_is_its_rows_one_by_one(graph: Node, rows: list[Row], sizes: list[int]) -> None:
    async def main() -> None:
        asks = asks_of(rows, sizes)
        await online(graph, asks)
        together = [outcome for ask in asks for outcome in ask.told()]
        alone = asks_of(rows, [0])
        await online(graph, alone, apart=True)
        for ask, outcome in zip(alone, together, strict=True):
            assert same(outcome, ask.told()[0])

    asyncio.run(main())


@given(graph=graphs(), rows=ROWS, leaving=st.frozensets(st.integers(0, 8), max_size=5))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_callers_who_leave_touch_nobody(graph: Node, rows: list[Row], leaving: frozenset[int]) -> None:
    async def main() -> None:
        calm, asks = asks_of(rows, [0]), asks_of(rows, [0])
        await online(graph, calm)
        await online(graph, asks, leaving)
        for number, (ask, expected) in enumerate(zip(asks, calm, strict=True)):
            told = ask.told()  # once, also by those who left; what these would be told depends on who dropped them
            if number not in leaving:
                assert told == expected.told()

    asyncio.run(main())


@given(graph=graphs(), rows=ROWS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_score_gives_what_the_server_answers(graph: Node, rows: list[Row]) -> None:
    asks = asks_of(rows, [0])
    asyncio.run(online(graph, asks))
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "rows.jsonl", Path(folder) / "out.jsonl"
        source.write_text("".join(row.model_dump_json() + "\n" for row in rows), "utf-8")
        quiet = load_settings(Settings, record=False)
        score(service_of(graph), [source], out, processes=1, keep="none", settings=quiet)
        scored = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert len(scored) == len(rows)
    for line, ask in zip(scored, asks, strict=True):
        outcome = ask.told()[0]
        if isinstance(outcome, tuple):
            assert line["error"], (line, outcome)
        else:
            assert {"n": line["n"], "user": line["user"]} == outcome
