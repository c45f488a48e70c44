"""What clients put into bodies: every wrong one is a problem document that says what is wrong and repeats nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.served.running import Server, served
from tests.served.wire import assert_problem, request

PATHS = ["/predict", "/predict?way=asgi"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served("kitchen.py", tmp_path_factory.mktemp("bodies")) as server:
        yield server


UNREADABLE = {
    "empty": b"",
    "blank": b" \r\n\t ",
    "truncated": b'{"x": 1',
    "truncated array": b'[{"x": 1},',
    "two documents": b'{"x":1}{"x":2}',
    "a comma too many": b'{"x":1,}',
    "single quotes": b"{'x':1}",
    "a comment": b'{"x":1/*note*/}',
    "not UTF-8": b'{"x":1,"do":"\xff\xfe"}',
    "not UTF-8 in an unknown field": b'{"x":1,"q":"\xc3("}',
    "overlong UTF-8": b'{"x":1,"do":"\xc0\xaf"}',
    "half a surrogate": b'{"x":1,"do":"\\ud800"}',
    "a byte order mark": b'\xef\xbb\xbf{"x":1}',
    "UTF-16": '{"x":1}'.encode("utf-16"),
    "NaN": b'{"x":NaN}',
    "Infinity": b'{"x":Infinity}',
    "minus Infinity": b'{"x":-Infinity}',
    "NaN in an array": b'[{"x":1},{"x":NaN}]',
    "deep arrays": b'{"x":' + b"[" * 100_000,
    "deep objects": b'{"x":' * 100_000,
    "deep and closed": b'{"x":1,"q":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "a plus sign": b'{"x":+1}',
    "a leading zero": b'{"x":01}',
    "hexadecimal": b'{"x":0x1}',
    "a bare control character": b'{"x":1,"do":"\x01"}',
    "form data": b"x=1&do=",
    "XML": b"<x>1</x>",
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_body_that_is_not_json_is_a_bad_request(server: Server, kind: str, path: str) -> None:
    answer = server.ask(request(UNREADABLE[kind], path=path))
    document = assert_problem(answer, 400)
    assert document["detail"].startswith("the body is not JSON: ")
    assert document["request_id"] == answer.headers["x-prediction-id"]


INVALID: dict[str, tuple[str, list[tuple[list[Any], str]]]] = {
    "a missing field": ("{}", [(["x"], "missing")]),
    "a wrong type": ('{"x":"secret-input"}', [(["x"], "float_parsing")]),
    "null": ('{"x":null}', [(["x"], "float_type")]),
    "an object for a number": ('{"x":{"secret-input":1}}', [(["x"], "float_type")]),
    "two faults": ('{"x":[],"do":7}', [(["x"], "float_type"), (["do"], "string_type")]),
    "a number": ("5", [([], "model_type")]),
    "a text": ('"secret-input"', [([], "model_type")]),
    "a truth": ("true", [([], "model_type")]),
    "nothing": ("null", [([], "model_type")]),
    "a name twice": ('{"x":1,"x":2}', [(["x"], "duplicate_name")]),
    "a name twice, once in disguise": ('{"x":1,"\\u0078":2}', [(["x"], "duplicate_name")]),
    "a number beyond all floats": ('{"x":1e999}', [(["x"], "finite_number")]),
    "a long number beyond all floats": ('{"x":1' + "0" * 400 + "}", [(["x"], "finite_number")]),
    "an empty array": ("[]", [([], "too_short")]),
    "an array of arrays": ("[[1]]", [([0], "model_type")]),
    "only bad rows": (
        '[{"x":"secret-input"},{},{"x":1,"x":1},{"x":1e999}]',
        [([0, "x"], "float_parsing"), ([1, "x"], "missing"), ([2, "x"], "duplicate_name"), ([3, "x"], "finite_number")],
    ),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", INVALID)
def test_a_row_that_does_not_fit_is_told_where_and_why(server: Server, kind: str, path: str) -> None:
    body, faults = INVALID[kind]
    answer = server.ask(request(body, path=path))
    document = assert_problem(answer, 422)
    assert [(error["loc"], error["type"]) for error in document["errors"]] == faults
    assert b"secret-input" not in answer.body


def test_flat_rows_of_numbers_are_no_exception(server: Server) -> None:
    assert_problem(server.ask(request('{"a":NaN,"b":1}', path="/flat")), 400)
    for body in ('{"a":1e999,"b":1}', '{"a":1,"b":2,"b":3}', '{"a":1,"a":1}', '{"a":1}'):
        assert_problem(server.ask(request(body, path="/flat")), 422)
    assert server.ask(request('[{"a":1e308,"b":1e308}]', path="/flat")).json() == [{"y": 1e308}]
    answer = server.ask(request('[{"a":1,"b":2},{"a":-1e999,"b":2}]', path="/flat"))
    assert (answer.status, answer.json()[0]) == (207, {"y": 1.0})


@pytest.mark.parametrize("path", PATHS)
def test_good_rows_are_answered_beside_bad_ones(server: Server, path: str) -> None:
    rows = '[{"x":1},{"x":"no"},{"x":3},{"x":4,"x":4},{"y":5},{"x":1e999},{"x":7}]'
    answer = server.ask(request(rows, "x-request-id: mixed", path=path))
    assert (answer.status, answer.headers["content-type"]) == (207, "application/json")
    document = answer.json()
    assert [document[n] for n in (0, 2, 6)] == [{"y": 2.0}, {"y": 6.0}, {"y": 14.0}]
    for n in (1, 3, 4, 5):
        problem = document[n]["error"]
        assert (problem["status"], problem["request_id"]) == (422, "mixed")
        assert problem["errors"][0]["loc"] == [n, "x"]


def test_an_optional_name_that_stands_twice_is_found_in_an_array_too(server: Server) -> None:
    answer = server.ask(request('[{"x":1},{"x":2,"do":"","do":"nap"}]'))
    assert answer.status == 207
    assert answer.json()[1]["error"]["errors"][0]["loc"] == [1, "do"]


@pytest.mark.parametrize("path", PATHS)
def test_unknown_fields_of_an_open_schema_are_overlooked(server: Server, path: str) -> None:
    body = json.dumps({"x": 1, "q": 10**400, "z": {"a": [1, {"b": None}]}, "": 1})
    assert server.ask(request(body, path=path)).json() == {"y": 2.0}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "media",
    ["text/plain", "application/xml", "application/jsonx", "multipart/form-data; boundary=x", "", "/", "application",
     "application/x-www-form-urlencoded", "application/json; charset=utf-16", "application/json; charset=latin-1"],
)  # fmt: skip
def test_another_content_type_is_not_read(server: Server, media: str, path: str) -> None:
    assert_problem(server.ask(request('{"x":1}', f"Content-Type: {media}", path=path)), 415)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "media",
    ["application/json", "APPLICATION/JSON", "application/json;charset=UTF-8", 'application/json; charset="utf-8"',
     "application/vnd.hansang+json"],
)  # fmt: skip
def test_json_has_many_spellings(server: Server, media: str, path: str) -> None:
    assert server.ask(request('{"x":1}', f"Content-Type: {media}", path=path)).json() == {"y": 2.0}


@pytest.mark.parametrize("path", PATHS)
def test_compressed_bodies_are_not_read(server: Server, path: str) -> None:
    assert_problem(server.ask(request(b"\x1f\x8b", "Content-Encoding: gzip", path=path)), 415)


@pytest.mark.parametrize("path", PATHS)
def test_ids_of_requests_come_back_and_ids_of_predictions_are_in_the_order_of_time(server: Server, path: str) -> None:
    ids = []
    with server.wire() as wire:
        for n in range(50):
            answer = wire.ask(request('{"x":1}', f"x-request-id: r-{n}", path=path))
            assert answer.headers["x-request-id"] == f"r-{n}"
            assert answer.headers["x-model-version"] == ""
            ids.append(answer.headers["x-prediction-id"])
        assert "x-request-id" not in wire.ask(request(path=path)).headers
        assert assert_problem(wire.ask(request("{", "x-request-id: r-bad", path=path)), 400)["request_id"] == "r-bad"
        assert_problem(wire.ask(request('{"x":1}', "x-request-id: " + "q" * 201, path=path)), 400)
    assert len(set(ids)) == 50
    milliseconds = [id[:13] for id in ids]
    assert milliseconds == sorted(milliseconds)


@pytest.mark.parametrize("path", PATHS)
def test_a_deadline_must_be_a_time(server: Server, path: str) -> None:
    for text in ("soon", "0", "-5", "nan", ""):
        assert_problem(server.ask(request('{"x":1}', f"x-deadline-ms: {text}", path=path)), 400)
    for text in ("5000", "1e4", "86400000000"):
        assert server.ask(request('{"x":1}', f"x-deadline-ms: {text}", path=path)).status == 200


def test_the_trace_of_a_request_is_recorded(server: Server) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for path in PATHS:
        id = server.ask(request('{"x":1}', f"traceparent: {parent}", path=path)).headers["x-prediction-id"]
        assert parent in server.records(f"SELECT tags FROM predictions WHERE id = '{id}'")
    assert server.ask(request('{"x":1}', "traceparent: nonsense")).status == 200


def test_every_answered_row_is_recorded_the_refused_ones_too(server: Server) -> None:
    ids = [
        server.ask(request(body, path=path)).headers["x-prediction-id"]
        for path in PATHS
        for body in ('{"x":1}', '{"x":"no"}', '[{"x":1},{"x":"no"}]')
    ]
    listed = ",".join(f"'{id}'" for id in ids)
    table = server.records(f"SELECT id, row, status FROM predictions WHERE id IN ({listed}) ORDER BY id, row")
    rows = [json.loads(line) for line in table.splitlines()]
    assert [(row["id"], row["row"], row["status"]) for row in rows] == [
        (id, row, status)
        for n, id in enumerate(ids)
        for row, status in [[(0, 200)], [(0, 422)], [(0, 200), (1, 422)]][n % 3]
    ]
