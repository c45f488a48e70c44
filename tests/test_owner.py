"""Work with a time limit: what is late is cancelled, and owned until it has ended."""

from __future__ import annotations

import asyncio
import logging

import pytest

from hansang import owner
from hansang.owner import Owner
from hansang.testing import on_loop, turns


async def gives(value: int) -> int:
    return value


async def after(gate: asyncio.Event, value: int) -> int:
    await gate.wait()
    return value


def results(tasks: list[asyncio.Task[int] | None]) -> list[int | None]:
    return [None if task is None else task.result() for task in tasks]


@on_loop
async def test_results_come_in_the_order_of_the_work_and_each_has_its_own_limit() -> None:
    gate, never = asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().call_later(0.03, gate.set)
    work = [(after(gate, 1), None), (after(never, 2), 0.01), (gives(3), 0.01), (after(never, 4), 0.02)]
    assert results(await Owner().run(work)) == [1, None, 3, None]


@on_loop
async def test_what_raises_is_kept_in_its_task_and_stops_nobody() -> None:
    async def fails() -> int:
        raise ValueError("broken")

    broken, good = await Owner().run([(fails(), None), (gives(2), 1.0)])
    assert broken is not None and isinstance(broken.exception(), ValueError)
    assert good is not None and good.result() == 2


@on_loop
async def test_what_is_late_and_fails_while_it_ends_is_nobodys_warning(caplog: pytest.LogCaptureFixture) -> None:
    async def fails_late() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("while ending") from None
        return 0

    someone = Owner()
    assert await someone.run([(fails_late(), 0.01)]) == [None]
    await someone.ended()
    await turns()
    assert not someone.late and not caplog.records


@on_loop
async def test_what_never_ends_is_waited_for_only_so_long_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(owner, "PATIENCE", 0.01)
    gate = asyncio.Event()

    async def stubborn() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            await gate.wait()
        return 0

    someone = Owner()
    await someone.run([(stubborn(), 0.01)])
    with caplog.at_level(logging.WARNING, "hansang"):
        await someone.ended()
    assert caplog.messages == ["1 tasks that were cancelled for being late have not ended"]
    gate.set()
    await someone.ended()
    assert not someone.late
