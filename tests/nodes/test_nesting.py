"""Patterns in patterns in chains: a batch is its rows one by one, whoever fails and however it is run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansang import Batch, Call, Model, Node, chain, fallback, node, parallel, split, switch
from hansang.call import Step
from hansang.dispatch import Places, flow
from hansang.errors import InvalidRow
from hansang.graph import settle
from hansang.site import bound
from hansang.testing import on_loop
from tests.nodes.test_fallback import sent_by
from tests.nodes.test_parallel import batch_of, told


def leaf(number: int, bad: frozenset[int], client: frozenset[int], waits: bool) -> Node:
    """Make a node that adds a number, and fails for some remainders by its own or by the client's fault."""

    @node
    async def adds(batch: Batch) -> list[Any]:
        if waits:
            await asyncio.sleep(0)
        batch.mark(Step("model", version=str(number)))
        return [answer(row) for row in batch.rows]

    def answer(row: Any) -> Any:
        size = len(str(row))
        if size % 7 in bad:
            return ValueError(f"{number} of {row}")
        return InvalidRow(f"{number} of {row}") if size % 7 in client else f"{number}({row})"

    return adds


SOME = st.frozensets(st.integers(0, 6), max_size=3)
LEAVES = st.tuples(st.integers(0, 9), SOME, SOME, st.booleans()).map(lambda facts: leaf(*facts))


def size(row: Any) -> int:
    """Choose by size; a row of the size 2 has no branch, and one of the size 3 cannot be asked."""
    found = len(str(row)) % 4
    if found == 3:
        raise ValueError(f"three of {row}")
    return found


def several(nodes: list[Node], quorum: int, combine: Any) -> Node:
    named: dict[str, Any] = {f"m{n}": each for n, each in enumerate(nodes)}
    return parallel(**named, quorum=min(quorum, len(nodes)), combine=combine)


def graphs() -> st.SearchStrategy[Node]:
    return st.recursive(
        LEAVES,
        lambda inner: (
            st.lists(inner, min_size=2, max_size=3).map(lambda nodes: chain(*nodes))
            | st.lists(inner, min_size=2, max_size=3).map(lambda nodes: fallback(*nodes, breaker=None))
            | inner.map(lambda each: fallback(each, "constant", breaker=None, timeout=60.0))
            | st.tuples(inner, inner).map(lambda pair: split({"a": (pair[0], 2), "b": (pair[1], 1)}, by=str))
            | st.tuples(inner, inner).map(lambda pair: switch(size, {0: pair[0], 1: pair[1]}))
            | st.tuples(inner, inner).map(lambda pair: switch({"n > 1": pair[0]}, default=pair[1]))
            | st.builds(
                several, st.lists(inner, min_size=1, max_size=3), st.integers(1, 3), st.sampled_from([None, "vote"])
            )
        ),
        max_leaves=7,
    )


@given(graph=graphs(), rows=st.lists(st.text("ab", max_size=6), min_size=1, max_size=8))
def test_any_nesting_over_a_batch_is_the_nesting_over_its_rows(graph: Node, rows: list[str]) -> None:
    async def main() -> None:
        at_work = bound(graph)
        batch = batch_of(*rows)
        sent = await sent_by(at_work, batch)
        called = await settle(at_work, batch_of(*rows))
        offline = await settle(graph, Batch.of(list(rows)))
        assert len(sent) == called.size == offline.size == len(rows)
        for place, row in enumerate(rows):
            single = batch_of(row)
            alone = (await sent_by(at_work, single))[0]
            assert told(alone) == told(sent[place]) == told(called.rows[place]) == told(offline.rows[place])
            assert batch.calls[place].trail == single.calls[0].trail
            assert batch.calls[place].tags == single.calls[0].tags

    asyncio.run(main())


@given(graph=graphs(), rows=st.lists(st.text("ab", max_size=6), min_size=1, max_size=5), turn=st.integers(0, 6))
def test_a_turn_that_is_cancelled_leaves_no_task_and_sends_no_row_twice(
    graph: Node, rows: list[str], turn: int
) -> None:
    async def main() -> None:
        sent: list[int] = []

        def send(at: Places, answers: Batch) -> None:
            sent.extend(at)

        running = asyncio.create_task(flow(graph, batch_of(*rows), range(len(rows)), send))
        for _ in range(turn):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])
        for _ in range(10):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert len(set(sent)) == len(sent)
        assert running.cancelled() or sorted(sent) == list(range(len(rows)))

    asyncio.run(main())


@pytest.mark.parametrize("inline", [True, False])
@on_loop
async def test_rows_of_a_model_that_it_fails_fall_back_and_its_version_is_only_theirs_that_it_answered(
    inline: bool,
) -> None:
    def invert(batch: Batch) -> list[float]:
        return [1 / row for row in batch.rows]

    async with Model(invert, inline=inline) as model:
        calls = [Call() for _ in range(3)]
        graph = bound(fallback(parallel(a=model, b=model, combine="mean"), 0.0))
        assert (await graph(Batch.of([1, 0, 4], calls))).rows == [1.0, 0.0, 0.25]
        assert [[step.model for step in call.trail if step.model] for call in calls] == [
            ["invert", "invert"],
            [],
            ["invert", "invert"],
        ]
