"""Where a dispatcher stands last, a request is answered as soon as its own rows are settled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hansang import Batch, Service, node
from hansang.call import Step
from hansang.dispatch import Dispatcher, Part
from hansang.errors import ModelFailed
from hansang.graph import Node
from hansang.record.read import connect
from hansang.server.serving import Serving
from hansang.settings import Settings, load_settings
from hansang.testing import on_loop, turns
from tests.server.test_turn import Row, Waiter, serving

FAST, SLOW = Step("choose", variant="fast"), Step("choose", variant="slow")


@dataclass(frozen=True, slots=True, eq=False)
class Choose(Dispatcher):
    """Settles small numbers here; the others go to a node that answers when a test says so."""

    slow: Node

    def parts(self, batch: Batch) -> Iterable[Part]:
        small = [place for place, row in enumerate(batch.rows) if row.x < 10]
        large = [place for place, row in enumerate(batch.rows) if row.x >= 10]
        if small:
            part = batch.take(small)
            part.mark(FAST)
            yield Part(part.replace([row.x for row in part.rows]), at=small)
        if large:
            part = batch.take(large)
            part.mark(SLOW)
            yield Part(part, self.slow, large)


def held(gate: asyncio.Event) -> Node:
    @node
    async def slow(batch: Batch) -> list[Any]:
        await gate.wait()
        return [ModelFailed("thirteen") if row.x == 13 else row.x for row in batch.rows]

    return slow


@on_loop
async def test_a_settled_request_is_answered_while_its_turn_mates_wait() -> None:
    gate = asyncio.Event()
    async with serving(Choose(held(gate))) as at:
        turn = at.turns["/predict"]
        asks = [Waiter(1.0), Waiter(11.0), Waiter(2.0, 12.0), Waiter(3.0, 4.0), Waiter(13.0)]
        for ask in asks:
            turn.add(ask)
        await turns()
        assert [ask.answers for ask in asks] == [[(200, b"1.0")], [], [], [(200, b"[3.0,4.0]")], []]
        gate.set()
        await asyncio.gather(*(ask.came.wait() for ask in asks))
        assert asks[1].answers == [(200, b"11.0")]
        assert asks[2].answers == [(200, b"[2.0,12.0]")]
        assert asks[4].answers[0][0] == 500
        await turns()
        assert at.in_flight == 0


@on_loop
async def test_what_is_settled_in_one_turn_is_recorded_together_with_each_rows_own_way(tmp_path: Path) -> None:
    gate = asyncio.Event()
    gate.set()
    service = Service("flows", Choose(held(gate)), input=Row)
    settings = load_settings(Settings, records=tmp_path)
    async with Serving(service, settings).running() as at:
        turn = at.turns["/predict"]
        writes = []
        assert at.recorder is not None
        asks = [Waiter(float(x)) for x in (1, 11, 2, 12, 3)]
        before = at.recorder.rows_written
        for ask in asks:
            turn.add(ask)
        await asyncio.gather(*(ask.came.wait() for ask in asks))
        writes.append(at.recorder.rows_written - before)
    assert writes == [5]
    with connect(tmp_path) as database:
        rows = database.execute("SELECT id, variant, output FROM predictions ORDER BY output_value").fetchall()
    assert [(variant, output) for _, variant, output in rows] == [
        ("fast", "1.0"),
        ("fast", "2.0"),
        ("fast", "3.0"),
        ("slow", "11.0"),
        ("slow", "12.0"),
    ]
    assert [id for id, _, _ in rows] == [ask.id for ask in (asks[0], asks[2], asks[4], asks[1], asks[3])]


@on_loop
async def test_a_request_whose_deadline_passes_does_not_take_its_turn_mates_along() -> None:
    gate = asyncio.Event()
    async with serving(Choose(held(gate))) as at:
        turn = at.turns["/predict"]
        late, patient = Waiter(11.0, deadline=asyncio.get_running_loop().time()), Waiter(12.0)
        turn.add(late)
        turn.add(patient)
        await late.came.wait()
        assert late.answers[0][0] == 504
        gate.set()
        await patient.came.wait()
        assert patient.answers == [(200, b"12.0")]
        assert len(late.answers) == 1


@on_loop
async def test_a_drain_that_gives_up_answers_those_who_still_wait_and_only_them() -> None:
    gate = asyncio.Event()
    async with serving(Choose(held(gate))) as at:
        asks = [Waiter(1.0), Waiter(11.0), Waiter(2.0, 12.0)]
        for ask in asks:
            at.turns["/predict"].add(ask)
        await asks[0].came.wait()
        await at.turns["/predict"].give_up()
        assert [ask.answers[0][0] for ask in asks] == [200, 503, 503]
        assert all(len(ask.answers) == 1 for ask in asks)


def test_the_header_names_the_variant_that_answered_an_array_when_it_is_one() -> None:
    """The first good row speaks for an array; the record knows each row's own."""
    asks = [Waiter(1.0, 2.0)]

    async def main() -> None:
        async with serving(Choose(held(asyncio.Event()))) as at:
            at.turns["/predict"].add(asks[0])
            await asks[0].came.wait()

    asyncio.run(main())
    assert [call.trail for call in asks[0].calls] == [[FAST], [FAST]]
