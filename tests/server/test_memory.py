"""The protocol remembers headers by their bytes: an answer must not depend on what is remembered."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from uvicorn.server import ServerState

from hansang import Batch, Service
from hansang.server.head import Fields, Head, Heads
from hansang.server.protocol import PredictProtocol
from hansang.server.run import Config
from hansang.settings import Settings, load_settings

LIMIT = 60


class Row(BaseModel):
    x: float
    text: str = ""


def echo(batch: Batch) -> list[Any]:
    return [
        {"x": row.x, "text": row.text, "me": [call.headers.get("x-me"), call.request_id, call.tags]}
        for row, call in zip(batch.rows, batch.calls, strict=True)
    ]


class Forgetful(Heads):
    """A memory that keeps nothing."""

    def remember(self, header: bytes, fields: Fields, head: Head) -> None:
        pass


class Transport(asyncio.Transport):
    """Takes what the protocol writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        assert not self.ended
        self.written += bytes(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.ended

    def close(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.ended = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class House:
    """A service that runs on a loop of its own, without sockets."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.service = Service("echo", echo, input=Row)
        self.settings = load_settings(Settings, record=False)
        self.settings.max_body = LIMIT
        self.config = Config(self.service, self.settings)
        self.config.load()

    async def talk(self, parts: list[tuple[int, bytes]], heads: Heads) -> list[tuple[bytes, bool]]:
        """Send each part on its connection; give what came back on each, and whether it was closed."""
        self.config.heads = heads
        state = ServerState()
        transports = [Transport() for _ in range(1 + max(number for number, _ in parts))]
        protocols = [PredictProtocol(self.config, state, {}) for _ in transports]
        for protocol, transport in zip(protocols, transports, strict=True):
            protocol.connection_made(transport)
        for number, data in parts:
            if not transports[number].ended:
                protocols[number].data_received(data)
            await self.quiet()
        for protocol in protocols:
            protocol.connection_lost(None)
        return [(unique(transport.written), transport.ended) for transport in transports]

    async def quiet(self) -> None:
        """Let everything run that can run."""
        for _ in range(100):
            await asyncio.sleep(0)
        assert not self.config.serving.in_flight


def unique(written: bytes) -> bytes:
    """Put away what differs from answer to answer."""
    return re.sub(rb"[0-9a-f]{8}-[0-9a-f-]{27}|date: [^\r]*\r\n", b"", written)


@contextmanager
def running() -> Iterator[House]:
    loop = asyncio.new_event_loop()
    try:
        house = House(loop)
        lifespan = house.service.app.router.lifespan_context(house.service.app)
        loop.run_until_complete(lifespan.__aenter__())
        yield house
        loop.run_until_complete(lifespan.__aexit__(None, None, None))
    finally:
        loop.close()


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with running() as house:
        yield house


NAMES = """Content-Type: application/json|content-type: application/json|CONTENT-TYPE:application/json|Accept: */*
Content-Type: text/plain|x-me: ann|X-Me: ann|x-me: bob|x-me:  bob |Connection: close|Connection: keep-alive
Connection: Close|Expect: 100-continue|x-request-id: one|X-Request-Id: two|x-request-id:three|traceparent: no
x-deadline-ms: 60000|x-deadline-ms: no|Transfer-Encoding: chunked|Transfer-Encoding: identity|Upgrade: h2c
Content-Length: 3""".replace("\n", "|").split("|")
NAMES += [
    *("x-request-id: " + "q" * 250, f"traceparent: 00-{'a' * 32}-{'b' * 16}-01"),
    *("x-folded: a\r\n b", "x-folded: a\r\n\tContent-Length: 1", "x-bare: a\nb: c"),
]
BODIES = [b'{"x":1}', b'{"x":2,"text":"a"}', b"[]", b"{", b"", b'[{"x":1},{"x":"no"}]', b'{"x":3}\r\n\r\n', b"\r\n\r\n",
          b'{"text":"POST /predict HTTP/1.1\\r\\n","x":4}', b'\r\n\r\n{"x":5}',
          b'POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 7\r\n\r\n{"x":6}']  # fmt: skip


LINES = ["POST /predict HTTP/1.1"] * 6
LINES += ["post /predict HTTP/1.1", "POST /predict HTTP/1.0", "POST /predict?a HTTP/1.1", "GET /predict HTTP/1.1"]
LINES += ["POST  /predict HTTP/1.1", "POST http://t/predict HTTP/1.1"]
LENGTHS = [
    "Content-Length: {}",
    "content-length: {}",
    "content-length:{}",
    "content-length: 0{}",
    "content-length: {} ",
]


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    lead = draw(st.sampled_from([b"", b"", b"", b"\r\n", b"\r\n\r\n", b"\n"]))
    line = draw(st.sampled_from(LINES))
    fields = draw(st.lists(st.sampled_from(NAMES), max_size=3))
    body = draw(st.sampled_from(BODIES))
    length = len(body) + draw(st.sampled_from([0, 0, 0, 0, -1, 1, 4]))
    end = draw(st.sampled_from(["\r\n"] * 8 + ["\n"]))
    if length >= 0 and not (any("chunked" in field for field in fields) and draw(st.booleans())):
        fields.insert(draw(st.integers(0, len(fields))), draw(st.sampled_from(LENGTHS)).format(length))
    return lead + end.join([line, "Host: t", *fields, "", ""]).encode() + body


@st.composite
def talks(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """Requests on up to two connections, often the same ones again, cut anywhere or nowhere."""
    few = draw(st.lists(requests(), min_size=1, max_size=3))
    parts: list[tuple[int, bytes]] = []
    for number, data in draw(st.lists(st.tuples(st.integers(0, 1), st.sampled_from(few)), min_size=1, max_size=6)):
        cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=2)))
        pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        parts += [(number, piece) for piece in pieces if piece]
    if draw(st.booleans()):  # as one packet on each connection
        parts = [(n, b"".join(data for number, data in parts if number == n)) for n in sorted({n for n, _ in parts})]
    return parts


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(talk=talks())
def test_answers_with_the_memory_equal_answers_without_it(house: House, talk: list[tuple[int, bytes]]) -> None:
    without = house.loop.run_until_complete(house.talk(talk, Forgetful(LIMIT)))
    remembered = Heads(LIMIT)
    cold = house.loop.run_until_complete(house.talk(talk, remembered))
    warm = house.loop.run_until_complete(house.talk(talk, remembered))
    assert cold == without
    assert warm == without


def test_a_header_is_not_remembered_for_the_request_behind_it(house: House) -> None:
    heads = Heads(LIMIT)
    other = b'POST /predict?a HTTP/1.1\r\nHost: t\r\nContent-Length: 7\r\n\r\n{"x":1}'
    post = other.replace(b"?a", b"")
    house.loop.run_until_complete(house.talk([(0, other + post), (0, post)], heads))
    assert all(b"?a" not in header for header in heads.exact)
    assert all(b"?a" not in shape[0] for shape in heads.shapes)


def test_a_field_that_stands_twice_means_the_same_again(house: House) -> None:
    fields = b"x-request-id: one\r\nx-request-id:three\r\n"
    post = b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 7\r\n" + fields + b'\r\n{"x":1}'
    ((written, _),) = house.loop.run_until_complete(house.talk([(0, post)] * 3, Heads(LIMIT)))
    assert written.count(b"x-request-id: three") == 3


def test_a_header_that_comes_again_is_not_parsed_again(house: House) -> None:
    heads = Heads(LIMIT)
    post = b'POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 7\r\n\r\n{"x":1}'
    house.loop.run_until_complete(house.talk([(0, post), (1, post)], heads))
    assert len(heads.shapes) == len(heads.exact) == 1


@pytest.mark.parametrize(
    "fields", ["Expect: 100-continue", "Connection: close", "Transfer-Encoding: chunked", "x-long: " + "q" * 3000]
)
def test_headers_that_mean_more_than_they_say_are_not_remembered(house: House, fields: str) -> None:
    heads = Heads(LIMIT)
    length = "" if "Transfer" in fields else "Content-Length: 7\r\n"
    post = f'POST /predict HTTP/1.1\r\nHost: t\r\n{fields}\r\n{length}\r\n{{"x":1}}'.encode()
    house.loop.run_until_complete(house.talk([(0, post)], heads))
    assert not heads.exact
    assert not heads.shapes


def test_the_memory_does_not_grow_for_ever(house: House) -> None:
    heads = Heads(LIMIT)
    posts = [b'POST /predict HTTP/1.1\r\nHost: t\r\nx: %d\r\nContent-Length: 7\r\n\r\n{"x":1}' % n for n in range(1500)]
    house.loop.run_until_complete(house.talk([(0, b"".join(posts[:10])), *((0, post) for post in posts)], heads))
    assert 0 < len(heads.exact) <= 1024
    assert 0 < len(heads.shapes) <= 1024
