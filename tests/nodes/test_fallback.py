"""The rows that the first side does not answer go to the next one, and only they."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from hansang import Batch, Call, Node, Problem, UsageError, fallback, node
from hansang.call import Step
from hansang.dispatch import Places, flow
from hansang.errors import CallerLeft, DeadlineExceeded, InvalidRow, ModelFailed, Overloaded, Unavailable
from hansang.metrics import Metrics
from hansang.nodes.breaker import Breaker
from hansang.nodes.constant import Constant
from hansang.nodes.fallback import Fallback
from hansang.site import Site, bound
from hansang.switches import Switches, switch_off, switch_on
from hansang.testing import Clock, HeldLanes, on_loop, turns
from tests.nodes.test_parallel import batch_of, behind, double, down, forever, gives, held, told

BREAKER = Breaker(error_rate=0.5, min_rows=4, window=10.0, open_for=5.0, probes=2)


@node
def light(batch: Batch) -> list[Any]:
    return ["light"] * len(batch)


def variants(batch: Batch) -> list[list[str]]:
    return [[step.variant for step in call.trail] for call in batch.calls]


async def sent_by(graph: Node, batch: Batch) -> dict[int, Any]:
    """Run a graph as the server does; gives the outcomes in the order in which they were sent."""
    sent: dict[int, Any] = {}

    def send(at: Places, answers: Batch) -> None:
        sent.update(zip(at, answers.rows, strict=True))

    await flow(graph, batch, range(batch.size), send)
    return sent


# --- which rows go on ---


@on_loop
async def test_rows_that_the_server_failed_go_on_and_the_answer_says_who_served() -> None:
    broken = gives(1, ValueError("b"), ModelFailed("c"), Overloaded("d"), Unavailable("e"), DeadlineExceeded("f"))
    batch = batch_of(*range(6))
    answers = await fallback(broken, light)(batch)
    assert answers.rows == [1, *["light"] * 5] and answers.calls == batch.calls
    assert variants(batch) == [["fixed"], *[["light"]] * 5]


class Own(Problem):
    """A problem of the user's own."""

    status = 409


class Broken(Problem):
    """A failure in the user's own words."""

    status = 502


@on_loop
async def test_faults_of_the_client_and_callers_who_left_do_not_go_on() -> None:
    errors = [InvalidRow("a"), Own("b"), CallerLeft("c")]
    answers = await fallback(gives(*errors, Broken("d")), light)(batch_of(0, 0, 0, 0))
    assert answers.rows == [*errors, "light"]


@on_loop
async def test_nobody_is_asked_for_a_row_whose_caller_left_or_whose_deadline_has_passed() -> None:
    clock = Clock()
    asked: list[Any] = []

    @node
    def counts(batch: Batch) -> list[str]:
        asked.extend(batch.rows)
        return ["light"] * len(batch)

    batch = batch_of("left", "late", "waits")
    batch.calls[0].leave()
    batch.calls[1].deadline = clock.now
    batch.calls[2].deadline = clock.now + 1
    answers = await Fallback((down, counts), clock=clock)(batch)
    assert [told(row) for row in answers.rows] == [*["ModelFailed: down: ConnectionError: down"] * 2, "light"]
    assert asked == ["waits"]


@on_loop
async def test_when_every_side_fails_the_outcome_is_the_last_ones() -> None:
    answers = await fallback(down, gives(ValueError("too")))(batch_of(1))
    assert told(answers.rows[0]) == "ValueError: too"


@on_loop
async def test_a_failing_side_leaves_nothing_in_the_trail_nor_in_the_row() -> None:
    @node
    def spoils(batch: Batch) -> list[Any]:
        batch.mark(Step("model", version="7"))
        for row, call in zip(batch.rows, batch.calls, strict=True):
            row["x"] = "spoilt"
            call.tag("by", "spoils")
        return [ValueError("no") if row["n"] else "heavy" for row in batch.rows]

    @node
    def shows(batch: Batch) -> list[Any]:
        return [row["x"] for row in batch.rows]

    batch = batch_of({"x": "clean", "n": 0}, {"x": "clean", "n": 1})
    answers = await fallback(spoils, shows)(batch)
    assert answers.rows == ["heavy", "clean"]
    assert [[step.version for step in call.trail] for call in batch.calls] == [["7", ""], [""]]
    assert [call.tags for call in batch.calls] == [{"by": "spoils"}, None]


