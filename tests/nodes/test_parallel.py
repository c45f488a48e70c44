"""All members at once: what they say is joined row by row, and none of them harms another."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from hansang import Batch, Call, Model, Node, Problem, UsageError, node, parallel
from hansang.call import Step
from hansang.errors import CallerLeft, DeadlineExceeded, InvalidRow, ModelFailed, Overloaded
from hansang.graph import Lifetime
from hansang.metrics import Metrics
from hansang.models.batcher import Batcher
from hansang.site import Site, bound
from hansang.testing import HeldLanes, on_loop, turns


def gives(*predictions: Any) -> Node:
    """Make a node that gives these predictions, whatever it is asked."""

    @node
    def fixed(batch: Batch) -> list[Any]:
        return list(predictions)

    return fixed


@node
def double(batch: Batch) -> list[int]:
    return [row * 2 for row in batch.rows]


@node
def negative(batch: Batch) -> list[int]:
    return [-row for row in batch.rows]


@node
async def forever(batch: Batch) -> list[int]:
    await asyncio.Event().wait()
    return batch.rows


@node
async def down(batch: Batch) -> list[int]:
    raise ConnectionError("down")


@node
def short(batch: Batch) -> list[int]:
    return batch.rows[1:]


def batch_of(*rows: Any) -> Batch:
    return Batch.of(list(rows), [Call(row=n) for n in range(len(rows))])


def told(outcome: Any) -> Any:
    return f"{type(outcome).__name__}: {outcome}" if isinstance(outcome, Exception) else outcome


# --- without combine ---


@on_loop
async def test_the_prediction_of_a_row_is_a_dict_by_member() -> None:
    batch = batch_of(1, 2)
    answers = await parallel(twice=double, minus=negative)(batch)
    assert answers.rows == [{"twice": 2, "minus": -1}, {"twice": 4, "minus": -2}]
    assert answers.calls == batch.calls


@on_loop
async def test_members_without_a_name_go_by_their_labels_and_plain_functions_are_members() -> None:
    def third(batch: Batch) -> list[int]:
        return [3] * len(batch)

    answers = await parallel(double, third, last=negative)(batch_of(1))
    assert answers.rows == [{"double": 2, "third": 3, "last": -1}]


@on_loop
async def test_members_are_asked_at_once() -> None:
    met = asyncio.Barrier(2)

    @node
    async def meets(batch: Batch) -> list[int]:
        await met.wait()
        return batch.rows

    answers = await parallel(a=meets, b=meets)(batch_of(1))
    assert answers.rows == [{"a": 1, "b": 1}]


@on_loop
async def test_trails_are_joined_in_the_order_of_the_members_whoever_ends_first() -> None:
    gate = asyncio.Event()

    def noted(version: str, waits: bool) -> Node:
        @node
        async def steps(batch: Batch) -> list[int]:
            if waits:
                await gate.wait()
            batch.mark(Step("model", version=version))
            gate.set()
            return batch.rows

        return steps

    batch = batch_of(1, 2)
    await parallel(a=noted("1", True), b=noted("2", False))(batch)
    assert [[step.version for step in call.trail] for call in batch.calls] == [["1", "2"], ["1", "2"]]
    columns = Batch.of_columns({"x": np.arange(2)})
    await parallel(a=noted("1", False), b=noted("2", False))(columns)
    assert [[step.version for step in call.trail] for call in columns.calls] == [["1", "2"], ["1", "2"]]


@on_loop
async def test_members_do_not_see_each_others_changes_of_a_row() -> None:
    @node
    def adds(batch: Batch) -> list[Any]:
        for row in batch.rows:
            row["seen"] = row.get("seen", 0) + 1
        return batch.rows

    rows = [{"x": 1}, {"x": 2}]
    answers = await parallel(a=adds, b=adds)(batch_of(*rows))
    assert [row["b"]["seen"] for row in answers.rows] == [1, 1]
    assert rows == [{"x": 1}, {"x": 2}]


# --- members that fail ---


@on_loop
async def test_a_member_that_raises_or_loses_rows_fails_a_row_that_needs_all_and_says_which() -> None:
    answers = await parallel(good=double, bad=down)(batch_of(1, 2))
    assert {told(row) for row in answers.rows} == {"ModelFailed: bad: down: ConnectionError: down"}
    answers = await parallel(good=double, bad=short)(batch_of(1, 2))
    assert {told(row) for row in answers.rows} == {
        "WrongRows: bad: short gave 1 predictions for 2 rows; return one per row"
    }


@on_loop
async def test_a_member_that_hangs_is_late_and_cancels_nobody() -> None:
    graph = parallel(good=double, slow=forever, timeout={"slow": 0.01}, quorum=1)
    batch = batch_of(1, 2)
    assert (await graph(batch)).rows == [{"good": 2, "slow": None}, {"good": 4, "slow": None}]
    assert [call.trail for call in batch.calls] == [[Step("parallel", variant="partial")]] * 2
    assert [call.tags for call in batch.calls] == [{"missing": ["slow"]}] * 2


@on_loop
async def test_a_member_that_is_late_fails_its_rows_with_its_name_and_its_time() -> None:
    answers = await parallel(good=double, slow=forever, timeout=0.01)(batch_of(1))
    assert told(answers.rows[0]) == "DeadlineExceeded: slow: no answer within 0.01 s"


@on_loop
async def test_with_a_quorum_each_row_has_what_was_answered_and_only_partial_ones_are_marked() -> None:
    batch = batch_of(1, 2, 3)
    graph = parallel(a=gives(1, ValueError("a"), ValueError("a")), b=gives(1, 2, ValueError("b")), c=double, quorum=2)
    answers = await graph(batch)
    assert answers.rows[:2] == [{"a": 1, "b": 1, "c": 2}, {"a": None, "b": 2, "c": 4}]
    assert told(answers.rows[2]) == "ModelFailed: a: ValueError: a"
    assert [call.tags for call in batch.calls] == [None, {"missing": ["a"]}, None]
    assert [[step.variant for step in call.trail] for call in batch.calls] == [[], ["partial"], []]


class NoFace(Problem):
    """A fault of the photo."""

    status = 422


@on_loop
async def test_the_most_telling_error_is_the_clients_own_fault_then_a_failure_then_a_refusal() -> None:
    errors: list[Exception] = [
        CallerLeft("left"),
        DeadlineExceeded("late"),
        Overloaded("full", retry_after=3.0),
        ModelFailed("broken"),
        NoFace("no face"),
    ]
    expected = ["CallerLeft: left", "a: late", "a: full", "a: broken", "NoFace: no face"]
    for number in range(len(errors)):
        members: dict[str, Any] = {chr(97 + n): gives(error) for n, error in enumerate(errors[: number + 1])}
        (outcome,) = (await parallel(**members)(batch_of(1))).rows
        assert str(outcome).partition(": ")[2] in expected[number]
        assert type(outcome) is type(errors[number])
    (full,) = (await parallel(a=gives(errors[2]))(batch_of(1))).rows
    assert told(full) == "Overloaded: a: full" and full.retry_after == 3.0 and full.__cause__ is errors[2]
    (own,) = (await parallel(a=gives(errors[4]))(batch_of(1))).rows
    assert own is errors[4]


@on_loop
async def test_a_member_whose_inner_work_was_cancelled_fails_alone() -> None:
    @node
    async def leaks(batch: Batch) -> list[int]:
        raise asyncio.CancelledError

    answers = await parallel(good=double, bad=leaks, quorum=1)(batch_of(1))
    assert answers.rows == [{"good": 2, "bad": None}]


@on_loop
async def test_a_partial_answer_has_the_versions_of_those_that_answered_and_a_failed_row_of_all() -> None:
    def fails(version: str, error: Exception | None) -> Node:
        @node
        def marked(batch: Batch) -> list[Any]:
            batch.mark(Step("model", version=version))
            return [error or row for row in batch.rows]

        return marked

    members: dict[str, Any] = {"a": fails("1", ValueError("a")), "b": fails("2", None)}
    partial, failed = batch_of(1), batch_of(1)
    await parallel(**members, quorum=1)(partial)
    await parallel(**members)(failed)
    assert [step.version for step in partial.calls[0].trail if step.version] == ["2"]
    assert [step.version for step in failed.calls[0].trail] == ["1", "2"]


# --- time, callers, cancellation ---


def held(lanes: HeldLanes, label: str = "model") -> Batcher:
    return Batcher(lambda batch: batch.replace([row * 10 for row in batch.rows]), step=Step(label), lanes=lanes)


def behind(batcher: Batcher) -> Node:
    @node
    async def asks(batch: Batch) -> Batch:
        return await batcher(batch)

    return asks


@on_loop
async def test_rows_of_a_late_member_are_dropped_before_the_model_and_the_running_call_is_not_harmed() -> None:
    lanes = HeldLanes()
    batcher = held(lanes)
    other = asyncio.create_task(batcher(batch_of(7)))
    await turns()
    graph = parallel(good=double, slow=behind(batcher), timeout={"slow": 0.01}, quorum=1)
    assert (await graph(batch_of(1))).rows == [{"good": 2, "slow": None}]
    await graph.__aexit__()
    assert batcher.counts.dropped["caller_left"] == 1 and batcher.queued == 0
    lanes.finish()
    assert (await other).rows == [70] and not lanes.calls


@on_loop
async def test_a_caller_who_leaves_is_seen_by_every_member_and_deadlines_are_theirs_too() -> None:
    seen: list[Call] = []

    @node
    async def watches(batch: Batch) -> list[int]:
        seen.extend(batch.calls)
        await asyncio.Event().wait()
        return batch.rows

    call = Call(deadline=5.0, id="a")
    running = asyncio.create_task(parallel(a=watches, b=watches)(Batch.of([1], [call])))
    await turns()
    call.leave()
    assert [(fork.gone, fork.deadline, fork.id) for fork in seen] == [(True, 5.0, "a")] * 2
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@on_loop
async def test_a_cancelled_parallel_cancels_its_members_and_leaves_no_task_behind() -> None:
    ended: list[str] = []

    def ends(name: str) -> Node:
        @node
        async def waits(batch: Batch) -> list[int]:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(name)
            return batch.rows

        return waits

    graph = parallel(a=ends("a"), b=ends("b"))
    running = asyncio.create_task(graph(batch_of(1)))
    await turns()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await graph.__aexit__()
    assert ended == ["a", "b"] and not graph._owner.late
    assert asyncio.all_tasks() == {asyncio.current_task()}


@on_loop
async def test_a_member_that_takes_its_time_to_end_delays_nobody_and_is_owned_until_it_has() -> None:
    gate = asyncio.Event()

    @node
    async def stubborn(batch: Batch) -> list[int]:
        try:
            await asyncio.Event().wait()
        finally:
            await gate.wait()
        return batch.rows

    graph = parallel(good=double, slow=stubborn, timeout=0.01, quorum=1)
    assert isinstance(graph, Lifetime)
    async with graph:
        assert (await graph(batch_of(1))).rows == [{"good": 2, "slow": None}]
        assert len(graph._owner.late) == 1
        gate.set()
    assert not graph._owner.late


# --- combine ---


@on_loop
async def test_a_mean_is_taken_of_numbers_arrays_lists_and_dicts_of_them() -> None:
    async def mean(*predictions: Any) -> Any:
        members: dict[str, Any] = {f"m{n}": gives(prediction) for n, prediction in enumerate(predictions)}
        (outcome,) = (await parallel(**members, combine="mean")(batch_of(0))).rows
        return outcome

    class Face(BaseModel):
        age: int
        sure: float

    assert await mean(1, 2.0, 6) == 3.0
    assert await mean([1, 2], [3, 4]) == [2.0, 3.0]
    assert (await mean(np.array([1, 2]), np.array([3, 4]))).tolist() == [2.0, 3.0]
    assert await mean({"a": 1, "b": {"c": [1, 1]}}, {"b": {"c": [3, 5]}, "a": 2}) == {"a": 1.5, "b": {"c": [2.0, 3.0]}}
    assert await mean(Face(age=30, sure=0.5), {"age": 31, "sure": 1.0}) == {"age": 30.5, "sure": 0.75}
    assert await mean(np.float32(1.5), np.float32(2.5)) == 2.0


@on_loop
async def test_what_has_no_mean_fails_its_row_alone_and_says_whose_prediction_it_was() -> None:
    async def mean(a: Any, b: Any) -> str:
        answers = await parallel(a=gives(1.0, a, 3.0), b=gives(3.0, b, 5.0), combine="mean")(batch_of(0, 0, 0))
        assert [answers.rows[0], answers.rows[2], answers.failed] == [2.0, 4.0, 1]
        return str(answers.rows[1])

    assert await mean(1, "1.5") == (
        "parallel (mean): TypeError: b gave str; a mean needs numbers, arrays, or dicts of them"
    )
    assert "a gave NoneType" in await mean(None, 1)
    assert "different shapes: {'a': (2,), 'b': (1,)}" in await mean([1, 2], [3])
    assert "got a: x; b: y" in await mean({"x": 1}, {"y": 1})
    assert "b gave int; a mean needs the same fields" in await mean({"x": 1}, 1)
    assert "b gave dict" in await mean(1, {"x": 1})


@on_loop
async def test_weights_are_those_of_the_members_that_answered() -> None:
    graph = parallel(a=gives(1.0, 1.0), b=gives(4.0, ValueError("b")), combine="weighted", weights=[1, 2], quorum=1)
    assert (await graph(batch_of(0, 0))).rows == [3.0, 1.0]
    graph = parallel(a=gives(ValueError("a")), b=gives(4.0), combine="weighted", weights={"b": 0, "a": 1}, quorum=1)
    (outcome,) = (await graph(batch_of(0))).rows
    assert "the weights of the members that answered (b) are 0" in str(outcome)


@on_loop
async def test_a_vote_goes_to_the_majority_and_a_tie_to_the_earliest_member() -> None:
    async def vote(*predictions: Any) -> Any:
        members: dict[str, Any] = {f"m{n}": gives(prediction) for n, prediction in enumerate(predictions)}
        (outcome,) = (await parallel(**members, combine="vote", quorum=1)(batch_of(0))).rows
        return outcome

    assert await vote("cat", "dog", "dog") == "dog"
    assert await vote("cat", "dog", "cow") == "cat"
    assert await vote("a", "b", "b", "a") == "a"
    assert await vote(ValueError("away"), "b", "c") == "b"
    assert await vote({"x": 1}, {"x": 2}, {"x": 2}) == {"x": 2}
    assert (await vote(np.array([1, 2]), np.array([1, 3]), np.array([1, 3]))).tolist() == [1, 3]
    assert (await vote({"x": np.arange(2)}, {"x": np.ones(2)}, {"x": np.ones(2)}))["x"].tolist() == [1, 1]


@on_loop
async def test_combine_may_be_a_function_of_the_dict_a_node_or_a_model() -> None:
    async def later(row: dict[str, Any]) -> int:
        await asyncio.sleep(0)
        return int(row["a"] - row["b"])

    @node
    def at_once(batch: Batch) -> list[int]:
        return [row["a"] * row["b"] for row in batch.rows]

    def stacked(batch: Batch) -> list[int]:
        return [row["a"] + 1 for row in batch.rows]

    members: dict[str, Any] = {"a": double, "b": negative}
    assert (await parallel(**members, combine=lambda row: row["a"] + row["b"])(batch_of(1, 2))).rows == [1, 2]
    assert (await parallel(**members, combine=later)(batch_of(1, 2))).rows == [3, 6]
    assert (await parallel(**members, combine=at_once)(batch_of(1, 2))).rows == [-2, -8]
    async with Model(stacked) as model:
        assert (await bound(parallel(**members, combine=model))(batch_of(1, 2))).rows == [3, 5]


@on_loop
async def test_a_combining_function_that_raises_fails_its_row_and_never_sees_a_failed_one() -> None:
    graph = parallel(a=gives(1, 0, ValueError("a")), combine=lambda row: 1 / row["a"])
    answers = await graph(batch_of(0, 0, 0))
    assert answers.rows[0] == 1.0
    assert [str(row) for row in answers.rows[1:]] == [
        "<lambda>: ZeroDivisionError: division by zero",
        "a: ValueError: a",
    ]


def columns_of(kind: str) -> st.SearchStrategy[list[list[Any]]]:
    value: st.SearchStrategy[Any] = st.integers(-5, 5)
    if kind == "mean":
        value |= st.floats(-100, 100)
    return st.integers(1, 6).flatmap(
        lambda rows: st.lists(st.lists(value, min_size=rows, max_size=rows), min_size=1, max_size=9)
    )


@pytest.mark.parametrize("combine", ["mean", "vote"])
@given(data=st.data())
def test_combining_whole_columns_is_combining_rows_and_a_batch_is_its_rows(combine: str, data: st.DataObject) -> None:
    columns = data.draw(columns_of(combine))

    def whole(column: list[Any]) -> Node:
        @node
        def gives_columns(batch: Batch) -> dict[str, np.ndarray]:
            return {"x": np.array(column)}

        return gives_columns

    async def main() -> None:
        batch = batch_of(*[0] * len(columns[0]))
        named: dict[str, Any] = {f"m{n}": gives(*[{"x": x} for x in c]) for n, c in enumerate(columns)}
        by_rows = parallel(**named, combine=combine)
        named = {f"m{n}": whole(column) for n, column in enumerate(columns)}
        by_columns = parallel(**named, combine=combine)
        rows = (await by_rows(batch)).rows
        assert (await by_columns(batch)).rows == rows
        assert (await by_columns(Batch.of_columns({"i": np.arange(len(rows))}))).rows == rows
        for place, row in enumerate(rows):
            alone: dict[str, Any] = {f"m{n}": gives({"x": column[place]}) for n, column in enumerate(columns)}
            assert (await parallel(**alone, combine=combine)(batch_of(0))).rows == [row]

    asyncio.run(main())


# --- any member failing anyhow ---


def flaky(number: int, bad: frozenset[int], client: frozenset[int]) -> Node:
    @node.each
    def answers(row: int) -> float:
        if row in bad:
            raise ValueError(f"row {row}")
        if row in client:
            raise InvalidRow(f"row {row}")
        return row / number

    return answers


ROWS = st.integers(0, 9)
MEMBERS = st.tuples(st.integers(1, 5), st.frozensets(ROWS), st.frozensets(ROWS, max_size=2)).map(lambda a: flaky(*a))


@given(
    members=st.lists(MEMBERS, min_size=1, max_size=4),
    rows=st.lists(ROWS, min_size=1, max_size=8),
    quorum=st.integers(1, 4),
    combine=st.sampled_from([None, "mean", "vote", sorted]),
    broken=st.sampled_from([None, down, short]),
)
def test_whichever_members_fail_a_batch_is_its_rows_one_by_one(
    members: list[Node], rows: list[int], quorum: int, combine: Any, broken: Node | None
) -> None:
    named: dict[str, Any] = {f"m{n}": member for n, member in enumerate(members)}
    if broken is not None:
        named["broken"] = broken
    graph = parallel(**named, combine=combine, quorum=min(quorum, len(named)))

    async def main() -> None:
        batch = batch_of(*rows)
        together = await graph(batch)
        assert together.size == len(rows) and together.calls == batch.calls
        for place, row in enumerate(rows):
            single = batch_of(row)
            (alone,) = (await graph(single)).rows
            if "1 predictions for" not in str(together.rows[place]) and "predictions for" not in str(alone):
                assert told(together.rows[place]) == told(alone)
            assert batch.calls[place].tags == single.calls[0].tags

    asyncio.run(main())


# --- where it runs ---


@on_loop
async def test_the_time_of_a_member_and_its_missing_rows_are_counted_under_its_name() -> None:
    metrics = Metrics()
    graph = parallel(a=double, b=gives(ValueError("b"), 1), quorum=1, name="heads")
    at_work = bound(graph, metrics=metrics, endpoint="predict")
    await at_work(batch_of(1, 2))
    series = {
        (family.name, *sample.labels.values()): sample.value
        for family in metrics.collect()
        for sample in family.samples
    }
    assert series["hansang_parallel_missing_rows", "predict", "b", "heads"] == 1
    assert series["hansang_parallel_missing_rows", "predict", "a", "heads"] == 0
    histogram = metrics.histogram("hansang_node_seconds", "", endpoint="predict", node="a")
    assert sum(histogram._cells[histogram._at : histogram._sum]) == 1


def test_a_node_in_two_places_is_bound_once_and_timed_under_each_name() -> None:
    model = Model(len)
    first = parallel(a=model, b=model).bind(Site()).members
    assert first["a"].label == "a" and first["b"].label == "b"
    assert getattr(first["a"], "node") is getattr(first["b"], "node")  # noqa: B009


def test_what_does_not_fit_the_members_is_refused_where_it_is_written() -> None:
    def refused(text: str, *nodes: Any, **options: Any) -> None:
        with pytest.raises(UsageError, match=text):
            parallel(*nodes, **options)

    refused("parallel has no members")
    refused("two members called 'double'; name them", double, double)
    refused("two members called 'double'; name them", double, double=negative)
    refused("5 is not a node", a=5)
    refused(
        "cannot combine by 'median'; expected 'mean', 'weighted', 'vote', a function or a node",
        double,
        combine="median",
    )
    refused("has a timeout for 'b'; its members are: a", a=double, timeout={"b": 1.0})
    refused("in seconds, above 0, got 0", a=double, timeout=0)
    refused("the quorum of parallel is a number of members, 1 to 1, got 2", a=double, quorum=2)
    refused("give both or neither", a=double, combine="weighted")
    refused("give both or neither", a=double, combine="mean", weights=[1])
    refused("1 members and 2 weights", a=double, combine="weighted", weights=[1, 2])
    refused("no weight for a", a=double, combine="weighted", weights={})
    refused("has a weight for 'b'", a=double, combine="weighted", weights={"a": 1, "b": 1})
    refused("not all 0", a=double, combine="weighted", weights=[0])
    refused("0 or more", a=double, b=double, combine="weighted", weights=[-1, 2])
