"""What models do wrong, seen from the other end of the wire."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.served.running import Server, served, until
from tests.served.services.kitchen import SECRET
from tests.served.wire import Answer, assert_problem, request

PATHS = ["/predict", "/predict?way=asgi"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served("kitchen.py", tmp_path_factory.mktemp("faults")) as server:
        yield server


def order(do: str, path: str = "/predict", *fields: str) -> bytes:
    return request(f'{{"x":1,"do":"{do}"}}', *fields, path=path)


def private(answer: Answer, status: int = 500) -> None:
    """Check that the client learns that there is a fault, and nothing of it."""
    document = assert_problem(answer, status)
    assert SECRET.encode() not in answer.body
    assert document["request_id"] in (answer.headers["x-prediction-id"], answer.headers.get("x-request-id"))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("do", ["raise", "few", "many", "memory", "leave", "odd"])
def test_a_model_that_fails_is_a_fault_of_the_server_and_stays_private(server: Server, do: str, path: str) -> None:
    private(server.ask(order(do, path, f"x-request-id: find-{do}")))
    assert f"find-{do}" in server.log.read_text()
    assert server.ask(request(path=path)).status == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("do", ["raise", "memory"])
def test_one_row_that_fails_leaves_its_neighbours_alone(server: Server, do: str, path: str) -> None:
    answer = server.ask(request(f'[{{"x":1}},{{"x":2,"do":"{do}"}},{{"x":3}}]', path=path))
    assert answer.status == 207
    good, bad, other = answer.json()
    assert (good, other) == ({"y": 2.0}, {"y": 6.0})
    assert bad["error"]["status"] == 500
    assert SECRET.encode() not in answer.body


@pytest.mark.parametrize("path", PATHS)
def test_rows_that_all_fail_are_one_problem(server: Server, path: str) -> None:
    answer = server.ask(request('[{"x":1,"do":"raise"},{"x":2,"do":"raise"}]', path=path))
    private(answer)
    assert "all 2 rows failed" in answer.json()["detail"]


@pytest.mark.parametrize("do", ["few", "many"])
def test_a_wrong_number_of_predictions_is_given_to_nobody(server: Server, do: str) -> None:
    private(server.ask(request(f'[{{"x":1}},{{"x":2,"do":"{do}"}},{{"x":3}}]')))


@pytest.mark.parametrize("path", PATHS)
def test_a_prediction_that_is_not_a_number_is_null_and_counted(server: Server, path: str) -> None:
    name = "hansang_nonfinite_total"
    before = sum(server.metrics(name).values())
    answer = server.ask(order("nan", path))
    assert (answer.status, answer.body) == (200, b'{"y":null}')
    assert sum(server.metrics(name).values()) == before + 1


@pytest.mark.parametrize("path", PATHS)
def test_the_users_own_problem_reaches_the_client_with_its_status_text_and_headers(server: Server, path: str) -> None:
    answer = server.ask(order("teapot", path))
    document = assert_problem(answer, 418)
    assert (document["title"], document["detail"]) == ("I am a teapot", "short and stout")
    assert (answer.headers["x-pot"], answer.headers["retry-after"]) == ("tea", "7")
    private(server.ask(order("hidden", path)), 507)


@pytest.mark.parametrize("path", PATHS)
def test_a_prediction_is_filtered_by_the_output_schema(server: Server, path: str) -> None:
    assert server.ask(request(path=path)).body == b'{"y":2.0}'


def test_a_route_of_the_users_own_that_fails_is_a_problem_too(server: Server) -> None:
    with server.wire() as wire:
        private(wire.ask(b"GET /bug HTTP/1.1\r\nHost: t\r\n\r\n"))


@pytest.mark.parametrize("path", ["/predict", "/predict?way=asgi", "/impatient"])
def test_a_deadline_is_kept_whatever_the_model_does(server: Server, path: str) -> None:
    fields = [] if path == "/impatient" else ["x-deadline-ms: 100"]
    started = time.monotonic()
    assert_problem(server.ask(order("wait", path, *fields)), 504)
    assert 0.08 < time.monotonic() - started < 10
    server.ask(request(b"", path="/open"))
    until(lambda: server.metrics("hansang_rows_in_flight") == {"": 0.0})
    server.ask(request(b"", path="/shut"))


def test_a_deadline_that_passes_before_the_graph_is_entered_is_told_and_recorded(server: Server) -> None:
    answer = server.ask(request('{"x":5}', "x-deadline-ms: 1e-90"))
    assert_problem(answer, 504)
    found = server.get(f"/records/{answer.headers['x-prediction-id']}").json()
    assert [row["status"] for row in found["rows"]] == [504]


def test_a_row_that_cannot_be_in_time_does_not_reach_the_model(server: Server) -> None:
    server.ask(request(b"", path="/shut"))
    with server.wire() as holder, server.wire() as late:
        holder.send(order("wait"))
        until(lambda: server.get("/seen").json() == [1.0])
        assert_problem(late.ask(request('{"x":-3}', "x-deadline-ms: 50")), 504)
        server.ask(request(b"", path="/open"))
        assert holder.answer().status == 200
    assert server.ask(request('{"x":4}')).status == 200
    assert -3.0 not in server.get("/seen").json()


def test_a_model_that_hangs_makes_it_not_ready_and_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    with served("kitchen.py", tmp_path, stuck_after=0.3, drain_timeout=1) as server:
        assert server.get("/readyz").json()["ready"]
        with server.wire() as hung:
            hung.send(order("hang"))
            until(lambda: server.get("/readyz").status_code == 503)
            report = server.get("/readyz")
            assert report.json()["checks"]["model cook"] == "a call has been running for too long"
            assert report.headers["retry-after"] == "1"
            assert server.get("/healthz").status_code == 200
            started = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - started < 15
            answer = hung.answer()
            assert_problem(answer, 503)
    assert "1 rows had no answer" in server.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("do", ["exit", "kill"])
def test_a_worker_that_dies_is_replaced_while_the_other_answers(tmp_path: Path, do: str) -> None:
    with served("kitchen.py", tmp_path, workers=2) as server:
        until(lambda: len(server.children()) == 2)
        before = server.children()
        answered = 0
        for _ in range(20):
            answered += server.ask(request()).status == 200
        with server.wire() as wire, pytest.raises(ConnectionError):
            wire.ask(order(do))
        until(lambda: len(set(server.children()) & set(before)) == 1)
        for _ in range(20):
            answered += server.ask(request()).status == 200
        until(lambda: len(server.children()) == 2)
        pids: set[int] = set()

        def both_answer() -> bool:
            pids.add(server.get("/pid").json())
            return pids == set(server.children())

        until(both_answer)
        assert answered == 40
        rows = {labels: count for labels, count in server.metrics("hansang_rows_total").items() if count}
        assert rows == {'{endpoint="predict",status="200"}': 40.0}, "what a dead worker counted is not lost"
        assert server.metrics("hansang_rows_in_flight") == {"": 0.0}, "a dead worker has no rows in flight"
    assert "it starts again" in server.log.read_text()
