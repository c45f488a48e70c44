from __future__ import annotations

import asyncio

import pytest

from hansang.batch import Batch
from hansang.call import Call, Step
from hansang.errors import CallerLeft, DeadlineExceeded, Overloaded, Unavailable
from hansang.testing import on_loop, turns
from tests.models.bench import Bench

# --- forming ---


@on_loop
async def test_a_lone_request_goes_to_the_model_at_once() -> None:
    bench = Bench()
    task = await bench.send(1)
    assert len(bench.lanes.calls) == 1
    await bench.finish(0.05)
    answer = await task
    assert answer.rows == [2]
    assert answer.calls[0].trail == [Step("model", "digits", "3", rows=1, queue=0.0)]


@on_loop
async def test_when_the_slot_is_free_again_all_that_waits_goes_in_one_call() -> None:
    bench = Bench()
    tasks = [await bench.send(n) for n in range(6)]
    await bench.finish(0.05)
    await bench.finish(0.05)
    assert bench.seen == [[0], [1, 2, 3, 4, 5]]
    assert [(await task).rows for task in tasks] == [[0], [2], [4], [6], [8], [10]]
    assert (await tasks[5]).calls[0].trail[0].queue == pytest.approx(0.05)
    assert (await tasks[5]).calls[0].trail[0].rows == 5


@on_loop
async def test_rows_that_came_during_a_call_join_the_next_one_until_it_starts() -> None:
    bench = Bench(rows=4)
    await bench.send(0)
    for n in range(1, 4):
        await bench.send(n)
    await bench.send(4)
    await bench.send(5)
    await bench.finish()
    await bench.finish()
    await bench.finish()
    assert bench.seen == [[0], [1, 2, 3, 4], [5]]


@on_loop
async def test_callers_who_come_back_at_once_go_with_those_who_waited_for_a_costly_call() -> None:
    bench = Bench()
    bench.teach(per_row=0.0, per_call=0.02)
    back: list[asyncio.Task[Batch]] = []

    def comes_back(answered: asyncio.Task[Batch]) -> None:
        back.append(asyncio.ensure_future(bench.batcher(Batch.of([9]))))

    first = [await bench.send(n) for n in (1, 2, 3)]
    first[0].add_done_callback(comes_back)
    bench.lanes.finish()
    assert bench.lanes.calls == []  # the answer leaves first
    await turns(8)
    assert (first[0].done(), len(bench.lanes.calls)) == (True, 1)
    await bench.finish()
    assert bench.seen == [[1], [2, 3, 9]]
    assert (await back[0]).rows == [18]
    await bench.send(4)
    assert len(bench.lanes.calls) == 1  # a lone row that finds the model idle goes at once


@on_loop
async def test_who_keeps_coming_back_does_not_keep_the_model_waiting() -> None:
    bench = Bench()
    bench.teach(per_row=0.0, per_call=0.02)
    await bench.send(0)
    waiting = [await bench.send(1)]
    bench.lanes.finish()
    for n in range(2, 30):
        bench.clock.advance(0.0005)
        waiting.append(asyncio.ensure_future(bench.batcher(Batch.of([n]))))
        await turns(1)
    assert len(bench.lanes.calls) == 1
    await bench.finish()
    assert len(bench.seen[1]) < 12  # a tenth of a call's time is 2 ms


@on_loop
async def test_the_next_call_of_a_cheap_model_starts_with_the_end_of_the_last() -> None:
    bench = Bench()
    bench.teach(per_row=0.0, per_call=0.0005)
    await bench.send(1)
    await bench.send(2)
    bench.lanes.finish()
    assert len(bench.lanes.calls) == 1


@on_loop
async def test_a_large_request_is_split_and_its_answers_are_joined_in_order() -> None:
    bench = Bench(rows=3)
    large = await bench.send(*range(8))
    small = await bench.send(100)
    for _ in range(3):
        await bench.finish()
    assert bench.seen == [[0, 1, 2], [3, 4, 5], [6, 7, 100]]
    assert (await large).rows == [0, 2, 4, 6, 8, 10, 12, 14]
    assert [call.row for call in (await large).calls] == list(range(8))
    assert (await small).rows == [200]


