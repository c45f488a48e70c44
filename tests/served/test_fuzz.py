"""Anything may come down the wire: the server answers 4xx or closes, and answers the next good request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.served.running import Server, served
from tests.served.wire import request

FUZZ = settings(
    max_examples=150,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served("shop.py", tmp_path_factory.mktemp("fuzz"), max_body=100_000) as server:
        yield server
    assert "this is a bug" not in server.log.read_text()
    assert "Fatal error" not in server.log.read_text()


def conversation(server: Server, data: bytes) -> bytes:
    """Send bytes and the word that no more come, and read all that comes back."""
    with server.wire() as wire:
        try:
            # a good request that closes ends the reading, unless the bytes before it have ended it already
            wire.send(data, b"\r\n\r\n", request(b'{"x":1}', "Connection: close"))
            wire.socket.shutdown(1)
            while block := wire.socket.recv(65536):
                wire.data += block
        except (ConnectionResetError, BrokenPipeError):
            pass
        return wire.data


def assert_well(server: Server, data: bytes) -> None:
    back = conversation(server, data)
    statuses = [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", back)]
    assert all(200 <= status < 500 or status in (100, 503) for status in statuses), (data, back)
    assert b"Traceback" not in back
    assert server.ask(request(b'{"x":1}')).json() == {"price": 2.0}


PIECES = st.sampled_from(
    [b"POST /predict HTTP/1.1\r\n", b"GET /healthz HTTP/1.1\r\n", b"POST /files HTTP/1.1\r\n", b"Host: t\r\n", b"\r\n",
     b"\r\n\r\n", b"Content-Length: 7\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b'{"x":1}',
     b"7\r\n", b"0\r\n\r\n", b"Connection: keep-alive\r\n", b"Expect: 100-continue\r\n", 
     b"Content-Type: application/json\r\n",
     b"Content-Type: multipart/form-data; boundary=x\r\n", b"--x\r\n", b"--x--", b"x-deadline-ms: 1\r\n", b"\0", b"\n",
     b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b"POST /guarded HTTP/1.1\r\n", b"HEAD /metrics HTTP/1.1\r\n"]
)  # fmt: skip


@FUZZ
@given(data=st.binary(max_size=300))
def test_any_bytes(server: Server, data: bytes) -> None:
    assert_well(server, data)


@FUZZ
@given(pieces=st.lists(PIECES | st.binary(max_size=8), max_size=14))
def test_pieces_of_requests_in_any_order(server: Server, pieces: list[bytes]) -> None:
    assert_well(server, b"".join(pieces))


@FUZZ
@given(
    at=st.integers(0, 10_000),
    change=st.binary(max_size=3),
    path=st.sampled_from(["/predict", "/files", "/form", "/several"]),
)
def test_good_requests_with_a_scratch(server: Server, at: int, change: bytes, path: str) -> None:
    whole = request(b'[{"x":1.5},{"x":2}]', "x-request-id: a", "x-deadline-ms: 5000", path=path)
    place = at % len(whole)
    assert_well(server, whole[:place] + change + whole[place + 1 :])


@FUZZ
@given(body=st.binary(max_size=200), path=st.sampled_from(["/predict", "/predict?a", "/files", "/form"]))
def test_any_body(server: Server, body: bytes, path: str) -> None:
    answer = server.ask(request(body, path=path))
    assert answer.status in (200, 207, 400, 415, 422)
    answer.json()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | st.just("x"), inner, max_size=4),
    max_leaves=12,
)


@FUZZ
@given(value=JSON)
def test_any_json(server: Server, value: object) -> None:
    answer = server.ask(request(json.dumps(value)))
    assert answer.status in (200, 207, 400, 422)
    answer.json()


@pytest.mark.slow
def test_the_document_says_what_the_server_does(server: Server) -> None:
    document = server.get("/openapi.json").json()
    for path in [path for path in document["paths"] if path.startswith("/own")]:
        del document["paths"][path]  # the user's own routes answer as the user says
    schema = schemathesis.openapi.from_dict(document)
    checks = [status_code_conformance, content_type_conformance, response_schema_conformance]
    for result in schema.get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]  # the document is valid, another test says

        @settings(max_examples=25, deadline=None, database=None, phases=[Phase.generate],
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(case=operation.as_strategy())
        def conforms(case: Any) -> None:
            response = case.call(base_url=server.url)
            assert response.status_code not in (500, 503)
            case.validate_response(response, checks=checks)

        conforms()
