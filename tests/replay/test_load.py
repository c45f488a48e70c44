"""Recorded requests as load on a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hansang.errors import RecordError, UsageError
from hansang.replay import Rate, load
from tests.record.making import id_at
from tests.replay.conftest import NOON, RIDES, Write, answer
from tests.served.running import Server, served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve another version, with a record of its own."""
    with served(RIDES, tmp_path_factory.mktemp("other"), max_rows=50) as server:
        yield server


@pytest.fixture
def arrays(write: Write) -> None:
    """Record an array of five rows, of which one had no input, and some lone rows."""
    kms = [1, 2, 3, 4, 5]
    write(
        [0],
        ids=[id_at(NOON, 77)] * 5,
        numbers=list(range(5)),
        latencies=[0.004] * 5,
        inputs=[json.dumps({"km": km}).encode() if km != 4 else b"" for km in kms],
        outputs=[answer(km) if km != 4 else b"" for km in kms],
        statuses=[200 if km != 4 else 422 for km in kms],
        batch_rows=5,
    )
    write([6, 7], NOON + 0.05, 0.05)


def test_requests_come_as_they_came_and_arrays_keep_together(server: Server, folder: Path, arrays: None) -> None:
    found = load("rides", server.url, folder, rate=Rate.of("1x")).document()
    assert (found["requests"], found["replayed"], found["arrays_without_all_rows"]) == (3, 6, 1)
    assert found["statuses"] == {"200": 3}
    assert found["changed"] == 0
    assert found["answered_by_both"] == 6
    assert list(found["not_replayed"].values()) == [1]
    assert found["seconds"] >= 0.1  # as long as it took then
    sent = [json.loads(line) for line in server.records("SELECT request_id, row FROM predictions").splitlines()]
    mine = sorted(row["row"] for row in sent if row["request_id"] == f"replay-{id_at(NOON, 77)}")
    assert mine == [0, 1, 2, 3]


def test_differences_and_failures_of_the_server_are_reported(server: Server, folder: Path, write: Write) -> None:
    ids = write([1, 2, 3], outputs=[answer(2)])
    write([-1], NOON + 5)
    found = load("rides", server.url, folder, rate=Rate.of("500")).document()
    assert found["changed"] == 3
    assert found["newly_failed"] == 1
    assert found["statuses"] == {"200": 3, "422": 1}
    assert {each["id"] for each in found["fields"]["minutes"]["numbers"]["largest"]} == {ids[0], ids[2]}
    assert found["latency_ms"]["p50"] >= found["latency_from_sending_ms"]["p50"] > 0


def test_a_fixed_rate_is_kept(server: Server, folder: Path, write: Write) -> None:
    write([1] * 41, step=60)
    found = load("rides", server.url, folder, rate=Rate.of("200")).document()
    assert found["asked_rate"] == pytest.approx(205, abs=1)  # 41 requests in 40 pauses of 5 ms
    assert found["sent_rate"] == pytest.approx(205, rel=0.3)


def test_requests_in_flight_are_bounded_and_what_waits_is_counted(server: Server, folder: Path, write: Write) -> None:
    write([1] * 60, step=0.0)
    found = load("rides", server.url, folder, in_flight=1).document()
    assert found["statuses"] == {"200": 60}
    assert found["held_back"] > 30
    assert found["late_seconds"] > 0
    assert found["latency_ms"]["p99"] > found["latency_from_sending_ms"]["p99"]


def test_nobody_there_is_reported_by_request(folder: Path, write: Write) -> None:
    write([1, 2], step=0.001)
    found = load("rides", "http://127.0.0.1:9", folder)
    assert found.unanswered == 2
    assert len(found.statuses) == 1
    assert "127.0.0.1:9 cannot be reached" in next(iter(found.statuses))
    assert found.comparison.newly_failed == 2


def test_a_wrong_rate_or_address_is_refused_before_anything_is_sent(folder: Path, write: Write) -> None:
    write([1])
    with pytest.raises(UsageError, match="the rate 'fast' is not understood; write 2x, or requests a second as 200"):
        Rate.of("fast")
    with pytest.raises(UsageError, match="is not the URL of a service"):
        load("rides", "ftp://somewhere", folder)
    with pytest.raises(RecordError, match="no rows of the service 'bikes'"):
        load("bikes", "http://127.0.0.1:9", folder)
