from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hansang.batch import Batch
from hansang.errors import ModelFailed, Problem, WrongRows
from hansang.models.batcher import Batcher, Limits
from hansang.testing import on_loop, turns
from tests.models.bench import STEP, Bench

# --- a model's faults ---


def doubling_but(bad: Callable[[Any], bool], error: Exception | None = None) -> Callable[[Batch], Any]:
    def predict(batch: Batch) -> list[Any]:
        for row in batch.rows:
            if bad(row):
                raise error or ValueError(f"bad row {row}")
        return [row * 2 for row in batch.rows]

    return predict


@on_loop
async def test_when_a_call_raises_bisection_finds_the_bad_row_and_its_neighbours_are_answered() -> None:
    bench = Bench(doubling_but(lambda row: row == 13))
    task = await bench.send(*range(64))
    await bench.finish()
    answer = await task
    assert answer.failed == 1
    assert str(answer.rows[13]) == "digits: ValueError: bad row 13"
    assert isinstance(answer.rows[13], ModelFailed) and isinstance(answer.rows[13].__cause__, ValueError)
    assert [row for n, row in enumerate(answer.rows) if n != 13] == [2 * n for n in range(64) if n != 13]
    assert len(bench.seen) == 1 + 2 * 6  # log2(64) halvings


@pytest.mark.parametrize("rows", [2, 7, 40, 64])
@on_loop
async def test_bisection_makes_no_more_calls_than_documented(rows: int) -> None:
    bench = Bench(doubling_but(lambda row: True))
    task = await bench.send(*range(rows))
    await bench.finish()
    assert (await task).failed == rows
    assert len(bench.seen) <= 2 * rows - 1


@on_loop
async def test_many_bad_rows_do_not_fail_their_good_neighbours() -> None:
    bench = Bench(doubling_but(lambda row: row % 3 == 0))
    task = await bench.send(*range(64))
    await bench.finish()
    answer = await task
    assert [n for n, row in enumerate(answer.rows) if isinstance(row, Exception)] == list(range(0, 64, 3))
    assert len(bench.seen) <= 2 * 64 - 1


@on_loop
async def test_a_broken_model_is_not_called_for_every_row() -> None:
    bench = Bench(doubling_but(lambda row: True))
    task = await bench.send(*range(64))
    await bench.finish()
    assert (await task).failed == 64
    assert len(bench.seen) <= 32


@on_loop
async def test_without_isolation_a_call_that_raises_fails_all_its_rows_once() -> None:
    bench = Bench(doubling_but(lambda row: row == 1), isolate=False)
    task = await bench.send(0, 1, 2)
    await bench.finish()
    assert (await task).failed == 3 and len(bench.seen) == 1


@on_loop
async def test_the_users_own_problem_reaches_the_row_as_it_is() -> None:
    class OutOfRange(Problem):
        status = 422

    bench = Bench(doubling_but(lambda row: row == 1, OutOfRange("too far")))
    task = await bench.send(0, 1)
    await bench.finish()
    assert (await task).rows[0] == 0
    assert isinstance((await task).rows[1], OutOfRange)


@pytest.mark.parametrize("answer", [[1, 2], [1, 2, 3, 4], [], np.zeros((2, 5)), {"y": np.zeros(4)}])
@on_loop
async def test_too_few_or_too_many_predictions_fail_every_row_with_the_models_name(answer: Any) -> None:
    bench = Bench(lambda batch: answer)
    task = await bench.send(1, 2, 3)
    await bench.finish()
    rows = (await task).rows
    got = len(answer["y"]) if isinstance(answer, dict) else len(answer)
    assert {str(row) for row in rows} == {f"digits gave {got} predictions for 3 rows; return one per row"}
    assert all(isinstance(row, WrongRows) for row in rows)
    assert len(bench.seen) == 1  # nobody knows whose the predictions are: no second try


@on_loop
async def test_an_exception_in_a_position_is_the_outcome_of_that_row() -> None:
    bench = Bench(lambda batch: [ValueError("odd") if row % 2 else row for row in batch.rows])
    even, odd = await bench.send(0), await bench.send(1, 2)
    await bench.finish()
    await bench.finish()
    assert (await even).rows == [0]
    assert isinstance((await odd).rows[0], ValueError) and (await odd).rows[1] == 2
    assert (await odd).failed == 1 and bench.batcher.counts.failed == 1


@pytest.mark.parametrize("answer", [None, 3, "abc", b"abc"])
@on_loop
async def test_what_is_no_list_of_predictions_is_named(answer: Any) -> None:
    bench = Bench(lambda batch: answer)
    task = await bench.send(1, 2, 3)
    await bench.finish()
    text = f"digits gave {type(answer).__name__}; return one prediction per row"
    assert [str(row) for row in (await task).rows] == [text] * 3


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()])
def test_an_error_that_ends_programs_is_an_outcome_of_the_row_alone(error: BaseException) -> None:
    def predict(batch: Batch) -> Batch:
        if 1 in batch.rows:
            raise error
        return batch

    async def scenario() -> None:
        batcher = Batcher(predict, step=STEP)  # real lanes
        try:
            answer = await batcher(Batch.of([0, 1, 2]))
            assert answer.rows[0] == 0 and answer.rows[2] == 2
            assert isinstance(answer.rows[1], ModelFailed)
            assert (await batcher(Batch.of([5]))).rows == [5]  # the thread lives
        finally:
            batcher.close()

    asyncio.run(scenario())


# --- real lanes ---


@on_loop
async def test_no_call_runs_in_the_context_of_a_request() -> None:
    request = contextvars.ContextVar("request", default="none")
    seen = []

    def predict(batch: Batch) -> Batch:
        seen.append(request.get())
        return batch

    batcher = Batcher(predict, step=STEP)
    try:
        for name in ("first", "second"):
            request.set(name)
            await batcher(Batch.of([1]))
    finally:
        batcher.close()
    assert seen == ["none", "none"]


@on_loop
async def test_an_idle_batcher_uses_no_cpu() -> None:
    batcher = Batcher(lambda batch: batch, Limits(slots=4), step=STEP)
    try:
        await batcher(Batch.of([1]))
        loop = asyncio.get_running_loop()
        before, until = time.process_time(), loop.time() + 1.0
        await asyncio.sleep(1.0)  # the second that is measured
        assert loop.time() >= until
        assert time.process_time() - before < 0.02
    finally:
        batcher.close()


@on_loop
async def test_a_model_that_hangs_keeps_neither_the_loop_nor_the_process() -> None:
    release = threading.Event()

    def predict(batch: Batch) -> Batch:
        release.wait()
        return batch

    batcher = Batcher(predict, step=STEP)
    task = asyncio.create_task(batcher(Batch.of([1])))
    await turns()
    assert batcher.stuck(-1.0)
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("digits"))
    batcher.close()
    release.set()
    assert (await task).rows == [1]