@on_loop
async def test_several_slots_run_several_calls_at_once_and_may_end_in_any_order() -> None:
    bench = Bench(slots=2)
    first, second, third = await bench.send(1), await bench.send(2), await bench.send(3)
    assert len(bench.lanes.calls) == 2
    bench.lanes.finish(1)
    await turns()
    assert second.done() and not first.done() and len(bench.lanes.calls) == 2
    await bench.finish()
    await bench.finish()
    assert (await first).rows == [2] and (await third).rows == [6]


@on_loop
async def test_parts_of_a_split_request_that_end_out_of_order_are_joined_in_order() -> None:
    bench = Bench(slots=3, rows=2)
    task = await bench.send(1, 2, 3, 4, 5, 6)
    for _ in range(3):
        bench.lanes.finish(len(bench.lanes.calls) - 1)
    assert (await task).rows == [2, 4, 6, 8, 10, 12]


@on_loop
async def test_an_empty_batch_does_not_reach_the_model() -> None:
    bench = Bench()
    assert (await bench.batcher(Batch.of([]))).size == 0
    assert bench.seen == [] and not bench.lanes.calls


# --- the queue's bound ---


@on_loop
async def test_rows_that_do_not_fit_into_the_queue_are_refused_with_the_forecast() -> None:
    bench = Bench(rows=2, queue=3)
    bench.teach(per_row=1.0, per_call=40.0)
    first = await bench.send(1, 2)  # goes at once
    second = await bench.send(3, 4)
    third = await bench.send(5, 6)
    answer_of = {}
    for name, task in {"first": first, "second": second, "third": third}.items():
        while not task.done() and bench.lanes.calls:
            await bench.finish()
        answer_of[name] = (await task).rows
    assert answer_of["first"] == [2, 4] and answer_of["second"] == [6, 8]
    assert answer_of["third"][0] == 10
    error = answer_of["third"][1]
    assert isinstance(error, Overloaded)
    assert error.retry_after == pytest.approx(42 + 42, rel=0.01)  # what runs, and the two that wait
    assert bench.dropped == [("overloaded", 1)]
    assert bench.batcher.queued == 0


@on_loop
async def test_a_full_queue_refuses_at_once_and_has_room_again_later() -> None:
    bench = Bench(queue=1)
    await bench.send(1)
    await bench.send(2)
    refused = await bench.send(3)
    error = (await refused).rows[0]
    assert isinstance(error, Overloaded) and error.retry_after == 1.0
    assert str(error) == "digits: the queue has 0 free places for 1 rows"
    await bench.finish()
    again = await bench.send(4)
    assert not again.done()
    await bench.finish()
    await bench.finish()
    assert (await again).rows == [8]


@on_loop
async def test_background_rows_do_not_take_the_places_of_live_ones() -> None:
    bench = Bench(queue=2, rows=4)
    bulk = await bench.send(*range(100), background=True)
    live = await bench.send(1)
    while bench.lanes.calls:
        await bench.finish()
    assert (await live).rows == [2]
    assert (await bulk).rows == [2 * n for n in range(100)]


# --- deadlines ---


@on_loop
async def test_a_deadline_that_cannot_be_met_is_refused_at_admission() -> None:
    bench = Bench()
    bench.teach(per_row=0.0, per_call=0.1)
    first = await bench.send(1)
    late = await bench.send(2, deadline=bench.clock() + 0.15)  # 0.1 s runs already, 0.1 s of its own
    assert isinstance((await late).rows[0], DeadlineExceeded)
    timely = await bench.send(3, deadline=bench.clock() + 0.21)
    await bench.finish(0.1)
    await bench.finish(0.1)
    assert (await first).rows == [2] and (await timely).rows == [6]
    assert bench.seen == [[1], [3]]
    assert bench.dropped == [("deadline", 1)]


@on_loop
async def test_a_deadline_that_passes_in_the_queue_drops_the_row_when_the_batch_is_formed() -> None:
    bench = Bench()
    await bench.send(1)
    patient, hasty = await bench.send(2), await bench.send(3, deadline=bench.clock() + 0.5)
    await bench.finish(0.6)
    await bench.finish()
    assert bench.seen == [[1], [2]]
    assert (await patient).rows == [4]
    assert isinstance((await hasty).rows[0], DeadlineExceeded)


@on_loop
async def test_an_unknown_model_refuses_no_deadline_that_has_not_passed() -> None:
    bench = Bench()
    task = await bench.send(1, deadline=bench.clock() + 0.001)
    await bench.finish()
    assert (await task).rows == [2]