@on_loop
async def test_there_may_be_several_sides_and_equal_labels_are_told_apart() -> None:
    graph = fallback(gives(1, ValueError("a"), ValueError("a")), gives(2, ValueError("b")), {"x": 0})
    batch = batch_of(0, 0, 0)
    assert (await graph(batch)).rows == [1, 2, {"x": 0}]
    assert variants(batch) == [["fixed"], ["fixed-2"], ["constant"]]


# --- constants ---


@on_loop
async def test_every_row_has_a_copy_of_the_constant() -> None:
    class Face(BaseModel):
        age: int = 30
        box: list[int] = [1, 2]

    for value in ({"a": 1}, {"a": [1]}, Face(), [1, 2]):
        rows = (await fallback(down, value)(batch_of(1, 2))).rows
        assert rows == [value, value]
        assert rows[0] is not rows[1] and rows[0] is not value
    nested = (await fallback(down, {"a": [1]})(batch_of(1, 2))).rows
    nested[0]["a"].append(2)
    assert nested[1] == {"a": [1]}
    assert (await fallback(down, None)(batch_of(1))).rows == [None]
    assert (await fallback(down, 0.5)(batch_of(1))).rows == [0.5]


def test_the_declaration_shows_all_of_it() -> None:
    graph = fallback(light, {"a": 1}, timeout=0.5, breaker=None, name="guard")
    assert repr(graph).endswith("Constant(value={'a': 1}, name='constant')), timeout=0.5, breaker=None, name='guard')")


def test_what_cannot_fall_back_is_refused_where_it_is_written() -> None:
    with pytest.raises(UsageError, match="fallback has nothing to fall back on"):
        fallback(light)
    with pytest.raises(UsageError, match="5 is not a node"):
        fallback(light, 5, light)
    with pytest.raises(UsageError, match="in seconds, above 0, got -1"):
        fallback(light, 5, timeout=-1)
    with pytest.raises(UsageError, match="a Breaker or None, got 0.5"):
        fallback(light, 5, breaker=0.5)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(UsageError, match="give a function that raises it"):
        fallback(light, ValueError("x"))


# --- leaving when done ---


@on_loop
async def test_good_rows_leave_at_once_and_do_not_wait_for_those_that_fall_back() -> None:
    gate = asyncio.Event()

    @node
    async def slow_light(batch: Batch) -> list[str]:
        await gate.wait()
        return ["light"] * len(batch)

    sent: dict[int, Any] = {}
    graph = fallback(gives(1, ValueError("b"), 3), slow_light)
    running = asyncio.create_task(
        flow(graph, batch_of(0, 0, 0), range(3), lambda at, part: sent.update(zip(at, part.rows, strict=True)))
    )
    await turns()
    assert sent == {0: 1, 2: 3}
    gate.set()
    await running
    assert sent[1] == "light"


@on_loop
async def test_within_a_side_rows_leave_as_they_are_settled_too() -> None:
    batch = batch_of(0, 0)
    inner = fallback(gives(1, ValueError("b")), forever, name="inner")
    graph = fallback(inner, light, timeout=0.02)
    assert list((await sent_by(graph, batch)).items()) == [(0, 1), (1, "light")]
    assert variants(batch) == [["fixed", "inner"], ["light"]]


# --- time ---


@on_loop
async def test_a_side_that_is_late_is_given_up_and_its_rows_fall_back() -> None:
    lanes = HeldLanes()
    batcher = held(lanes)
    other = asyncio.create_task(batcher(batch_of(7)))
    await turns()
    batch = batch_of(1, 2)
    graph = fallback(behind(batcher), light, timeout=0.01)
    assert (await graph(batch)).rows == ["light", "light"] and variants(batch) == [["light"]] * 2
    assert batcher.counts.dropped["caller_left"] == 2 and batcher.queued == 0
    assert not any(call.gone for call in batch.calls)
    lanes.finish()
    assert (await other).rows == [70] and not lanes.calls


