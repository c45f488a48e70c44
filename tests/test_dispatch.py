"""A row's answer leaves when its own branch is done, and no row is lost, doubled or given to another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansang import Batch, Call, node
from hansang.dispatch import Dispatcher, Limit, Part, Places, flow, gathered, spreads
from hansang.errors import DeadlineExceeded, InvalidRow, ModelFailed, WrongRows
from hansang.graph import Node, as_node, chain
from hansang.site import Site, Timed, bound
from hansang.testing import on_loop, turns


@dataclass(frozen=True, slots=True, eq=False)
class Modulo(Dispatcher):
    """Gives a row to the side of its remainder; the last remainder is settled here."""

    sides: tuple[Node, ...]

    def parts(self, batch: Batch) -> Iterable[Part]:
        settled = [place for place, row in enumerate(batch.rows) if row % (len(self.sides) + 1) == len(self.sides)]
        if settled:
            yield Part(batch.take(settled), at=settled)
        for number, side in enumerate(self.sides):
            at = [place for place, row in enumerate(batch.rows) if row % (len(self.sides) + 1) == number]
            if at:
                yield Part(batch.take(at), side, at)


@dataclass(frozen=True, slots=True, eq=False)
class Again(Dispatcher):
    """Sends the rows that failed to another node, and the others home."""

    first: Node
    second: Node

    def parts(self, batch: Batch) -> Iterable[Part]:
        def then(at: Places, answers: Batch) -> Iterable[Part]:
            bad = [place for place, row in enumerate(answers.rows) if isinstance(row, Exception)]
            good = answers.good
            yield Part(answers.take(good), at=good)
            if bad:
                yield Part(batch.take([at[place] for place in bad]), self.second, bad)

        return [Part(batch, self.first, then=then)]


@dataclass(frozen=True, slots=True, eq=False)
class Gate(Node):
    """Answers when a test says so."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, batch: Batch) -> Batch:
        await self.gate.wait()
        return batch.replace([row * 10 for row in batch.rows])


def plus(number: int) -> Node:
    @node
    def add(batch: Batch) -> list[int]:
        return [row + number for row in batch.rows]

    return add


def odd_fails(number: int) -> Node:
    @node.each
    def check(row: int) -> int:
        if row % number == 1:
            raise InvalidRow(f"row {row}")
        return row

    return check


def graphs() -> st.SearchStrategy[Node]:
    leaves = st.integers(1, 9).map(plus) | st.integers(2, 5).map(odd_fails)
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, min_size=2, max_size=3).map(lambda nodes: chain(*nodes))
            | st.lists(inner, min_size=1, max_size=3).map(lambda nodes: Modulo(tuple(nodes)))
            | st.tuples(inner, inner).map(lambda pair: Again(*pair))
        ),
        max_leaves=8,
    )


def told(row: Any) -> Any:
    return str(row) if isinstance(row, Exception) else row


@given(graph=graphs(), rows=st.lists(st.integers(0, 99), min_size=1, max_size=12))
def test_a_graph_over_a_batch_is_the_graph_over_its_rows_one_by_one(graph: Node, rows: list[int]) -> None:
    async def main() -> None:
        together = await gathered(graph, Batch.of(rows, [Call() for _ in rows]))
        alone = [(await gathered(graph, Batch.of([row], [Call()]))).rows[0] for row in rows]
        bind = await gathered(bound(graph), Batch.of(rows))
        called = (await graph(Batch.of(rows))).rows
        assert [told(row) for row in together.rows] == [told(row) for row in alone]
        assert [told(row) for row in bind.rows] == [told(row) for row in alone]
        assert [told(row) for row in called] == [told(row) for row in alone]

    asyncio.run(main())


@given(graph=graphs(), rows=st.lists(st.integers(0, 99), min_size=1, max_size=12))
def test_every_row_is_sent_exactly_once_and_with_its_own_call(graph: Node, rows: list[int]) -> None:
    async def main() -> None:
        calls = [Call(id=str(place)) for place in range(len(rows))]
        sent: list[int] = []

        def send(at: Places, answers: Batch) -> None:
            assert [call.id for call in answers.calls] == [str(place) for place in at]
            sent.extend(at)

        await flow(graph, Batch.of(rows, calls), range(len(rows)), send)
        assert sorted(sent) == list(range(len(rows)))

    asyncio.run(main())


@on_loop
async def test_a_settled_row_does_not_wait_for_the_others() -> None:
    gate = Gate()
    sent: dict[int, Any] = {}
    running = asyncio.create_task(
        flow(
            plus(0) >> Modulo((gate, plus(100))),
            Batch.of([0, 1, 2]),
            range(3),
            lambda at, answers: sent.update(zip(at, answers.rows, strict=True)),
        )
    )
    await turns()
    assert sent == {2: 2, 1: 101}
    gate.gate.set()
    await running
    assert sent[0] == 0