@on_loop
async def test_rows_dropped_in_the_middle_of_a_batch_leave_the_others_in_their_places() -> None:
    bench = Bench()
    await bench.send(0)
    calls = [Call(row=n, deadline=bench.clock() + (0.1 if n % 2 else 9)) for n in range(5)]
    task = await bench.send_batch(Batch.of([10, 11, 12, 13, 14], calls))
    await bench.finish(0.5)
    await bench.finish()
    rows = (await task).rows
    assert bench.seen == [[0], [10, 12, 14]]
    assert [type(row) for row in rows] == [int, DeadlineExceeded, int, DeadlineExceeded, int]
    assert [rows[0], rows[2], rows[4]] == [20, 24, 28]
    assert (await task).calls == calls and (await task).failed == 2
    assert [len(call.trail) for call in calls] == [1, 0, 1, 0, 1]


# --- callers who leave ---


@on_loop
async def test_a_caller_who_leaves_does_not_touch_its_batch_mates() -> None:
    bench = Bench()
    await bench.send(0)
    call = Call()
    left, stays = await bench.send_batch(Batch.of([1], [call])), await bench.send(2)
    call.gone = True
    await bench.finish()
    await bench.finish()
    assert bench.seen == [[0], [2]]
    assert isinstance((await left).rows[0], CallerLeft)
    assert (await stays).rows == [4]
    assert bench.batcher.counts.dropped["caller_left"] == 1


@on_loop
async def test_a_caller_who_left_before_it_came_is_dropped_too() -> None:
    bench = Bench()
    task = await bench.send(1, gone=True)
    assert isinstance((await task).rows[0], CallerLeft) and not bench.lanes.calls


@on_loop
async def test_a_cancelled_caller_is_cancelled_and_its_mates_get_their_answers() -> None:
    bench = Bench()
    await bench.send(0)
    first, second, third = await bench.send(1), await bench.send(2), await bench.send(3)
    second.cancel()
    await turns()
    assert second.cancelled()
    await bench.finish()
    await bench.finish()
    assert bench.seen == [[0], [1, 3]]
    assert (await first).rows == [2] and (await third).rows == [6]
    assert bench.batcher.queued == 0 and bench.dropped == [("caller_left", 1)]


@on_loop
async def test_a_caller_cancelled_while_the_model_runs_is_cancelled_and_its_mates_get_their_answers() -> None:
    bench = Bench()
    await bench.send(0)
    first, second = await bench.send(1), await bench.send(2)
    await bench.finish()
    first.cancel()
    await turns()
    await bench.finish()
    assert first.cancelled() and (await second).rows == [4]


@on_loop
async def test_a_caller_cancelled_in_the_very_turn_in_which_the_batch_is_formed_is_dropped() -> None:
    bench = Bench()
    await bench.send(0)
    first, second = await bench.send(1), await bench.send(2)
    first.cancel()
    bench.lanes.finish()  # the next batch is formed before the cancelled task runs
    await turns()
    await bench.finish()
    assert bench.seen == [[0], [2]]
    assert first.cancelled() and (await second).rows == [4]
    assert bench.batcher.queued == 0 and bench.dropped == [("caller_left", 1)]


@on_loop
async def test_what_is_left_of_a_split_request_is_dropped_when_its_caller_is_cancelled() -> None:
    bench = Bench(rows=2)
    large, small = await bench.send(1, 2, 3, 4, 5), await bench.send(6)
    large.cancel()
    await turns()
    await bench.finish()
    await bench.finish()
    assert bench.seen == [[1, 2], [6]]
    assert (await small).rows == [12] and bench.batcher.counts.dropped["caller_left"] == 3


# --- the end ---


@on_loop
async def test_closing_answers_what_waits_and_lets_what_runs_end() -> None:
    bench = Bench(rows=2)
    running, waiting = await bench.send(1, 2, 3), await bench.send(4)
    bench.batcher.close()
    assert bench.lanes.closed
    assert isinstance((await waiting).rows[0], Unavailable)
    await bench.finish()
    assert (await running).rows[:2] == [2, 4] and isinstance((await running).rows[2], Unavailable)
    later = await bench.send(5)
    assert isinstance((await later).rows[0], Unavailable)
