from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansang import Batch, Call, Chain, Model, Node, Problem, UsageError, chain, node
from hansang.errors import InvalidRow, ModelFailed, WrongRows
from hansang.graph import Lifetime, as_node, members, pass_on, settle, walk
from hansang.testing import on_loop


@node
def double(batch: Batch) -> list[int]:
    return [row * 2 for row in batch.rows]


@node
async def add_one(batch: Batch) -> np.ndarray:
    return np.array(batch.rows) + 1


@node.each
def invert(row: float) -> float:
    return 1 / row


@node.each
async def text(row: float) -> str:
    return str(row)


def batch_of(*rows: Any) -> Batch:
    return Batch.of(list(rows), [Call(row=n) for n in range(len(rows))])


@on_loop
async def test_a_function_on_a_batch_is_a_node_sync_or_async() -> None:
    batch = batch_of(1, 2)
    assert (await double(batch)).rows == [2, 4]
    assert (await add_one(batch)).rows == [2, 3]
    assert (await double(batch)).calls == batch.calls


@on_loop
async def test_a_function_on_a_row_fails_its_row_alone() -> None:
    answer = await invert(batch_of(1, 0, 4))
    assert [answer.rows[0], answer.rows[2]] == [1.0, 0.25] and answer.failed == 1
    assert (
        isinstance(answer.rows[1], ModelFailed) and str(answer.rows[1]) == "invert: ZeroDivisionError: division by zero"
    )
    assert (await text(batch_of(1, 2))).rows == ["1", "2"]


@on_loop
async def test_a_function_that_raises_for_one_row_does_not_fail_the_other_requests_of_its_turn() -> None:
    @node
    def checked(batch: Batch) -> list[float]:
        return [1 / row for row in batch.rows]

    answer = await checked(batch_of(1, 2, 0, 4))
    assert [row for row in answer.rows if not isinstance(row, Exception)] == [1.0, 0.5, 0.25]
    assert isinstance(answer.rows[2], ModelFailed)


@on_loop
async def test_an_async_function_that_raises_is_called_once_and_fails_its_rows() -> None:
    called = []

    @node
    async def elsewhere(batch: Batch) -> list[int]:
        called.append(batch.size)
        raise ConnectionError("down")

    answer = await elsewhere(batch_of(1, 2, 3))
    assert {str(row) for row in answer.rows} == {"elsewhere: ConnectionError: down"} and called == [3]


@on_loop
async def test_a_function_may_give_a_batch_of_its_own() -> None:
    @node
    def fresh(batch: Batch) -> Batch:
        return Batch.of([row + 1 for row in batch.rows])

    @node
    def short(batch: Batch) -> Batch:
        return batch.slice(0, 1)

    @node
    def backwards(batch: Batch) -> Batch:
        return batch.take(range(len(batch))[::-1])

    batch = batch_of(1, 2)
    assert (await fresh(batch)).calls == batch.calls
    assert isinstance((await short(batch)).rows[1], WrongRows)
    assert "another order" in str((await backwards(batch)).rows[0])


@on_loop
async def test_an_object_with_an_async_call_is_awaited() -> None:
    class Lookup:
        async def __call__(self, batch: Batch) -> list[int]:
            return [row + 5 for row in batch.rows]

    assert (await as_node(Lookup())(batch_of(1))).rows == [6]


@on_loop
async def test_a_chain_feeds_each_node_with_the_predictions_of_the_one_before() -> None:
    assert (await (double >> add_one >> text)(batch_of(1, 2))).rows == ["3", "5"]
    assert (await chain(double, lambda batch: [-row for row in batch.rows])(batch_of(1))).rows == [-2]


def test_chains_in_chains_become_one() -> None:
    flat = (double >> add_one) >> (text >> double)
    assert isinstance(flat, Chain) and flat.nodes == (double, add_one, text, double)
    assert (len >> double).nodes[1] is double


def test_what_is_not_a_node_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="5 is not a node; give a Model, a pattern, or a function of a Batch"):
        chain(double, 5)