@on_loop
async def test_a_side_that_takes_its_time_to_be_cancelled_does_not_hold_up_the_answer() -> None:
    gate, sent = asyncio.Event(), asyncio.Event()

    @node
    async def stubborn(batch: Batch) -> list[str]:
        try:
            await asyncio.Event().wait()
        finally:
            await gate.wait()
        return batch.rows

    outcomes: list[Any] = []

    def send(at: Places, answers: Batch) -> None:
        outcomes.extend(answers.rows)
        sent.set()

    running = asyncio.create_task(flow(fallback(stubborn, light, timeout=0.01), batch_of(1), range(1), send))
    await sent.wait()
    assert outcomes == ["light"] and not running.done()
    gate.set()
    await running
    assert outcomes == ["light"]


@on_loop
async def test_what_comes_after_its_time_is_not_sent_again() -> None:
    @node
    async def swallows(batch: Batch) -> list[int]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return batch.rows
        return batch.rows

    outcomes: list[Any] = []
    graph = fallback(swallows, light, timeout=0.01)
    await flow(graph, batch_of(1), range(1), lambda at, part: outcomes.extend(part.rows))
    assert outcomes == ["light"]


@on_loop
async def test_a_cancelled_turn_cancels_the_side_that_it_waits_for() -> None:
    running = asyncio.create_task(fallback(forever, light, timeout=60.0)(batch_of(1)))
    await turns()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert asyncio.all_tasks() == {asyncio.current_task()}


@on_loop
async def test_a_caller_who_leaves_is_seen_by_the_side_that_works() -> None:
    seen: list[Call] = []

    @node
    async def watches(batch: Batch) -> list[int]:
        seen.extend(batch.calls)
        await asyncio.Event().wait()
        return batch.rows

    call = Call(deadline=5.0)
    running = asyncio.create_task(fallback(watches, light)(Batch.of([1], [call])))
    await turns()
    call.leave()
    assert [(fork.gone, fork.deadline) for fork in seen] == [(True, 5.0)]
    running.cancel()
    await asyncio.wait([running])


# --- the breaker ---


class Switchable:
    """A side that a test breaks and mends."""

    def __init__(self) -> None:
        self.outcome: Any = "heavy"
        self.asked = 0
        self.node = node(self.predict)

    def predict(self, batch: Batch) -> list[Any]:
        self.asked += batch.size
        return [self.outcome] * batch.size


@on_loop
async def test_a_side_that_keeps_failing_is_not_asked_until_its_probes_go_well() -> None:
    clock, heavy = Clock(), Switchable()
    graph = Fallback((heavy.node, light), breaker=BREAKER, clock=clock)
    heavy.outcome = ValueError("down")
    assert (await graph(batch_of(*range(4)))).rows == ["light"] * 4
    assert heavy.asked == 4 and graph.states == {"predict": "open", "light": "closed"}
    assert (await graph(batch_of(*range(9)))).rows == ["light"] * 9 and heavy.asked == 4
    clock.advance(5.0)
    heavy.outcome = "heavy"
    batch = batch_of(*range(5))
    assert (await graph(batch)).rows == ["heavy", "heavy", "light", "light", "light"]
    assert variants(batch) == [["predict"]] * 2 + [["light"]] * 3
    assert graph.states["predict"] == "closed"
    assert (await graph(batch_of(*range(5)))).rows == ["heavy"] * 5


@on_loop
async def test_a_probe_that_fails_falls_back_and_opens_the_breaker_again() -> None:
    clock, heavy = Clock(), Switchable()
    graph = Fallback((heavy.node, light), breaker=BREAKER, clock=clock)
    heavy.outcome = ValueError("down")
    await graph(batch_of(*range(4)))
    clock.advance(5.0)
    assert (await graph(batch_of(*range(3)))).rows == ["light"] * 3
    assert heavy.asked == 6 and graph.states["predict"] == "open"