@on_loop
async def test_parts_that_wait_for_nothing_run_at_once_in_the_task_that_is_there() -> None:
    plain = node(lambda batch: [row * 10 for row in batch.rows])
    graph = bound(Modulo((plain, plain, chain(plain, plain))))
    begun: list[str] = []
    loop = asyncio.get_running_loop()

    def counting(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        begun.append(coro.__name__)
        return asyncio.Task(coro, loop=loop, **options)

    loop.set_task_factory(counting)
    answers = await graph(Batch([0, 1, 2, 3, 4]))
    assert answers.rows == [0, 10, 200, 3, 40]
    assert begun == []


@on_loop
async def test_a_part_that_waits_is_at_work_while_those_run_that_do_not() -> None:
    gate, seen = Gate(), []
    plain = node(lambda batch: [row * 10 for row in batch.rows])
    running = asyncio.create_task(
        flow(Modulo((gate, plain)), Batch([0, 1, 3]), range(3), lambda at, _: seen.append(at))
    )
    await turns(3)
    assert seen == [[1]]
    gate.gate.set()
    await running
    assert seen == [[1], [0, 2]]


@on_loop
async def test_who_is_cancelled_leaves_no_part_behind_that_has_not_begun() -> None:
    def leaves(batch: Batch) -> list[Any]:
        raise asyncio.CancelledError

    plain = node(lambda batch: list(batch.rows))
    running = asyncio.create_task(flow(Modulo((node(leaves), plain)), Batch([0, 1]), range(2), lambda *_: None))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@on_loop
async def test_what_follows_a_failed_row_starts_while_the_good_ones_are_still_at_work() -> None:
    gate = Gate()
    sent: dict[int, Any] = {}
    slow_or_bad = Modulo((gate, odd_fails(2)))
    running = asyncio.create_task(
        flow(
            Again(slow_or_bad, plus(1000)),
            Batch.of([0, 1]),
            range(2),
            lambda at, answers: sent.update(zip(at, answers.rows, strict=True)),
        )
    )
    await turns()
    assert sent == {1: 1001}
    gate.gate.set()
    await running
    assert sent == {1: 1001, 0: 0}


@on_loop
async def test_a_dispatcher_that_raises_fails_its_rows_and_no_others() -> None:
    @dataclass(frozen=True, slots=True, eq=False)
    class Broken(Dispatcher):
        def parts(self, batch: Batch) -> Iterable[Part]:
            raise KeyError("side")

    answers = await Modulo((Broken(), plus(1)))(Batch.of([0, 1, 2]))
    assert isinstance(answers.rows[0], ModelFailed)
    assert answers.rows[1:] == [2, 2]


@on_loop
async def test_a_continuation_that_raises_fails_the_rows_it_was_given() -> None:
    @dataclass(frozen=True, slots=True, eq=False)
    class Broken(Dispatcher):
        def parts(self, batch: Batch) -> Iterable[Part]:
            def then(at: Places, answers: Batch) -> Iterable[Part]:
                raise KeyError("cache")

            return [Part(batch, plus(1), then=then)]

    answers = await Broken()(Batch.of([0, 1]))
    assert all(isinstance(row, ModelFailed) for row in answers.rows)


@on_loop
async def test_a_node_that_gives_too_few_rows_fails_its_part_alone() -> None:
    @node
    def short(batch: Batch) -> list[int]:
        return [1] * (len(batch) - 1)

    answers = await Modulo((short, plus(1)))(Batch.of([0, 3, 1, 2]))
    assert [type(row) for row in answers.rows[:2]] == [WrongRows, WrongRows]
    assert answers.rows[2:] == [2, 2]


@on_loop
async def test_who_is_cancelled_takes_the_parts_along() -> None:
    gate = Gate()
    running = asyncio.create_task(gathered(Again(odd_fails(2), Modulo((plus(1), gate))), Batch.of([1, 4])))
    await turns()
    before = len(asyncio.all_tasks())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(asyncio.all_tasks()) < before
    assert len(asyncio.all_tasks()) == 1


def test_only_a_dispatcher_in_last_position_spreads() -> None:
    side = Modulo((plus(1),))
    assert spreads(side)
    assert spreads(plus(1) >> side)
    assert not spreads(side >> plus(1))
    assert not spreads(as_node(plus(1)))


def test_a_bound_graph_measures_its_nodes_and_leaves_the_declared_one_alone() -> None:
    site = Site(endpoint="predict")
    inner = plus(1)
    graph = inner >> Modulo((inner, plus(2)))
    running = site.graph(graph)
    assert [type(each).__name__ for each in running.nodes] == ["Timed", "Modulo"]  # type: ignore[attr-defined]  # a chain
    assert graph.nodes[0] is inner
    first, choice = running.nodes  # type: ignore[attr-defined]  # a chain
    assert first is choice.sides[0]
    assert isinstance(first, Timed)
    asyncio.run(gathered(running, Batch.of([0, 1, 2])))
    families = {
        sample.labels["node"]: sample.value
        for family in site.metrics.collect()
        for sample in family.samples
        if sample.name.endswith("_count")
    }
    assert families == {"add": 3.0}


def test_a_batch_keeps_its_columns_when_it_is_cut_for_callers() -> None:
    import numpy as np

    batch = Batch.of_columns({"x": np.arange(4.0)})
    batch.calls[2].key = "kim"
    part = batch.take([2, 0])
    assert part.whole is not None
    assert [call.key for call in part.calls] == ["kim", None]
    assert part.rows == [{"x": 2.0}, {"x": 0.0}]


def test_a_fork_learns_that_the_caller_left_and_brings_its_trail_home() -> None:
    batch = Batch.of([1], [Call(id="a", tags={"traceparent": "x"})])
    fork = batch.fork()
    other = batch.fork()
    fork.calls[0].tag("missing", ["y"])
    batch.join(fork)
    batch.calls[0].leave()
    assert other.calls[0].gone
    assert not fork.calls[0].gone
    assert batch.calls[0].tags == {"traceparent": "x", "missing": ["y"]}
    assert other.calls[0].tags is None


@dataclass(frozen=True, slots=True, eq=False)
class Backwards(Dispatcher):
    """Sends all rows in the opposite order."""

    inner: Node
    then: bool = False

    def parts(self, batch: Batch) -> Iterable[Part]:
        at = range(batch.size)[::-1]
        part = Part(batch.take(list(at)), self.inner, list(at))
        if self.then:
            part.then = lambda places, answers: [Part(answers)]
        return [part]


@on_loop
async def test_a_part_of_all_rows_in_another_order_gives_each_row_its_own_answer() -> None:
    for graph in (Backwards(plus(1)), Backwards(plus(1), True), Again(Backwards(plus(1)), plus(2))):
        assert (await graph(Batch.of([1, 2, 3]))).rows == [2, 3, 4]


@dataclass(frozen=True, slots=True, eq=False)
class Hurried(Dispatcher):
    """Gives a node so many seconds."""

    inner: Node
    seconds: float

    def parts(self, batch: Batch) -> Iterable[Part]:
        half = range(batch.size // 2, batch.size)
        fork = batch.take(list(half)).fork()
        yield Part(batch.take(list(range(half.start))), at=range(half.start))
        yield Part(fork, self.inner, half, limit=Limit(self.seconds, DeadlineExceeded("late")))


@on_loop
async def test_what_a_limited_part_has_not_settled_in_time_fails_and_only_that() -> None:
    gate = Gate()
    batch = Batch.of([0, 1, 2, 3], [Call() for _ in range(4)])
    answers = await Hurried(Modulo((gate,)), 0.01)(batch)
    assert [told(row) for row in answers.rows] == [0, 1, "late", 3]
    assert [[fork.gone for fork in call.forks or ()] for call in batch.calls] == [[], [], [True], [False]]
    assert not any(call.gone for call in batch.calls)
    gate.gate.set()
    assert (await Hurried(Modulo((gate,)), 60.0)(batch)).rows == [0, 1, 20, 3]


@on_loop
async def test_a_node_whose_inner_work_was_cancelled_fails_its_rows_and_does_not_end_the_turn() -> None:
    @node
    async def leaks(batch: Batch) -> list[int]:
        work = asyncio.ensure_future(asyncio.Event().wait())
        work.cancel()
        await work
        return batch.rows

    answers = await gathered(plus(1) >> Modulo((leaks,)), Batch.of([0, 1]))
    assert isinstance(answers.rows[0], ModelFailed) or isinstance(answers.rows[1], ModelFailed)
    assert answers.failed == 1


@dataclass(frozen=True, slots=True, eq=False)
class Watched(Dispatcher):
    """Says which of its parts are over; `then` sends every row on to a second part."""

    first: Node
    second: Node
    over: list[str] = field(default_factory=list)

    def parts(self, batch: Batch) -> Iterable[Part]:
        def then(at: Places, answers: Batch) -> Iterable[Part]:
            return [Part(answers, self.second, ended=lambda: self.over.append("second"))]

        half = range(batch.size // 2)
        rest = range(batch.size // 2, batch.size)
        return [
            Part(batch.take(half), self.first, half, then, ended=lambda: self.over.append("first")),
            Part(batch.take(rest), self.first, rest, ended=lambda: self.over.append("rest")),
        ]


@on_loop
async def test_a_part_is_told_that_it_is_over_after_its_rows_were_settled() -> None:
    graph = Watched(plus(1), plus(10))
    assert (await graph(Batch.of([0, 1]))).rows == [11, 2]
    assert set(graph.over) == {"first", "second", "rest"}


@on_loop
async def test_a_part_is_told_that_it_is_over_when_its_node_or_what_follows_is_cancelled() -> None:
    for turned, known in ((1, {"first", "rest"}), (6, {"first", "second", "rest"})):
        gate = Gate()
        graph = Watched(plus(1), gate)
        running = asyncio.create_task(gathered(graph, Batch.of([0, 1])))
        await turns(turned)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert set(graph.over) >= known


@on_loop
async def test_a_part_is_told_that_it_is_over_when_sending_fails() -> None:
    graph = Watched(plus(1), plus(1))

    def send(at: Places, answers: Batch) -> None:
        raise KeyError("closed")

    with pytest.raises(KeyError):
        await flow(graph, Batch.of([0, 1]), range(2), send)
    assert set(graph.over) >= {"first", "rest"}
