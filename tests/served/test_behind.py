"""What works behind the live answers does them no harm, seen from the other end of the wire."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.served.running import Server, served, until
from tests.served.services.behind import CANDIDATES, SECRET
from tests.served.wire import Answer, assert_problem, get, request

UNKNOWN = "0198a000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served("behind.py", tmp_path_factory.mktemp("behind"), stuck_after=0.3) as server:
        yield server
    log = server.log.read_text()
    assert "this is a bug" not in log
    assert "Traceback" not in log.partition("RuntimeError")[0], "nothing but what a candidate raised"


def rows_of(server: Server, name: str) -> dict[str, float]:
    """Count the rows of a shadow by what became of them."""
    metrics = server.metrics("hansang_shadow_rows_total")
    found = {re.findall('result="(.*?)"', labels)[0]: n for labels, n in metrics.items() if f'node="{name}"' in labels}
    return {result: count for result, count in found.items() if count}


def pairs_of(server: Server, ids: list[str]) -> list[dict[str, Any]]:
    """Ask the record for the pairs of these answers."""
    names = ", ".join(f"'{id}'" for id in ids)
    lines = server.records(f"SELECT * FROM pairs WHERE id IN ({names}) ORDER BY id, row").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("name", CANDIDATES)
def test_every_live_answer_is_right_and_soon_whatever_the_candidate_does(server: Server, name: str) -> None:
    times, ids = [], []
    with server.wire() as wire:
        for n in range(40):
            started = time.monotonic()
            answer = wire.ask(request(f'[{{"x":{n}}},{{"x":{n}.5}}]', path=f"/{name}"))
            times.append(time.monotonic() - started)
            assert (answer.status, answer.json()) == (200, [{"y": 2.0 * n}, {"y": 2.0 * n + 1.0}])
            ids.append(answer.headers["x-prediction-id"])
    times.sort()
    assert times[20] < 0.5 and times[-1] < 3.0, "a candidate that sleeps or spins for seconds holds up nobody"
    until(lambda: sum(rows_of(server, name).values()) == 80.0, patience=40)
    became = rows_of(server, name)
    pairs = pairs_of(server, ids)
    assert len(pairs) == 80.0 - became.get("dropped", 0.0), "every row that was not dropped is in the record, joined"
    assert [(pair["role"], pair["live_status"]) for pair in pairs] == [("shadow", 200)] * len(pairs)
    expected = {"agrees": "ok", "changes": "ok", "spins": "ok", "sleeps": "late", "hangs": "late"}.get(name, "error")
    assert set(became) - {"dropped", "late"} <= {expected}
    assert became[expected] >= 1.0
    if expected == "ok":
        good = [pair for pair in pairs if pair["other_status"] == 200]
        plus = 2000.0 if name == "changes" else 0.0
        assert all(p["other_output_value"] == p["live_output_value"] + plus for p in good)
        assert {pair["same"] for pair in good} == {name != "changes"}
    else:
        assert {pair["other_status"] for pair in pairs} <= {500, 504}
    if name in ("agrees", "hangs"):
        assert {pair["other_model"] for pair in pairs} <= {name, ""}
        assert {pair["live_model"] for pair in pairs} == {f"live-{name}"}


def test_a_flood_is_answered_and_what_the_candidate_cannot_take_is_dropped(server: Server) -> None:
    before = sum(rows_of(server, "sleeps").values())
    body = json.dumps([{"x": 1}] * 500)
    started = time.monotonic()
    with server.wire() as wire:
        for _ in range(20):
            assert wire.ask(request(body, path="/sleeps")).json() == [{"y": 2.0}] * 500
    assert time.monotonic() - started < 15
    until(lambda: sum(rows_of(server, "sleeps").values()) == before + 10_000, patience=40)
    assert rows_of(server, "sleeps")["dropped"] >= 9_000


def test_a_candidate_that_hangs_costs_one_thread_and_never_the_readiness(server: Server) -> None:
    def threads() -> int:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(re.findall(r"Threads:\s+(\d+)", status)[0])

    with server.wire() as wire:
        for name in ("hangs", "sleeps"):
            wire.ask(request('{"x":1}', path=f"/{name}"))
        late = rows_of(server, "hangs").get("late", 0.0)
        before = threads()
        for _ in range(20):
            wire.ask(request('{"x":1}', path="/hangs"))
    until(lambda: rows_of(server, "hangs")["late"] >= late + 2.0)
    assert threads() <= before + 1
    assert server.get("/readyz").json()["checks"]["endpoint /hangs"] == "ok"


def job(server: Server, answer: Answer) -> dict[str, Any]:
    found = server.ask(get(answer.headers["location"]))
    assert (found.status, found.headers["cache-control"]) == (200, "no-store")
    document: dict[str, Any] = found.json()
    assert document["id"] == answer.headers["x-prediction-id"]
    return document


@pytest.mark.parametrize("query", ["", "?way=asgi"])
def test_the_slow_answer_is_found_where_the_quick_one_says(server: Server, query: str) -> None:
    server.ask(request(b"", path="/shut"))
    answer = server.ask(request('{"x":2}', path=f"/staged{query}"))
    assert (answer.status, answer.json()) == (200, {"y": 4.0})
    assert job(server, answer)["state"] in ("queued", "running")
    until(lambda: job(server, answer)["rows"] == [{"row": 0, "state": "running"}])
    server.ask(request(b"", path="/open"))
    until(lambda: job(server, answer)["state"] == "done")
    assert job(server, answer)["rows"] == [{"row": 0, "state": "done", "output": {"y": 6.0}}]
    (pair,) = pairs_of(server, [answer.headers["x-prediction-id"]])
    assert (pair["role"], pair["live_output"], pair["other_output"]) == ("staged", '{"y":4.0}', '{"y":6.0}')


@pytest.mark.parametrize("query", ["", "?way=asgi"])
def test_rows_of_an_array_that_fail_slowly_are_problems_in_their_places(server: Server, query: str) -> None:
    server.ask(request(b"", path="/open"))
    answer = server.ask(request('[{"x":1},{"x":"a"},{"x":-1}]', "x-request-id: mine", path=f"/staged{query}"))
    assert answer.status == 207
    until(lambda: job(server, answer)["state"] == "done")
    good, bad = job(server, answer)["rows"]
    assert (good["row"], good["output"], bad["row"], bad["state"]) == (0, {"y": 3.0}, 2, "failed")
    assert (bad["error"]["status"], bad["error"]["request_id"]) == (500, "mine")
    assert SECRET not in json.dumps(bad)


def test_an_id_that_has_no_job_is_a_problem_that_says_how_long_they_are_kept(server: Server) -> None:
    for id in (UNKNOWN, "x", "%00", "a'b", server.ask(request()).headers["x-prediction-id"]):
        document = assert_problem(server.ask(get(f"/jobs/{id}")), 404)
        assert "kept for 3600 s" in document["detail"]
    assert_problem(server.ask(request(path="/jobs/x")), 405)


def test_a_service_without_slow_answers_says_so(tmp_path: Path) -> None:
    with served("nodelay.py", tmp_path) as server:
        assert "staged(" in assert_problem(server.ask(get(f"/jobs/{UNKNOWN}")), 404)["detail"]
        assert "/jobs/{id}" not in server.get("/openapi.json").json()["paths"]


def test_the_document_describes_the_slow_answers(server: Server) -> None:
    document = server.get("/openapi.json").json()
    route = document["paths"]["/jobs/{id}"]["get"]
    assert set(route["responses"]) == {"200", "404", "503", "default"}
    headers = document["paths"]["/staged"]["post"]["responses"]["200"]["headers"]
    assert "location" in headers
    assert "location" not in document["paths"]["/agrees"]["post"]["responses"]["200"]["headers"]


def test_who_may_not_ask_may_not_have_the_slow_answer_either(tmp_path: Path) -> None:
    with served("keyed.py", tmp_path) as server:
        answer = server.ask(request('{"x":1}', "x-key: open"))
        path = answer.headers["location"]
        assert_problem(server.ask(get(path)), 401)
        until(lambda: server.ask(get(path, "x-key: open")).json()["state"] == "done")


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def has_failed(server: Server, answer: Answer) -> bool:
    """Say whether a job has failed, while workers come and go."""
    try:
        return bool(job(server, answer)["state"] == "failed")
    except OSError:
        return False


@pytest.mark.slow
def test_any_worker_answers_for_any_other_and_a_killed_ones_rows_have_failed(tmp_path: Path) -> None:
    with served("behind.py", tmp_path, workers=2) as server:
        until(lambda: len(server.children()) == 2)
        answers = [server.ask(request(f'{{"x":{n}}}', path="/staged")) for n in range(6)]
        for answer in answers:
            for _ in range(4):
                assert job(server, answer)["state"] in ("queued", "running")
        for pid in server.children():
            kill(pid)
        until(lambda: len(server.children()) == 2)
        for answer in answers:
            until(partial(has_failed, server, answer))
            (row,) = job(server, answer)["rows"]
            assert row["error"]["status"] == 503
    with served("behind.py", tmp_path) as server:
        assert [job(server, answer)["state"] for answer in answers] == ["failed"] * 6, "a restart changes nothing"
