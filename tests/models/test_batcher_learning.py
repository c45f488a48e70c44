from __future__ import annotations

from typing import Any

import pytest

from hansang.models.batcher import EXPLORE_EVERY, LIVE_ROWS
from hansang.testing import on_loop
from tests.models.bench import Bench

# --- on the loop ---


@on_loop
async def test_a_cheap_model_runs_on_the_event_loop() -> None:
    bench = Bench(inline=True)
    bench.teach(per_row=1e-6, per_call=1e-5)
    task = await bench.send(1)
    assert task.done() and not bench.lanes.calls
    assert (await task).rows == [2] and (await task).calls[0].trail[0].rows == 1


@pytest.mark.parametrize(
    ("options", "per_row", "per_call"),
    [
        ({"inline": True}, 1e-6, 1e-3),
        ({"inline": True}, 1e-3, 1e-5),
        ({"inline": False}, 1e-6, 1e-5),
        ({"inline": True, "bucket": type}, 1e-6, 1e-5),
    ],
    ids=["a slow call", "slow rows", "not allowed", "buckets"],
)
@on_loop
async def test_a_model_that_is_not_cheap_runs_on_a_lane(
    options: dict[str, Any], per_row: float, per_call: float
) -> None:
    bench = Bench(**options)
    bench.teach(per_row, per_call)
    await bench.send(1)
    assert len(bench.lanes.calls) == 1


@on_loop
async def test_a_model_whose_cost_is_unknown_runs_on_a_lane() -> None:
    bench = Bench(inline=True)
    await bench.send(1)
    assert len(bench.lanes.calls) == 1


@on_loop
async def test_a_cheap_call_does_not_overtake_rows_that_wait() -> None:
    bench = Bench(inline=True)
    bench.teach(per_row=1e-6, per_call=1e-5)
    bulk = await bench.send(*range(65))
    late = await bench.send(1)
    assert len(bench.lanes.calls) == 1 and not late.done()
    while bench.lanes.calls:
        await bench.finish()
    assert (await bulk).size == 65 and (await late).rows == [2]


# --- what is learned ---


@on_loop
async def test_batching_stops_where_it_does_not_pay_and_is_tried_again() -> None:
    bench = Bench()
    bench.teach(per_row=0.01, per_call=0.0)
    bench.batcher.cost.calls = 10
    tasks = [await bench.send(n) for n in range(200)]
    while bench.lanes.calls:
        ((_, rows),) = bench.batcher.running.values()
        await bench.finish(0.01 * rows)
    sizes = [len(rows) for rows in bench.seen]
    explored = sizes.index(LIVE_ROWS)
    assert explored == EXPLORE_EVERY - 10
    assert sizes[:explored] == [1] * explored and sizes[explored + 1 : explored + 50] == [1] * 49
    assert all(task.done() for task in tasks)


@on_loop
async def test_batching_stays_where_it_pays() -> None:
    bench = Bench()
    bench.teach(per_row=0.0005, per_call=0.05)
    await bench.send(0)
    for n in range(64):
        await bench.send(n)
    await bench.finish(0.0505)
    await bench.finish(0.05 + 64 * 0.0005)
    assert [len(rows) for rows in bench.seen] == [1, 64]


@on_loop
async def test_what_is_learned_and_counted_is_the_models_own_time() -> None:
    bench = Bench()
    await bench.send(1)
    await bench.send(2, 3)
    await bench.finish(0.1)
    await bench.finish(0.2)
    assert [number for call in bench.observed for number in call] == pytest.approx([1, 0.1, 0.0, 2, 0.2, 0.1])
    assert bench.batcher.counts.rows == 3 and bench.batcher.counts.seconds == pytest.approx(0.3)
    assert bench.batcher.cost.predict(2) == pytest.approx(0.2)  # the first call is forgotten


@on_loop
async def test_the_backlog_is_what_runs_and_what_waits_shared_by_the_slots() -> None:
    bench = Bench(rows=10, slots=2)
    assert bench.batcher.backlog() == 0.0
    bench.teach(per_row=0.0, per_call=1.0)
    await bench.send(1)
    await bench.send(2)
    bench.clock.advance(0.4)
    await bench.send(*range(10))
    await bench.send(3)
    assert bench.batcher.backlog() == pytest.approx((0.6 + 0.6 + 1.0 + 1.0) / 2)


@on_loop
async def test_a_call_that_hangs_is_stuck() -> None:
    bench = Bench()
    await bench.send(1)
    bench.clock.advance(29)
    assert not bench.batcher.stuck(30)
    bench.clock.advance(2)
    assert bench.batcher.stuck(30)
    await bench.finish()
    assert not bench.batcher.stuck(30)