@on_loop
async def test_a_failed_row_is_not_sent_on_and_keeps_its_place() -> None:
    seen: list[Any] = []

    @node
    def watch(batch: Batch) -> list[Any]:
        seen.extend(batch.rows)
        return batch.rows

    batch = batch_of(2, 0, 4, 0)
    answer = await (invert >> watch >> text)(batch)
    assert seen == [0.5, 0.25]
    assert [answer.rows[0], answer.rows[2]] == ["0.5", "0.25"]
    assert isinstance(answer.rows[1], ModelFailed) and answer.failed == 2 and answer.calls == batch.calls


@on_loop
async def test_a_node_is_not_called_when_every_row_has_failed() -> None:
    @node
    def never(batch: Batch) -> list[Any]:
        raise AssertionError("called")

    batch = batch_of(ValueError("a"), ValueError("b"))
    assert (await pass_on(never, batch)).rows == batch.rows


@on_loop
async def test_rows_stay_in_the_background_when_one_of_them_fails() -> None:
    batch = batch_of(1, 0)
    batch.background = True
    seen = []

    @node
    def watch(part: Batch) -> list[Any]:
        seen.append(part.background)
        return part.rows

    assert (await (invert >> watch)(batch)).background and seen == [True]


class Broken(Node):
    """A pattern with a fault of its own."""

    async def __call__(self, batch: Batch) -> Batch:
        raise RuntimeError("broken")


class Short(Node):
    """A pattern that loses a row."""

    async def __call__(self, batch: Batch) -> Batch:
        return batch.slice(1, batch.size)


class SoldOut(Problem):
    """A user's own problem."""

    status = 409


class Refusing(Node):
    """A pattern that refuses a batch in its own words."""

    async def __call__(self, batch: Batch) -> Batch:
        raise SoldOut("nothing left")


@on_loop
async def test_whatever_a_graph_does_every_row_has_an_outcome() -> None:
    broken = await settle(Broken(), batch_of(1, 2))
    assert {str(row) for row in broken.rows} == {"the graph: RuntimeError: broken"} and broken.failed == 2
    refused = await settle(Refusing(), batch_of(1, 2))
    assert all(isinstance(row, SoldOut) for row in refused.rows)
    short = await settle(Short(), batch_of(1, 2))
    assert {str(row) for row in short.rows} == {"the graph gave 1 predictions for 2 rows; return one per row"}


@on_loop
async def test_a_row_that_was_invalid_stays_so_when_the_graph_fails_or_loses_rows() -> None:
    invalid = InvalidRow("no x")
    for broken in (Broken(), Short()):
        answer = await settle(broken, batch_of(1, invalid, 2))
        assert answer.rows[1] is invalid and answer.failed == 3
        assert isinstance(answer.rows[0], ModelFailed) and answer.rows[0] is answer.rows[2]


@on_loop
async def test_a_node_without_a_call_says_so() -> None:
    class Empty(Node):
        pass

    with pytest.raises(TypeError, match="Empty is not a node: it has no __call__"):
        await Empty()(batch_of(1))


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=10))
def test_a_graph_over_a_batch_equals_the_graph_over_its_rows(rows: list[int]) -> None:
    graph = double >> invert >> add_one >> text

    @on_loop
    async def compare() -> None:
        whole = await settle(graph, batch_of(*rows))
        single = [(await settle(graph, batch_of(row))).rows[0] for row in rows]
        assert [str(row) for row in whole.rows] == [str(row) for row in single]

    compare()


# --- the shape of a graph ---


@dataclass(frozen=True)
class Fork(Node):
    """A pattern with nodes in every kind of field."""

    main: Node
    others: tuple[Node, ...] = ()
    named: Mapping[Any, Any] = field(default_factory=dict)
    weight: float = 1.0
    rule: Callable[[Any], Any] | None = None


def test_the_members_of_a_node_are_found_in_its_fields() -> None:
    fork = Fork(double, (add_one, text), {"a": invert, Broken: 90})
    assert list(members(fork)) == [double, add_one, text, invert]
    keyed = Fork(double, named={invert: 90, text: 10})
    assert list(members(keyed)) == [double, invert, text]
    assert list(members(Broken())) == []


def test_walking_a_graph_meets_every_node_once_outermost_first() -> None:
    shared = Model(len)
    inner = chain(double, shared)
    graph = Fork(inner, (shared, text))
    assert list(walk(graph)) == [graph, inner, double, shared, text]


def test_a_model_has_a_lifetime_and_a_function_has_none() -> None:
    assert isinstance(Model(len), Lifetime) and not isinstance(double, Lifetime)