@on_loop
async def test_slow_rows_count_as_failures() -> None:
    graph = Fallback((forever, light), timeout=0.01, breaker=BREAKER, clock=Clock())
    await graph(batch_of(*range(4)))
    assert graph.states["forever"] == "open"


@pytest.mark.parametrize(
    ("outcome", "deadline"),
    [
        (InvalidRow("wrong"), None),
        (Overloaded("full"), None),
        (CallerLeft("left"), None),
        (DeadlineExceeded("cannot be met"), 2000.0),
    ],
)
@on_loop
async def test_what_says_nothing_of_the_node_does_not_open_its_breaker(
    outcome: Exception, deadline: float | None
) -> None:
    heavy = Switchable()
    heavy.outcome = outcome
    graph = Fallback((heavy.node, light), breaker=BREAKER, clock=Clock())
    await graph(Batch.of([0] * 9, [Call(deadline=deadline) for _ in range(9)]))
    assert graph.states["predict"] == "closed"
    heavy.outcome = DeadlineExceeded("a remote's own")
    await graph(batch_of(*range(20)))
    assert graph.states["predict"] == "open"


@on_loop
async def test_every_side_but_the_last_has_a_breaker_of_its_own() -> None:
    first, second = Switchable(), Switchable()
    first.outcome = second.outcome = ValueError("down")
    graph = Fallback((first.node, second.node, light), breaker=BREAKER, clock=Clock())
    await graph(batch_of(*range(4)))
    assert graph.states == {"predict": "open", "predict-2": "open", "light": "closed"}
    assert (await graph(batch_of(0))).rows == ["light"] and (first.asked, second.asked) == (4, 4)


@on_loop
async def test_each_bound_copy_learns_for_itself() -> None:
    graph = fallback(down, light, breaker=BREAKER)
    here, there = bound(graph), bound(graph)
    assert isinstance(here, Fallback) and isinstance(there, Fallback)
    await here(batch_of(*range(4)))
    assert [each.states["down"] for each in (here, there, graph)] == ["open", "closed", "closed"]


# --- the kill switch ---


@on_loop
async def test_a_side_that_is_switched_off_is_not_asked_and_comes_back_when_it_is_on(tmp_path: Path) -> None:
    clock, heavy = Clock(), Switchable()
    switches = Switches(tmp_path, clock)
    graph = bound(fallback(heavy.node, light, name="guard"), switches=switches)
    assert isinstance(graph, Fallback)
    assert (await graph(batch_of(1))).rows == ["heavy"]
    switch_off(tmp_path, "guard")
    clock.advance(1.0)
    assert (await graph(batch_of(1))).rows == ["light"] and graph.states["predict"] == "off"
    switch_on(tmp_path, "guard")
    clock.advance(1.0)
    assert (await graph(batch_of(1))).rows == ["heavy"] and graph.states["predict"] == "closed"


@on_loop
async def test_switching_off_skips_only_the_first_side(tmp_path: Path) -> None:
    switch_off(tmp_path, "fallback")
    graph = bound(fallback(double, light, {"x": 0}), switches=Switches(tmp_path))
    assert (await graph(batch_of(1))).rows == ["light"]


# --- who is told ---


def series(metrics: Metrics, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for family in metrics.collect()
        if family.name == name
        for sample in family.samples
        if sample.value
    }


