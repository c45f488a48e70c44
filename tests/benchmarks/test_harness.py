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


def test_the_harder_comparison_stands_beside_the_statement_without_a_verdict(harness: Any) -> None:
    claims, tables = harness("claims"), harness("tables")
    speeds = {
        "hansang/logreg/onnx": 40_000.0,
        "fastapi-sync/logreg/onnx": 2_000.0,
        "fastapi-async/logreg/onnx": 5_000.0,
        "hansang/forest/sklearn": 3_300.0,
        "hansang/forest/onnx": 38_000.0,
        "flask-dev/forest/sklearn": 50.0,
        "flask-dev/forest/onnx": 900.0,
    }
    judged = claims.judge({"online": {key: row(speed, 30) for key, speed in speeds.items()}})
    found = {claim.says: (claim.measured.split()[0], claim.verdict) for claim in judged}
    flask = "Flask's development server"
    assert found["at least 12 times the requests/s of FastAPI hand-written `def` predict, ONNX"] == ("20.00", "holds")
    assert found["requests/s over FastAPI hand-written `async def` predict, ONNX"] == ("8.00", "for comparison")
    same = f"random forest, scikit-learn on both sides: at least 60 times the requests/s of {flask}"
    assert found[same] == ("66.00", "holds")
    assert found[f"random forest, ONNX: requests/s over {flask}, ONNX"] == ("42.22", "for comparison")
    assert found[f"random forest, ONNX: requests/s over {flask}, scikit-learn"] == ("760.00", "for comparison")
    (table,) = tables.all_tables({}, judged)
    assert ("42.22 (38,000 against 900 /s)", "for comparison") in {
        (measured, verdict) for _, measured, verdict in table.rows
    }


def test_memory_is_judged_by_one_process_and_that_of_all_stands_beside_it(harness: Any) -> None:
    claims = harness("claims")
    about = {"model": "logreg", "runtime": "onnx", "rows": 1_000_000, "peak_mb": 170.0, "processes": 1}
    longer = {
        "longer_peak_mb": 250.0,
        "longer_processes": 2,
        "one_rows": 24_000_000,
        "one_mb": [187.0, 198.0],
    }
    found = {claim.says: claim for claim in claims.judge({"offline": {"rows": [{**about, **longer}]}})}
    one = found[
        "offline, logreg onnx: memory flat (one process, the last quarter of a long run at most 1.1 of its third)"
    ]
    assert one.measured == "1.06 (187 MB, then 198 MB, over 24,000,000 rows)"
    assert one.verdict == "holds"
    (both,) = [claim for says, claim in found.items() if "as are worth their start" in says]
    assert (both.measured.split()[0], both.verdict) == ("1.47", "for comparison")


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
        asked, stalled_until = 0, 0.0

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked, stalled_until
            while not reader.at_eof():
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.IncompleteReadError:
                    break
                await reader.readexactly(int(head.rpartition(b"content-length: ")[2]))
                asked += 1
                if asked == 2:
                    stalled_until = asyncio.get_running_loop().time() + stall
                if asked > 1:
                    await asyncio.sleep(max(0.0, stalled_until - asyncio.get_running_loop().time()))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n3")
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
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


OUTAGE = {
    "kind": "PostgreSQL",
    "seconds_down": 60.0,
    "acknowledged": 100,
    "failed": 0,
    "missing": 0,
    "twice": 0,
    "recorded_twice": 0,
    "drained_seconds": 1.0,
    "p99_up_ms": 2.0,
    "p99_down_ms": 2.4,
    "p99_back_ms": 3.0,
    "phases": [{"sink": "up", "p50_ms": 1.0, "p99_ms": 2.0, "rows": 10}],
}
COST = {
    "on_us": 31.0,
    "off_us": 26.0,
    "added_us": 5.0,
    "added_low_us": 4.0,
    "added_high_us": 6.0,
    "added_total_us": 6.5,
    "compactor_us": 1.5,
    "p99_on_ms": 3.0,
    "p99_off_ms": 3.0,
    "requests": 1000,
}


def test_the_record_is_judged_by_what_was_lost_doubled_and_slowed(harness: Any) -> None:
    claims = harness("claims")
    found = {claim.says: claim for claim in claims.judge({"record": {"outage": OUTAGE}})}
    down = "a sink (PostgreSQL) down for 60 s under load and back: nothing lost, nothing twice"
    assert found[down].holds is True
    assert found["p99 of single rows while that sink is down at most 1.25 of the p99 while it is up"].holds is True
    assert found["p99 of single rows while that sink is back at most 1.25 of the p99 while it is up"].holds is False
    for fault in ("missing", "twice", "recorded_twice", "failed"):
        worse = {claim.says: claim for claim in claims.judge({"record": {"outage": {**OUTAGE, fault: 1}}})}
        assert worse[down].holds is False


def test_the_records_cost_is_the_larger_of_its_two_figures(harness: Any) -> None:
    claims, tables = harness("claims"), harness("tables")
    says = "record on: at most 6 µs of CPU a request over record off, compactor included"
    judged = claims.judge({"record": {"cost": COST}})
    assert {claim.says: claim.holds for claim in judged}[says] is False
    cheaper = claims.judge({"record": {"cost": {**COST, "added_total_us": 5.5}}})
    assert {claim.says: claim.holds for claim in cheaper}[says] is True
    made = {table.title: table for table in tables.all_tables({"record": {"cost": COST, "outage": OUTAGE}}, judged)}
    assert len(made["The record while a sink comes and goes"].rows) == 3


def test_rows_that_are_neither_recorded_nor_counted_fail_the_statement(harness: Any) -> None:
    claims = harness("claims")
    limit = {"acknowledged": 10, "recorded": 4, "lost": 6, "failed": 0, "said_by_readyz": True}
    says = "spool limit reached: every row is recorded or counted as lost"

    def holds(**changes: Any) -> Any:
        return {claim.says: claim.holds for claim in claims.judge({"record": {"limit": {**limit, **changes}}})}[says]

    assert holds() is True
    assert holds(lost=5) is False
    assert holds(said_by_readyz=False) is False
    assert holds(recorded=10, lost=0) is False  # the limit was not reached


def test_faults_of_a_long_run_are_kept_as_its_verdict(harness: Any) -> None:
    claims = harness("claims")
    given = ({"rounds": 50, "predictions": 9, "truths": 8}, {"rounds": 50, "fault": "a row is missing"})
    good, bad = (claim for one in given for claim in claims.judge({"kills": one}) if "kill" in claim.says)
    assert (good.holds, bad.holds, bad.measured) == (True, False, "a row is missing")
    house = {"rows": 10_000_000, "seconds": {"hot": 0.4, "show": 0.5}}
    found = {claim.says: claim.holds for claim in claims.judge({"warehouse": house})}
    assert found["10,000,000 records: p95 latency and mean output by variant for the last hour under 1 s"] is True
    assert found["10,000,000 records: `hansang records show ID` under 0.3 s"] is False
