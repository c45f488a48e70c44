"""HTTP over a real socket: what a correct client may do, and what a wrong one gets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.served.running import Server, served, until
from tests.served.wire import Wire, assert_problem, get, request


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served("kitchen.py", tmp_path_factory.mktemp("http"), max_body=200_000, max_header=4096) as server:
        yield server


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    with server.wire() as wire:
        yield wire


def test_a_connection_answers_many_requests(wire: Wire) -> None:
    for x in range(20):
        answer = wire.ask(request(f'{{"x":{x}}}'))
        assert (answer.status, answer.json()) == (200, {"y": 2.0 * x})
        assert answer.headers["content-type"] == "application/json"
    assert wire.ask(get("/healthz")).json() == {"status": "ok"}


def test_keep_alive_answers_are_not_held_back(wire: Wire) -> None:
    wire.ask(request())
    times = []
    for _ in range(40):
        started = time.perf_counter()
        wire.send(request()[:40], request()[40:]).answer()
        times.append(time.perf_counter() - started)
    quarter = sorted(times)[10]  # the others may have waited for a core
    assert quarter < 0.02, "Nagle and delayed acknowledgement cost 40 ms a request"


def test_pipelined_answers_come_in_order_whatever_answers_them(server: Server, wire: Wire) -> None:
    wire.send(
        get("/slow") + request('{"x":1}') + request('{"x":2}', path="/predict?way=asgi") + get("/healthz")
        + request('{"x":"no"}') + request('{"x":3,"do":"nap"}') + request('{"x":4}') + get("/nothing")
    )  # fmt: skip
    answers = [wire.answer() for _ in range(8)]
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 422, 200, 200, 404]
    bodies = [answer.json() for answer in answers]
    assert bodies[:4] == [{"slow": True}, {"y": 2.0}, {"y": 4.0}, {"status": "ok"}]
    assert bodies[5:7] == [{"y": 6.0}, {"y": 8.0}]
    assert wire.silent()
    assert "Traceback" not in server.log.read_text()


def test_hundreds_of_pipelined_requests_are_all_answered(wire: Wire) -> None:
    wire.send(b"".join(request(f'{{"x":{x}}}') for x in range(600)))
    assert [wire.answer().json()["y"] for _ in range(600)] == [2.0 * x for x in range(600)]


def test_the_server_says_when_to_send_the_body(wire: Wire) -> None:
    head = request(b"", "Expect: 100-continue", length=7)
    assert wire.send(head).answer().status == 100
    assert wire.ask(b'{"x":3}').json() == {"y": 6.0}


def test_the_word_to_go_on_waits_for_the_answers_before_it(wire: Wire) -> None:
    wire.send(get("/slow"), request(b"", "Expect: 100-continue", length=7))
    assert wire.answer().json() == {"slow": True}
    assert wire.answer().status == 100
    assert wire.ask(b'{"x":3}').json() == {"y": 6.0}


def test_routes_of_the_application_may_expect_too(wire: Wire) -> None:
    assert wire.send(request(b"", "Expect: 100-continue", length=7, path="/echo")).answer().status == 100
    assert wire.ask(b"1234567").json()["bytes"] == 7


@pytest.mark.parametrize("path", ["/predict", "/predict?way=asgi"])
def test_a_chunked_body_may_be_cut_anywhere(wire: Wire, path: str) -> None:
    head = request(b"", "Transfer-Encoding: chunked", path=path)
    whole = head + b'3\r\n{"x\r\n1;note=1\r\n"\r\n3\r\n: 5\r\n1\r\n}\r\n0\r\n\r\n'
    for cut in range(1, len(whole)):
        wire.send(whole[:cut], whole[cut:])
    assert [wire.answer().json() for _ in range(1, len(whole))] == [{"y": 10.0}] * (len(whole) - 1)


def test_a_request_may_come_byte_by_byte(wire: Wire) -> None:
    whole = request('{"x":7}')
    wire.send(*(whole[n : n + 1] for n in range(len(whole))))
    assert wire.answer().json() == {"y": 14.0}


def test_what_follows_a_chunked_body_does_not_become_a_header(wire: Wire) -> None:
    head = request(b"", "Transfer-Encoding: chunked", path="/echo")
    answer = wire.ask(head + b"2\r\nab\r\n0\r\nx-user: admin\r\n\r\n")
    assert answer.json()["bytes"] == 2
    assert "x-user" not in answer.json()["fields"]


def test_head_is_answered_without_a_body(wire: Wire) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/metadata"):
        answer = wire.send(get(path).replace(b"GET", b"HEAD", 1)).answer(bodiless=True)
        assert answer.status == 200
        assert int(answer.headers["content-length"]) > 0
    assert wire.send(get("/predict").replace(b"GET", b"HEAD", 1)).answer(bodiless=True).status == 405
    assert wire.ask(request()).status == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_a_wrong_method_is_told_the_right_one(wire: Wire, method: str) -> None:
    answer = wire.ask(request(b"{}", method=method))
    assert_problem(answer, 405)
    assert answer.headers["allow"] == "POST"


def test_an_unknown_path_is_a_problem_that_does_not_repeat_it(wire: Wire) -> None:
    answer = wire.ask(get("/no/such/<b>place</b>", "x-request-id: me-1"))
    assert assert_problem(answer, 404)["request_id"] == "me-1"
    assert b"<b>" not in answer.body
    assert answer.headers["x-request-id"] == "me-1"


def test_a_query_and_an_absolute_address_are_understood(wire: Wire) -> None:
    assert wire.ask(request(path="/predict?a=1&b=%20")).json() == {"y": 2.0}
    assert wire.ask(request(path="http://elsewhere:99/predict")).json() == {"y": 2.0}


def test_http_1_0_is_answered_and_closed(wire: Wire) -> None:
    answer = wire.ask(request().replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert (answer.json(), answer.headers["connection"]) == ({"y": 2.0}, "close")
    assert wire.closed()


@pytest.mark.parametrize("first", [request(b'{"x":1}', "Connection: close"), get("/healthz", "Connection: close")])
def test_nothing_runs_after_a_request_that_closes(server: Server, wire: Wire, first: bytes) -> None:
    wire.send(first + request('{"x":-77}'))
    assert wire.answer().headers["connection"] == "close"
    assert wire.closed()
    assert -77.0 not in server.get("/seen").json()


def test_a_header_that_is_too_large_is_refused(server: Server) -> None:
    for part in (request(b"{}", "x-a: " + "q" * 5000), b"POST /" + b"a" * 5000, get("/healthz", "x-a: " + "q" * 5000)):
        with server.wire() as wire:
            assert_problem(wire.ask(part), 431)
            assert wire.closed()


def test_what_stands_around_chunks_cannot_grow_for_ever(server: Server) -> None:
    head = request(b"", "Transfer-Encoding: chunked")
    for start in (b"1;", b"1\r\na\r\n0\r\nx-a: "):
        with server.wire() as wire:
            wire.send(head, start)
            while wire.silent():
                wire.send(b"q" * 1000)
            assert_problem(wire.answer(), 431)


@pytest.mark.parametrize("path", ["/predict", "/predict?way=asgi", "/echo"])
def test_a_body_that_is_too_large_is_refused(server: Server, path: str) -> None:
    with server.wire() as wire:
        assert "200000" in assert_problem(wire.ask(request(b"{", length=200_001, path=path)), 413)["detail"]
        assert wire.closed()
    with server.wire() as wire:
        wire.send(request(b"", "Transfer-Encoding: chunked", path=path))
        assert_problem(wire.send(*[b"8000\r\n" + b" " * 0x8000 + b"\r\n"] * 7).answer(), 413)
        assert wire.closed()


def test_a_body_just_within_the_limit_is_read_in_pieces(wire: Wire) -> None:
    body = b'{"x":1' + b" " * 199_990 + b"}"
    whole = request(body)
    wire.send(*(whole[at : at + 9000] for at in range(0, len(whole), 9000)))
    assert wire.answer().json() == {"y": 2.0}


def test_a_client_that_is_still_sending_can_read_why_it_was_refused(server: Server) -> None:
    with server.wire() as wire:
        wire.send(request(b"", length=50_000_000))
        try:
            for _ in range(200):
                wire.send(b" " * 10_000)
        except (BrokenPipeError, ConnectionResetError):
            pytest.fail("the connection was cut before the answer could be read")
        assert_problem(wire.answer(), 413)


SMUGGLED = {
    "both lengths": request(b'{"x":1}', "Transfer-Encoding: chunked", "Content-Length: 7"),
    "lengths the other way": request(b"", "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "two lengths": request(b'{"x":1}', "Content-Length: 8"),
    "the same length twice": request(b'{"x":1}', "Content-Length: 7"),
    "a list of lengths": request().replace(b"Content-Length: 7", b"Content-Length: 7, 7"),
    "a signed length": request().replace(b"Length: 7", b"Length: +7"),
    "a negative length": request().replace(b"Length: 7", b"Length: -7"),
    "a hexadecimal length": request().replace(b"Length: 7", b"Length: 0x7"),
    "an endless length": request().replace(b"Length: 7", b"Length: " + b"9" * 30),
    "an empty length": request().replace(b"Length: 7", b"Length: "),
    "chunked is not last": request(b"", "Transfer-Encoding: chunked, identity") + b"0\r\n\r\n",
    "an unknown coding": request(b"", "Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    "no number of bytes": request(b"", "Transfer-Encoding: chunked") + b'zz\r\n{"x":1}\r\n0\r\n\r\n',
    "a chunk that is longer": request(b"", "Transfer-Encoding: chunked") + b'3\r\n{"x":1}\r\n0\r\n\r\n',
    "an endless chunk": request(b"", "Transfer-Encoding: chunked") + b"f" * 20 + b"\r\n{}",
    "a chunk with a sign": request(b"", "Transfer-Encoding: chunked") + b'+7\r\n{"x":1}\r\n0\r\n\r\n',
    "a chunk ended by LF": request(b"", "Transfer-Encoding: chunked") + b'7\n{"x":1}\n0\n\n',
    "a folded line": request(b'{"x":1}', "x-a: 1\r\n x-b: 2"),
    "a folded length": request().replace(b"Content-Length: 7", b"Content-Length:\r\n 7"),
    "bare line ends": request().replace(b"\r\n", b"\n"),
    "a bare line end in a value": request(b'{"x":1}', "x-a: 1\nx-b: 2"),
    "a bare CR in a value": request(b'{"x":1}', "x-a: 1\rx-b: 2"),
    "a space before the colon": request().replace(b"Content-Length:", b"Content-Length :"),
    "a NUL in a value": request(b'{"x":1}', "x-a: 1\x002"),
    "a NUL in a name": request(b'{"x":1}', "x\x00a: 1"),
    "a line without a colon": request(b'{"x":1}', "nothing"),
    "a space at the start": b" " + request(),
    "a wrong version": request().replace(b"HTTP/1.1", b"HTTP/1.11"),
    "another protocol": request().replace(b"HTTP/1.1", b"ICE/1.0"),
    "no method that is": request().replace(b"POST", b"POSY"),
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("shape", SMUGGLED)
def test_a_request_of_two_readings_is_refused_and_closed(server: Server, shape: str) -> None:
    for path in (b"/predict ", b"/predict?a "):
        with server.wire() as wire:
            answer = wire.ask(SMUGGLED[shape].replace(b"/predict ", path) + request('{"x":-99}'))
            assert_problem(answer, 400)
            assert answer.headers["connection"] == "close"
            assert wire.closed(), "what follows a request that cannot be read is not a request"
    assert -99.0 not in server.get("/seen").json()


def test_what_was_asked_before_a_wrong_request_is_still_answered(wire: Wire) -> None:
    wire.send(get("/slow") + request() + b"\0\0\0")
    assert wire.answer().json() == {"slow": True}
    assert wire.answer().json() == {"y": 2.0}
    assert_problem(wire.answer(), 400)
    assert wire.closed()


@pytest.mark.parametrize("rest", [b"zz\r\n", b"\0\0"])
def test_a_body_that_breaks_on_its_way_to_the_application_is_refused_at_once(server: Server, rest: bytes) -> None:
    with server.wire() as wire:
        wire.send(request(b"", "Transfer-Encoding: chunked", path="/echo") + b"1\r\na\r\n")
        assert_problem(wire.ask(rest), 400)
        assert wire.closed()
    assert "Traceback" not in server.log.read_text()


def test_empty_lines_before_a_request_are_overlooked(wire: Wire) -> None:
    assert wire.ask(b"\r\n\r\n" + request()).json() == {"y": 2.0}
    assert wire.ask(b"\r\n" + request()).json() == {"y": 2.0}


def test_an_offer_to_change_protocols_is_overlooked(server: Server) -> None:
    with server.wire() as wire:
        answer = wire.ask(get("/healthz", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"))
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert wire.closed()
    with server.wire() as wire:
        assert_problem(wire.ask(request(b'{"x":1}', "Connection: Upgrade", "Upgrade: websocket")), 400)
        assert wire.closed()
    with server.wire() as wire:
        assert wire.ask(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n").status in (400, 404, 405)
        assert wire.closed()


def test_a_client_that_leaves_mid_body_leaves_nothing_behind(server: Server) -> None:
    for path in ("/predict", "/predict?way=asgi"):
        for leave in (Wire.close, Wire.reset):
            wire = server.wire().send(request(b'{"x":', length=7, path=path))
            leave(wire)
    assert server.ask(request()).status == 200
    assert "Traceback" not in server.log.read_text()


def test_the_model_does_not_run_for_clients_that_left_while_their_rows_waited(server: Server) -> None:
    server.ask(request(b"", path="/shut"))
    with server.wire() as holder:
        holder.send(request('{"x":1,"do":"wait"}'))
        until(lambda: server.get("/seen").json() == [1.0])
        waiting = [server.wire().send(request('{"x":-5}', path=path)) for path in ("/predict", "/predict?way=asgi")]
        stays = server.wire().send(request('{"x":6}'))
        until(lambda: sum(server.metrics("hansang_rows_in_flight").values()) == 4)
        for wire in waiting:
            wire.close()
        assert server.get("/healthz").status_code == 200  # by now the server knows that they left
        server.ask(request(b"", path="/open"))
        assert holder.answer().json() == {"y": 2.0}
        assert stays.answer().json() == {"y": 12.0}
        stays.close()
    assert server.get("/seen").json() == [1.0, 6.0]
    until(lambda: sum(server.metrics("hansang_rows_in_flight").values()) == 0)


def test_a_client_that_never_reads_does_not_fill_the_server(tmp_path: Path) -> None:
    with served("kitchen.py", tmp_path, body_timeout=1) as server:
        with server.wire(receive_buffer=4096) as wire:
            wire.socket.settimeout(0.5)
            with pytest.raises((TimeoutError, ConnectionError)):
                for _ in range(400):
                    wire.send(request('{"x":1,"do":"large"}' + " " * 60_000, path="/large"))
            assert server.ask(request()).status == 200
            until(lambda: server.metrics("hansang_rows_in_flight") == {"": 0.0})
            wire.socket.settimeout(10)
            with pytest.raises((ConnectionError, TimeoutError)):
                while wire.socket.recv(1 << 20):
                    pass
                raise ConnectionError("closed after what was on its way")
        memory = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096
        assert memory < 500_000_000


def test_slow_clients_idle_ones_and_too_many_are_sent_away(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"header_timeout": 1, "body_timeout": 1.5, "keep_alive": 1, "max_connections": 6}
    with served("kitchen.py", tmp_path, **limits) as server:
        started = time.monotonic()
        slow_header = server.wire().send(b"POST /predict HTTP/1.1\r\nHo")
        slow_body = server.wire().send(request(b'{"x"', length=7))
        slow_asgi = server.wire().send(request(b'{"x"', length=7, path="/echo"))
        silent, idle = server.wire(), server.wire()
        long = server.wire().send(request('{"x":1,"do":"wait"}', "Connection: close"))
        assert idle.ask(request()).status == 200
        refused = server.wire()
        answer = refused.answer()
        assert_problem(answer, 503)
        assert int(answer.headers["retry-after"]) >= 1
        assert refused.closed()
        for wire in (slow_header, slow_body, slow_asgi):
            assert_problem(wire.answer(), 408)
            assert wire.closed()
        assert silent.closed()
        assert idle.closed()
        assert 1 < time.monotonic() - started < 15
        assert long.silent(), "a client that waits for the server is not late"
        server.ask(request(b"", path="/open"))
        assert long.answer().json() == {"y": 2.0}
        for wire in (slow_header, slow_body, slow_asgi, silent, idle, refused, long):
            wire.close()


def test_rows_beyond_the_limit_are_told_to_come_back(tmp_path: Path) -> None:
    with served("kitchen.py", tmp_path, max_rows=3) as server, server.wire() as holder:
        holder.send(request('{"x":1,"do":"wait"}'))
        until(lambda: server.get("/seen").json() == [1.0])
        waiting = server.wire().send(request('[{"x":2},{"x":3}]'))
        until(lambda: server.metrics("hansang_rows_in_flight") == {"": 3.0})
        for path in ("/predict", "/predict?way=asgi"):
            answer = server.ask(request(path=path))
            assert_problem(answer, 503)
            assert int(answer.headers["retry-after"]) >= 1
            assert_problem(server.ask(request("[" + ",".join(['{"x":1}'] * 4) + "]", path=path)), 413)
        server.ask(request(b"", path="/open"))
        assert waiting.answer().json() == [{"y": 4.0}, {"y": 6.0}]
        assert server.ask(request()).status == 200
        waiting.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_accepted_connections_do_not_wait_for_acknowledgements(tmp_path: Path, workers: int) -> None:
    with served("nodelay.py", tmp_path, workers=workers) as server:
        for _ in range(8):
            with server.wire() as wire:
                assert wire.ask(get("/nodelay")).json() == {"nodelay": True}


def test_half_closed_connections_are_let_go(server: Server) -> None:
    with server.wire() as wire:
        wire.ask(request())
        wire.socket.shutdown(socket.SHUT_WR)
        assert wire.closed()
