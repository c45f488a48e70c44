"""Patterns behind a real socket, with several workers."""

from __future__ import annotations

import json
from pathlib import Path

from hansang.switches import switch_off, switch_on
from tests.served.running import served, until


def test_a_kill_switch_reaches_every_worker_without_a_restart(tmp_path: Path) -> None:
    with served("guarded.py", tmp_path, workers=2) as server:

        def variant() -> str:
            with server.client() as client:  # a connection of its own, so that either worker may take it
                answer = client.post("/predict", json={"n": 1})
                assert answer.status_code == 200 and answer.json()["by"] == answer.headers["x-variant"].replace(
                    "constant", "light"
                )
                return str(answer.headers["x-variant"])

        def both(state: str) -> bool:
            variant()
            states = server.metrics("hansang_breaker_state")
            return sum(value for labels, value in states.items() if f'state="{state}"' in labels) == 2

        until(lambda: both("closed"))
        switch_off(tmp_path / ".hansang/switches", "guard")
        until(lambda: both("off"))
        assert {variant() for _ in range(10)} == {"constant"}
        switch_on(tmp_path / ".hansang/switches", "guard")
        until(lambda: both("closed"))
        assert {variant() for _ in range(10)} == {"heavy"}


def test_who_served_and_who_is_missing_stand_in_the_header_the_record_and_the_metrics(tmp_path: Path) -> None:
    with served("guarded.py", tmp_path) as server:
        with server.client() as client:
            answer = client.post("/predict", json=[{"n": 1}, {"n": -1}])
            assert answer.json() == [{"by": "heavy"}, {"by": "light"}]
            answer = client.post("/heads", json={"n": -1})
            assert answer.json() == {"away": None, "size": -1} and answer.headers["x-variant"] == "partial"
            assert "x-variant" not in client.post("/heads", json={"n": 1}).headers
        lines = server.records("SELECT endpoint, variant, tags FROM predictions ORDER BY time, row").splitlines()
        assert [tuple(json.loads(line).values()) for line in lines] == [
            ("predict", "heavy", None),
            ("predict", "constant", None),
            ("heads", "partial", '{"missing":["away"]}'),
            ("heads", "", None),
        ]
        (missing,) = (v for k, v in server.metrics("hansang_parallel_missing_rows_total").items() if "away" in k)
        assert missing == 1
