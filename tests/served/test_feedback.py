"""Feedback and the record of one prediction, over real sockets."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hansang.record.prediction_id import ID
from hansang.server.ids import new_ids
from tests.served.running import Server, served
from tests.served.wire import assert_problem, get, request

OLD = "0198a000-0000-7000-8000-000000000012"  # of 2025


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("feedback")
    (folder / ".env").write_text("SHOP_FACTOR=3\n")
    with served("shop.py", folder) as server:
        yield server


def predict(server: Server, body: str = '{"x":1}') -> str:
    id = server.ask(request(body)).headers["x-prediction-id"]
    assert ID.fullmatch(id)
    return id


def tell(server: Server, path: str, body: Any, *headers: str) -> Any:
    text = body if isinstance(body, str) else json.dumps(body)
    with server.client() as client:
        fields = {"content-type": "application/json"} | dict(header.split(": ") for header in headers)
        return client.post(path, content=text, headers=fields)


def outcomes(server: Server, id: str) -> list[dict[str, Any]]:
    sql = f"SELECT row, truth, truth_value, score, truth_source FROM outcomes WHERE id = '{id}' ORDER BY row"
    return [json.loads(line) for line in server.records(sql).splitlines()]


def test_the_truth_of_a_prediction_stands_beside_it_at_once(server: Server) -> None:
    id = predict(server)
    answer = tell(server, f"/feedback/{id}", {"truth": 2.5, "score": 0.9, "source": "shop"})
    assert (answer.status_code, answer.json()) == (200, {"accepted": 1})
    assert answer.headers["x-prediction-id"] == id
    assert outcomes(server, id) == [
        {"row": 0, "truth": "2.5", "truth_value": 2.5, "score": 0.9, "truth_source": "shop"}
    ]


def test_some_rows_of_an_array_are_told_and_corrected_later(server: Server) -> None:
    id = predict(server, '[{"x":1},{"x":2},{"x":3}]')
    assert tell(server, f"/feedback/{id}", [{"row": 2, "truth": 9}, {"row": 0, "truth": {"a": [1, None]}}]).is_success
    assert tell(server, f"/feedback/{id}", {"row": 2, "truth": None, "time": "2026-01-01T00:00:00Z"}).is_success
    assert tell(server, f"/feedback/{id}", {"row": 2, "truth": "cat"}).is_success
    assert [row["truth"] for row in outcomes(server, id)] == ['{"a":[1,null]}', None, '"cat"']


def test_many_predictions_are_told_at_once_and_what_is_wrong_is_said_for_each(server: Server) -> None:
    ids = [predict(server) for _ in range(2)]
    rows: list[Any] = [{"id": id, "truth": 1} for id in ids]
    assert tell(server, "/feedback", rows).json() == {"accepted": 2}
    wrong = [
        *rows,
        {"id": OLD, "truth": 1},
        {"id": ids[0], "truth": 1, "row": -1},
        {"id": "7", "truth": 1},
        {"id": ids[1]},
    ]
    answer = tell(server, "/feedback", wrong)
    assert answer.status_code == 207
    document = answer.json()
    assert document["accepted"] == 2
    said = {each["row"]: each["error"] for each in document["rejected"]}
    assert {row: error["status"] for row, error in said.items()} == {2: 404, 3: 422, 4: 422, 5: 422}
    assert said[3]["errors"][0]["loc"] == [3, "row"]
    assert said[4]["errors"][0] | {"msg": ""} == {"loc": [4, "id"], "type": "prediction_id", "msg": ""}


def test_an_id_that_is_not_there_is_404_and_says_how_long_predictions_are_kept(server: Server) -> None:
    answer = tell(server, f"/feedback/{OLD}", {"truth": 1})
    assert answer.status_code == 404
    assert answer.json()["detail"] == f"no prediction {OLD} in the record; predictions are kept without a limit"
    ahead = "0fffffff-0000-7000-8000-000000000012"
    assert tell(server, f"/feedback/{ahead}", {"truth": 1}).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "loc"),
    [
        ('{"truth": NaN}', 422, ["truth"]),
        ('{"truth": [1, 1e999]}', 422, ["truth"]),
        ('{"score": "x"}', 422, ["score"]),
        ('{"truth": 1, "row": 1.5}', 422, ["row"]),
        ('{"truth": 1, "row": true}', 422, ["row"]),
        ('{"truth": 1, "time": "2026-01-01"}', 422, ["time"]),
        ('{"truth": 1, "time": "2999-01-01T00:00:00Z"}', 422, ["time"]),
        ('{"truth": 1, "label": 2}', 422, ["label"]),
        ('{"source": "x"}', 422, ["truth"]),
        ("[]", 422, []),
        ("{", 400, None),
        ("3", 422, []),
    ],
)
def test_what_does_not_fit_says_where(server: Server, body: str, status: int, loc: list[str] | None) -> None:
    id = predict(server)
    answer = tell(server, f"/feedback/{id}", body)
    document = assert_problem(server.ask(request(body, path=f"/feedback/{id}")), status)
    assert answer.status_code == status
    if loc is not None:
        assert document["errors"][0]["loc"][: len(loc)] == loc
    assert outcomes(server, id)[0]["truth"] is None


def test_ids_paths_and_bodies_that_are_none_are_refused(server: Server) -> None:
    assert tell(server, "/feedback/42", {"truth": 1}).json()["errors"][0]["loc"] == ["path", "id"]
    assert tell(server, "/feedback", {"truth": 1}).status_code == 422
    assert tell(server, f"/feedback/{OLD}/x", {"truth": 1}).status_code == 404
    assert tell(server, f"/feedback/{OLD}", "x", "content-type: text/plain").status_code == 415
    assert (
        tell(server, f"/feedback/{predict(server)}", {"truth": 1}, f"idempotency-key: {'k' * 201}").status_code == 400
    )
    assert server.get(f"/feedback/{OLD}").status_code == 405
    assert tell(server, f"/feedback/{predict(server)}", {"truth": "x" * 70_000}).status_code == 422
    assert tell(server, "/feedback", [{"id": OLD, "truth": 1}] * 4097).status_code == 422


def test_a_request_that_comes_again_changes_nothing(server: Server) -> None:
    id = predict(server)
    for body, key in (({"truth": 1}, "a"), ({"truth": 2}, "b"), ({"truth": 1}, "a"), ({"truth": 2}, "b")):
        assert tell(server, f"/feedback/{id}", body, f"idempotency-key: {key}").is_success
    document = server.get(f"/records/{id}").json()
    assert [each["truth"] for each in document["feedback"]] == [1, 2]


def test_pipelined_feedback_and_predictions_are_answered_in_their_order(server: Server) -> None:
    id = predict(server)
    single = request('{"truth":4}', path=f"/feedback/{id}")
    with server.wire() as wire:
        wire.send(single + request('{"x":2}') + single + request("[]", path="/feedback") + get("/healthz"))
        answers = [wire.answer() for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 200, 422, 200]
    assert answers[0].json() == {"accepted": 1}
    assert answers[1].json() == {"price": 6.0}


def test_what_is_kept_of_a_prediction_is_shown_with_its_feedback(server: Server) -> None:
    id = predict(server, '[{"x":1},{"x":"a"}]')
    tell(server, f"/feedback/{id.upper()}", {"row": 0, "truth": 3})
    document = server.get(f"/records/{id}").json()
    assert document["id"] == id
    assert [(row["row"], row["status"], row["output"]) for row in document["rows"]] == [
        (0, 200, {"price": 3.0}),
        (1, 422, None),
    ]
    assert document["rows"][0]["input"] == {"x": 1.0}
    assert document["beside"] == []
    assert document["feedback"][0]["truth"] == 3
    assert document["feedback"][0]["time"].endswith("Z")
    assert server.get(f"/records/{OLD}").status_code == 404
    assert server.get("/records/42").status_code == 422


def test_rows_of_feedback_are_counted_by_what_became_of_them(server: Server) -> None:
    before = server.metrics("hansang_feedback_rows_total")
    id = predict(server)
    tell(server, "/feedback", [{"id": id, "truth": 1}, {"id": OLD, "truth": 1}, {"id": id}])
    after = server.metrics("hansang_feedback_rows_total")
    grown = {label: after[label] - before.get(label, 0.0) for label in after}
    assert grown == {
        '{result="accepted"}': 1.0, '{result="invalid"}': 1.0, '{result="lost"}': 0.0, '{result="not_found"}': 1.0,
    }  # fmt: skip


def test_routes_can_be_switched_off_and_the_retention_is_told(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"feedback": "false", "records_route": "false", "record_keep_days": 30}
    (tmp_path / ".env").write_text("SHOP_FACTOR=3\n")
    with served("shop.py", tmp_path, **settings) as server:
        id = predict(server)
        assert "HANSANG_FEEDBACK is false" in tell(server, f"/feedback/{id}", {"truth": 1}).json()["detail"]
        assert "HANSANG_RECORDS_ROUTE is false" in server.get(f"/records/{id}").json()["detail"]
    with served("shop.py", tmp_path, record_keep_days=30) as server:
        assert "predictions are kept for 30 days" in tell(server, f"/feedback/{OLD}", {"truth": 1}).json()["detail"]
        assert "predictions are kept for 30 days" in server.get(f"/records/{OLD}").json()["detail"]
    with served("shop.py", tmp_path, record="false") as server:
        assert "HANSANG_RECORD is false" in tell(server, f"/feedback/{OLD}", {"truth": 1}).json()["detail"]
        assert "HANSANG_RECORD is false" in server.get(f"/records/{OLD}").json()["detail"]
    with served("shop.py", tmp_path, feedback_check="false") as server:
        assert tell(server, f"/feedback/{OLD}", {"truth": 1}).is_success


def test_feedback_for_a_prediction_of_another_worker_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SHOP_FACTOR=3\n")
    with served("shop.py", tmp_path, workers=2) as server:
        ids = [predict(server) for _ in range(20)]
        assert [tell(server, f"/feedback/{id}", {"truth": 1}).status_code for id in ids] == [200] * 20
        assert tell(
            server, f"/feedback/{new_ids(1)[0]}", {"truth": 1}
        ).is_success  # it is believed in: it may be being written


def test_acknowledged_feedback_survives_kill_9(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SHOP_FACTOR=3\n")
    acknowledged: list[str] = []
    for _ in range(3):
        with served("shop.py", tmp_path, status=None) as server:
            ids = [predict(server) for _ in range(5)]
            for id in ids:
                assert tell(server, f"/feedback/{id}", {"truth": 1}).is_success
                acknowledged.append(id)
            os.kill(server.process.pid, signal.SIGKILL)
            server.process.wait()
    with served("shop.py", tmp_path) as server:
        kept = server.records("SELECT id FROM outcomes WHERE truth_value = 1").splitlines()
    assert sorted(json.loads(line)["id"] for line in kept) == sorted(acknowledged)
