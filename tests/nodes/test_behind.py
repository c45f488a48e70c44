"""Runs behind the live answers: as many rows as pay, few where each takes long."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hansang import Batch
from hansang.graph import as_node
from hansang.nodes.behind import RUN_ROWS, Behind
from hansang.testing import on_loop
from tests.nodes.running import Record, batch_of


def behind(node: Any, record: Record | None = None, timeout: float = 10.0) -> Behind:
    return Behind(as_node(node), "b", 10_000, timeout, record or Record())


def taught(per_row: float, per_call: float, timeout: float = 10.0) -> Behind:
    work = behind(lambda batch: batch.rows, timeout=timeout)
    for rows in (1, 1, 2, 4, 8, 16, 32, 64, 128, 64, 32):
        work.cost.observe(rows, per_call + per_row * rows)
    return work


@pytest.mark.parametrize(
    ("per_row", "per_call", "rows"),
    [
        (0.00001, 0.0001, RUN_ROWS),  # quick: as many as a run may have
        (0.01, 0.0, 9),  # a tenth of a second
        (0.01, 1.0, RUN_ROWS),  # a call costs more than its rows
        (2.0, 0.0, 2),  # half of the time that a run may take
        (30.0, 0.0, 1),
    ],
)
def test_a_run_has_as_many_rows_as_pay_and_as_end_in_time(per_row: float, per_call: float, rows: int) -> None:
    assert abs(taught(per_row, per_call)._size() - rows) <= 1


@on_loop
async def test_every_row_goes_once_in_order_whatever_the_sizes_of_batches_and_runs() -> None:
    record, sizes, n = Record(), list[int](), 0
    gate = asyncio.Event()

    async def look(batch: Batch) -> list[Any]:
        await gate.wait()
        sizes.append(batch.size)
        return batch.rows

    async with behind(look, record) as work:
        for size in (1, 300, 5, 5, 5, 200, 1):
            work.offer(batch_of(*range(n, n + size), first=n), lambda batch: range(batch.size))
            n += size
        gate.set()
        await record.has(n)
    assert [kept.outcome for kept in record.rows] == list(range(n))
    assert list(record.outcomes.values()) == list(range(n))
    assert sum(sizes) == n
    assert max(sizes) <= RUN_ROWS
    assert sizes[:4] == [1, 2, 4, 8], "the first runs find out what a row costs"


@on_loop
async def test_rows_behind_a_node_that_hangs_are_given_up_ever_more_at_a_time() -> None:
    record, sizes, gate = Record(), list[int](), asyncio.Event()

    async def hang(batch: Batch) -> list[Any]:
        sizes.append(batch.size)
        if batch.rows[0] < 31:
            await gate.wait()
        return batch.rows

    async with behind(hang, record, timeout=0.01) as work:
        work.offer(batch_of(*range(34)), lambda batch: range(batch.size))
        await record.has(34)
    assert sizes == [1, 2, 4, 8, 16, 3]
    assert [kept.outcome for kept in record.rows[31:]] == [31, 32, 33]
