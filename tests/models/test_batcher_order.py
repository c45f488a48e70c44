from __future__ import annotations

from typing import Any

import numpy as np

from hansang.batch import Batch
from hansang.call import Call, Step
from hansang.models.batcher import Limits
from hansang.testing import on_loop
from tests.models.bench import Bench

# --- buckets ---


@on_loop
async def test_rows_of_different_buckets_never_share_a_call_and_keep_their_order() -> None:
    bench = Bench(bucket=type)
    await bench.send(0)
    tasks = [await bench.send(row) for row in (1.5, 2, 2.5, 3, "x")]
    while bench.lanes.calls:
        await bench.finish()
    assert bench.seen == [[0], [1.5, 2.5], [2, 3], ["x"]]
    assert [(await task).rows for task in tasks] == [[3.0], [4], [5.0], [6], ["xx"]]


@on_loop
async def test_rows_of_different_buckets_in_one_batch_are_parted_and_put_back() -> None:
    bench = Bench(bucket=type)
    task = await bench.send(1, "a", 2, "b")
    while bench.lanes.calls:
        await bench.finish()
    assert bench.seen == [[1, 2], ["a", "b"]]
    assert (await task).rows == [2, "aa", 4, "bb"]
    assert [call.row for call in (await task).calls] == [0, 1, 2, 3]


@on_loop
async def test_no_bucket_starves_however_many_rows_of_another_come() -> None:
    bench = Bench(bucket=type, rows=2)
    await bench.send(0)
    rare = await bench.send("rare")
    for n in range(10):
        await bench.send(n)
    await bench.finish()
    await bench.finish()
    assert rare.done()


@on_loop
async def test_rows_of_another_bucket_keep_their_turn_when_a_batch_is_full() -> None:
    bench = Bench(bucket=type, rows=2)
    await bench.send(0)
    for row in (1, "x", 2, 3, "y"):
        await bench.send(row)
    while bench.lanes.calls:
        await bench.finish()
    assert bench.seen == [[0], [1, 2], ["x", "y"], [3]]


@on_loop
async def test_a_bucket_function_that_raises_fails_its_batch_and_nothing_else() -> None:
    def bucket(row: Any) -> Any:
        return row.shape

    bench = Bench(bucket=bucket)
    broken = await bench.send("no shape")
    assert "AttributeError" in str((await broken).rows[0])
    fine = await bench.send(np.zeros(2))
    await bench.finish()
    assert (await fine).failed == 0


@on_loop
async def test_batches_whose_columns_differ_fail_together_and_the_batcher_goes_on() -> None:
    bench = Bench(lambda batch: batch.rows)
    await bench.send(0)
    one = await bench.send_batch(Batch.of_columns({"a": np.zeros(1)}))
    two = await bench.send_batch(Batch.of_columns({"b": np.zeros(1)}))
    await bench.finish()
    await bench.finish()
    assert (await one).failed == (await two).failed == 1
    fine = await bench.send(1)
    await bench.finish()
    assert (await fine).failed == 0


# --- background ---


@on_loop
async def test_background_rows_go_only_when_no_live_row_waits() -> None:
    bench = Bench(rows=2)
    await bench.send(0)
    bulk = await bench.send(10, 11, 12, 13, background=True)
    await bench.send(1)
    await bench.finish()
    await bench.finish()  # the live row
    await bench.send(2)
    while bench.lanes.calls:
        await bench.finish()
    assert bench.seen == [[0], [1], [10, 11], [2], [12, 13]]
    assert (await bulk).rows == [20, 22, 24, 26] and (await bulk).background


@on_loop
async def test_background_rows_stay_in_the_background_when_some_have_a_deadline() -> None:
    bench = Bench()
    await bench.send(0)
    calls = [Call(deadline=bench.clock() - 1), Call()]
    bulk = await bench.send_batch(Batch.of([1, 2], calls), background=True)
    await bench.send(3)
    while bench.lanes.calls:
        await bench.finish()
    assert bench.seen == [[0], [3], [2]]
    assert (await bulk).background


@on_loop
async def test_a_background_call_is_not_longer_than_a_live_row_can_wait_for() -> None:
    bench = Bench()
    bench.teach(per_row=0.001, per_call=0.01)
    await bench.send_batch(Batch.of_columns({"x": np.zeros(5000)}), background=True)
    while bench.lanes.calls:
        await bench.finish()
    assert max(len(rows) for rows in bench.seen) <= 190
    free = Bench()
    await free.send_batch(Batch.of_columns({"x": np.zeros(5000)}), background=True)
    await free.finish()
    assert len(free.seen[0]) == 5000 <= Limits().bulk


@on_loop
async def test_columns_split_over_calls_are_joined_as_columns() -> None:
    bench = Bench(lambda batch: {"y": batch.numpy(["x"])[:, 0] * 2}, rows=3)
    task = await bench.send_batch(Batch.of_columns({"x": np.arange(8.0)}), background=True)
    while bench.lanes.calls:
        await bench.finish()
    answer = await task
    assert not answer.has_calls
    assert answer.columns(["y"])["y"].tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    assert [step.model for step in answer.steps] == ["digits"]


@on_loop
async def test_batches_without_calls_that_share_a_call_keep_their_trails_apart() -> None:
    bench = Bench(lambda batch: {"y": np.zeros(len(batch))})
    await bench.send(0, background=True)
    one = await bench.send_batch(Batch.of_columns({"x": np.zeros(1)}), background=True)
    two = await bench.send_batch(Batch.of_columns({"x": np.ones(1)}), background=True)
    await bench.finish()
    await bench.finish()
    assert len(bench.seen) == 2
    (await one).mark(Step("after"))
    assert [step.node for step in (await two).steps] == ["model"]
