"""The benchmark's own arithmetic: what it judges, counts and keeps."""

import asyncio
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import a module of the benchmarks as its scripts do, and forget them all afterwards."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(BENCHMARKS)):
            del sys.modules[name]


def row(per_second: float, cpu_us: float, p50: float = 1.0, p99: float = 2.0) -> dict[str, Any]:
    run = {"per_second": per_second, "cpu_us": cpu_us, "p50_ms": p50, "p99_ms": p99}
    return {"runs": {"64": run, "1": run}}


def test_a_statement_is_judged_from_the_figures(harness: Any) -> None:
    claims = harness("claims")
    online = {"hansang/logreg/onnx": row(40_000, 30), "echo": row(45_000, 22), "fastapi-echo": row(11_000, 117)}
    verdicts = {claim.says: claim.holds for claim in claims.judge({"online": online})}
    assert verdicts["CPU a request at most 1.5 of the bare uvicorn echo"] is True
    assert verdicts["at least 4 times the requests/s of the FastAPI echo"] is False
    assert verdicts["at least 2 times the requests/s of mosec, ONNX"] is None


def test_a_peer_that_failed_stands_in_the_table_with_its_reason(harness: Any) -> None:
    tables = harness("tables")
    failed = {"peer": "x", "says": "x", "model": "logreg", "runtime": "onnx", "failed": "no wheel", "at": "t"}
    (table,) = tables.all_tables({"online": {"x/logreg/onnx": failed}, "at": "t"}, [])
    assert "not measured: no wheel" in table.markdown()
    assert {len(cells) for cells in table.rows} == {len(table.head)}


def test_arrivals_are_the_same_for_every_server_and_of_the_rate_asked(harness: Any) -> None:
    openloop = harness("openloop")
    times = openloop.arrivals(300, 20)
    assert times == openloop.arrivals(300, 20)
    assert len(times) == pytest.approx(6000, rel=0.05)


def test_a_perfect_server_answers_a_lone_request_in_one_model_time(harness: Any) -> None:
    openloop = harness("openloop")
    assert openloop.best_waits([0.0, 1.0], 64) == pytest.approx([0.0505, 0.0505])
    assert openloop.best_waits([0.0, 0.01, 0.02], 64) == pytest.approx([0.0505, 0.0815, 0.0915])


def test_a_stall_of_the_server_shows_in_the_waits_of_all_that_came_meanwhile(harness: Any) -> None:
    openloop = harness("openloop")
    stall = 0.3

    async def run() -> Any:
        asked = 0

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            while not reader.at_eof():
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.IncompleteReadError:
                    break
                await reader.readexactly(int(head.rpartition(b"content-length: ")[2]))
                asked += 1
                if asked > 1:
                    await asyncio.sleep(max(0.0, stalled_until - asyncio.get_running_loop().time()))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n3")
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        stalled_until = asyncio.get_running_loop().time() + 0.1 + stall
        try:
            return await openloop.drive(server.sockets[0].getsockname()[1], 100, 0.5)
        finally:
            server.close()
            await server.wait_closed()
            await asyncio.sleep(0.05)

    tally = asyncio.run(run())
    waits = sorted(tally.waits)
    assert len(waits) == len(openloop.arrivals(100, 0.5))
    assert waits[-1] > 0.8 * stall
    assert waits[len(waits) // 2] > 0.02
    assert openloop.summary(tally).most_rows == 3


def test_the_cpu_of_this_process_is_seen(harness: Any) -> None:
    usage = harness("usage")
    before = usage.cpu_seconds([os.getpid()])
    sum(range(3_000_000))
    assert usage.cpu_seconds([os.getpid()]) > before
    assert usage.pss_mb([os.getpid()]) > 1
