"""What a turn does with its rows, in process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import BaseModel

from hansang import Batch, Model, Service
from hansang.call import Call
from hansang.errors import Problem
from hansang.server.ask import Ask, Marks
from hansang.server.serving import Serving
from hansang.settings import Settings, load_settings


class Row(BaseModel):
    x: float


class Text(BaseModel):
    text: Any


class Waiter(Ask):
    """An ask that keeps its answers."""

    def __init__(self, *rows: float, many: bool = False, deadline: float | None = None) -> None:
        calls = [Call("", n, deadline) for n in range(len(rows))]
        super().__init__([Row(x=x) for x in rows], calls, many or len(rows) > 1, None, 0.0)
        self.answers: list[tuple[int, bytes]] = []
        self.came = asyncio.Event()

    def deliver(self, status: int, media: bytes, body: bytes, marks: Marks, error: Problem | None) -> None:
        self.answers.append((status, body))
        self.came.set()


@asynccontextmanager
async def serving(graph: Any, output: Any = None) -> AsyncIterator[Serving]:
    service = Service("turns", graph, input=Row, output=output)
    async with Serving(service, load_settings(Settings, record=False)).running() as serving:
        yield serving


async def answered(serving: Serving, *asks: Waiter) -> list[tuple[int, bytes]]:
    turn = serving.turns["/predict"]
    for ask in asks:
        turn.add(ask)
    await asyncio.gather(*(ask.came.wait() for ask in asks))
    await asyncio.sleep(0)
    assert all(len(ask.answers) == 1 for ask in asks)
    return [ask.answers[0] for ask in asks]


def test_all_rows_of_a_turn_are_one_call_of_the_graph() -> None:
    sizes: list[int] = []

    def predict(batch: Batch) -> list[float]:
        sizes.append(len(batch))
        return [row.x for row in batch.rows]

    async def main() -> None:
        async with serving(predict) as at:
            answers = await answered(at, Waiter(1.0), Waiter(2.0, 3.0), Waiter(4.0, many=True))
            assert answers == [(200, b"1.0"), (200, b"[2.0,3.0]"), (200, b"[4.0]")]
            assert at.in_flight == 0

    asyncio.run(main())
    assert sizes == [4]


@pytest.mark.parametrize("output", [None, Text])
def test_a_prediction_that_cannot_be_written_fails_alone(output: Any) -> None:
    def predict(batch: Batch) -> list[Any]:
        return [{"text": object() if row.x == 2.0 else "good"} for row in batch.rows]

    async def main() -> None:
        async with serving(predict, output) as at:
            good, bad, other = await answered(at, Waiter(1.0), Waiter(2.0), Waiter(3.0))
            assert good == other == (200, b'{"text":"good"}')
            assert bad[0] == 500

    asyncio.run(main())


def test_rows_in_flight_at_the_end_of_the_drain_are_answered_503() -> None:
    async def predict(batch: Batch) -> list[Any]:
        await asyncio.Event().wait()
        return []

    async def main() -> None:
        async with serving(predict) as at:
            ask = Waiter(1.0, 2.0)
            at.turns["/predict"].add(ask)
            await asyncio.sleep(0)
            await at.drained(0.01)
            assert [status for status, _ in ask.answers] == [503]
            assert at.in_flight == 0

    asyncio.run(main())


def test_a_drain_waits_for_what_is_accepted_and_no_longer_than_it_may() -> None:
    release = asyncio.Event()

    async def predict(batch: Batch) -> list[float]:
        await release.wait()
        return [1.0] * len(batch)

    async def main() -> None:
        async with serving(predict) as at:
            ask = Waiter(1.0)
            at.turns["/predict"].add(ask)
            await asyncio.sleep(0)
            drain = asyncio.ensure_future(at.drained(30.0))
            await asyncio.sleep(0)
            assert at.state == "draining"
            assert isinstance(at.refusal(1), Problem)
            release.set()
            await drain
            assert ask.answers == [(200, b"1.0")]

    asyncio.run(main())


def test_a_late_model_does_not_answer_twice() -> None:
    release = asyncio.Event()

    async def predict(batch: Batch) -> list[float]:
        await release.wait()
        return [1.0] * len(batch)

    async def main() -> None:
        async with serving(predict) as at:
            late, patient = Waiter(1.0, deadline=asyncio.get_running_loop().time() + 0.01), Waiter(2.0)
            for ask in (late, patient):
                at.turns["/predict"].add(ask)
            await late.came.wait()
            release.set()
            await patient.came.wait()
            await asyncio.sleep(0)
            assert [status for status, _ in late.answers] == [504]
            assert patient.answers == [(200, b"1.0")]

    asyncio.run(main())


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def test_a_flood_of_failures_writes_one_traceback_a_second() -> None:
    def predict(batch: Batch) -> list[Any]:
        raise RuntimeError("broken")

    async def main() -> None:
        async with serving(Model(predict)) as at:
            for _ in range(20):
                await answered(at, Waiter(1.0))

    kept = Kept()
    logging.getLogger("hansang").addHandler(kept)
    try:
        asyncio.run(main())
    finally:
        logging.getLogger("hansang").removeHandler(kept)
    failures = [record for record in kept.records if "failed" in record.getMessage()]
    assert len(failures) == 20
    assert sum(record.exc_info is not None for record in failures) <= 2