@on_loop
async def test_who_served_who_did_not_and_why_are_counted(tmp_path: Path) -> None:
    metrics, clock = Metrics(), Clock()
    first = gives(1, ValueError("a"), Overloaded("b"), Own("c"), ValueError("d"), CallerLeft("e"))
    last = gives("light", "light", ValueError("f"))
    declared = Fallback((first, last), breaker=BREAKER, name="guard", clock=clock)
    site = Site("s", "predict", metrics, switches=Switches(tmp_path, clock))
    graph = site.graph(declared)
    await graph(batch_of(*range(6)))
    assert series(metrics, "hansang_fallback_rows", "node", "served") == {
        ("guard", "fixed"): 2,
        ("guard", "fixed-2"): 2,
        ("guard", "none"): 2,
    }
    missed = {("fixed", "failed"): 2.0, ("fixed", "overloaded"): 1.0, ("fixed", "caller_left"): 1.0}
    assert series(metrics, "hansang_fallback_missed_rows", "side", "reason") == missed
    assert series(metrics, "hansang_breaker_state", "side", "state") == {("fixed", "open"): 1}
    assert series(metrics, "hansang_breaker_openings", "side") == {("fixed",): 1}
    await graph(batch_of(0, 0, 0))
    switch_off(tmp_path, "guard")
    clock.advance(1.0)
    await graph(batch_of(0, 0, 0))
    missed |= {("fixed", "open"): 3.0, ("fixed", "off"): 3.0}
    assert series(metrics, "hansang_fallback_missed_rows", "side", "reason") == missed
    assert series(metrics, "hansang_breaker_state", "side", "state") == {("fixed", "off"): 1}


@on_loop
async def test_why_rows_fell_back_is_logged_once_a_second_with_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    graph = Fallback((down, light), name="guard", clock=clock)
    with caplog.at_level(logging.WARNING, "hansang"):
        for _ in range(3):
            await graph(batch_of(1, 2))
        clock.advance(1.0)
        await graph(batch_of(1))
    assert caplog.messages == ["guard: down did not answer (failed): down: ConnectionError: down"] * 2
    assert isinstance((caplog.records[0].exc_info or (None, None))[1], ConnectionError)


# --- offline ---


@on_loop
async def test_whole_columns_stay_columns_when_all_is_well_and_rows_go_on_one_by_one_when_not() -> None:
    @node
    def halves(batch: Batch) -> Any:
        x = batch.numpy(["x"])[:, 0]
        if not x.all():
            return [{"y": value / 2} if value else ValueError("zero") for value in x.tolist()]
        return {"y": x / 2}

    graph = fallback(halves, {"y": -1.0}, timeout=60.0)
    good, torn = (Batch.of_columns({"x": np.array(values)}) for values in ([2, 4], [2, 0]))
    good.background = torn.background = True
    answers = await graph(good)
    assert answers.whole is not None and answers.whole["y"].tolist() == [1.0, 2.0] and answers.background
    assert not good.has_calls
    assert (await graph(torn)).rows == [{"y": 1.0}, {"y": -1.0}]


# --- properties ---


def flaky(number: int, bad: frozenset[int], client: frozenset[int]) -> Node:
    @node.each
    def answers(row: int) -> Any:
        if row in bad:
            raise ValueError(f"row {row}")
        if row in client:
            raise InvalidRow(f"row {row}")
        return (number, row)

    return answers


ROWS = st.integers(0, 9)
SIDES = st.tuples(st.integers(1, 5), st.frozensets(ROWS), st.frozensets(ROWS, max_size=2)).map(lambda a: flaky(*a))


def graphs() -> st.SearchStrategy[Node]:
    return st.recursive(
        SIDES | st.just(down),
        lambda inner: st.lists(inner, min_size=2, max_size=3).map(lambda sides: fallback(*sides, breaker=None)),
        max_leaves=6,
    )


@given(graph=graphs(), rows=st.lists(ROWS, min_size=1, max_size=8), timeout=st.sampled_from([None, 60.0]))
def test_whichever_sides_fail_a_batch_is_its_rows_one_by_one(
    graph: Node, rows: list[int], timeout: float | None
) -> None:
    graph = fallback(graph, Constant("end"), timeout=timeout, breaker=None)

    async def main() -> None:
        batch = batch_of(*rows)
        together = await sent_by(graph, batch)
        assert sorted(together) == list(range(len(rows)))
        called = await graph(Batch.of(rows))
        for place, row in enumerate(rows):
            single = batch_of(row)
            alone = (await sent_by(graph, single))[0]
            assert told(together[place]) == told(alone) == told(called.rows[place])
            assert batch.calls[place].trail == single.calls[0].trail
            assert not isinstance(alone, ModelFailed)

    asyncio.run(main())
