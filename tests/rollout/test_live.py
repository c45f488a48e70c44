"""Bad challengers behind a real server: each is found by its guard in the record that the server writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from hansang import Batch, Service, node, shadow, split
from hansang.record.read import connect
from hansang.rollout.arms import Arms, Shadow, Split, read_arms
from hansang.rollout.guards import Finding, default_guards
from hansang.testing import on_loop
from tests.nodes.serving import serving

ROUND = 40  # requests between two looks
EXPERIMENT = Split("old", "new", {"old": 3, "new": 1}, name="prices")


@node
async def old(batch: Batch) -> list[float]:
    await asyncio.sleep(0.004)
    return [row["n"] / 2 for row in batch.rows]


@node
async def raises(batch: Batch) -> list[float]:
    raise RuntimeError("broken")


@node
async def slow(batch: Batch) -> list[float]:
    await asyncio.sleep(0.1)
    return [row["n"] / 2 for row in batch.rows]


@node
async def constant(batch: Batch) -> list[float]:
    await asyncio.sleep(0.004)
    return [1.0] * batch.size


async def found_by(graph: Any, read: Callable[[], Arms], paired: bool, folder: Path, most: int) -> tuple[Finding, int]:
    """Send requests until a guard fails; gives what it found and how many rows the challenger had."""
    service = Service("shop", graph, input=dict[str, float])
    async with serving(service, folder, record=True) as url, httpx.AsyncClient(base_url=url) as client:
        gate = asyncio.Semaphore(8)

        async def ask(number: int) -> None:
            async with gate:
                await client.post("/predict", json={"n": number * 37 % 101, "user": number})

        for start in range(0, most, ROUND):
            await asyncio.gather(*map(ask, range(start, start + ROUND)))
            arms = read()
            failed = [
                finding for guard in default_guards(paired=paired) if (finding := guard.check(arms)).state == "fail"
            ]
            if failed:
                return failed[0], arms.counts()["challenger"][0]
    raise AssertionError(f"no guard failed within {most} requests")


@on_loop
@pytest.mark.parametrize(
    ("challenger", "guard", "rows"), [(raises, "errors", 40), (slow, "latency", 100), (constant, "drift", 60)]
)
async def test_a_bad_challenger_of_a_split_is_found_before_it_had_many_rows(
    challenger: Any, guard: str, rows: int, tmp_path: Path
) -> None:
    graph = split({"old": (old, 3), "new": (challenger, 1)}, by="user", name="prices")
    finding, had = await found_by(graph, lambda: read_arms(tmp_path / "records", EXPERIMENT), False, tmp_path, 400)
    assert finding.guard == guard, finding
    assert had <= rows, finding


@on_loop
@pytest.mark.parametrize(("challenger", "guard"), [(raises, "errors"), (constant, "drift")])
async def test_a_bad_challenger_in_the_shadow_is_found_before_anybody_got_its_answers(
    challenger: Any, guard: str, tmp_path: Path
) -> None:
    graph = shadow(old, challenger)
    finding, had = await found_by(graph, lambda: read_arms(tmp_path / "records", Shadow()), True, tmp_path, 400)
    assert finding.guard == guard, finding
    assert had <= 120, finding
    with connect(tmp_path / "records") as record:
        sent = record.execute("SELECT count(*) FROM predictions WHERE role = 'live' AND status <> 200").fetchone()
    assert sent == (0,)
