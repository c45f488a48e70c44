"""HTTP for the prediction routes, answered in the connection itself; everything else goes on to the ASGI app.

A subclass of uvicorn's protocol: httptools (llhttp) parses, in its strict mode, and this file keeps the limits and the
order of pipelined answers. A request header that a connection sends again byte for byte is not parsed again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import httptools
from pydantic_core import to_json
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from hansang.call import Call
from hansang.errors import (
    BadRequest,
    HeadersTooLarge,
    ModelFailed,
    Overloaded,
    Problem,
    RequestTimeout,
    TooLarge,
    Unavailable,
    problem,
)
from hansang.server.ask import NO_MARKS, PROBLEM
from hansang.server.exchange import EncodedLines, Exchange, Other
from hansang.server.head import REMEMBERED_SIZE, Head, Heads, declared_length, fault_of, header_size, read_head
from hansang.server.ids import new_ids
from hansang.server.nodes import NodeTurn

if TYPE_CHECKING:
    from hansang.server.posting import Posting
    from hansang.server.serving import Serving
    from hansang.server.turn import Turn

log = logging.getLogger("hansang")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PIPELINED = 128
LINGER = 2.0


class PredictProtocol(HttpToolsProtocol):
    """One connection.

    `outgoing` holds the requests that have no answer on the wire yet, in their order: exchanges of the prediction
    routes, which run at once, and the others. `since` is when the client began to be waited for. `overhead` counts
    what came since the last byte of a body, so that neither a header nor what stands around chunks can grow for ever.
    """

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.serving: Serving = config.serving
        self.heads: Heads = config.heads
        self.lines: EncodedLines = config.lines
        self.exchange: type[Exchange] = config.exchange
        self.outgoing: deque[Exchange | Other] = deque()
        self.fresh = True
        self.closing = False
        self.since = time.monotonic()
        self.asked = False
        self.head: Head | None = None
        self.body: list[bytes] = []
        self.size = 0
        self.overhead = 0
        self.candidate: bytes | None = None
        self.header_done = False
        self.owes_continue = False
        self.write_paused = False

    # --- the connection ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Take a connection, or refuse it when there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.serving.settings.max_connections:
            self.refuse(Overloaded("too many open connections", retry_after=1.0))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request of this connection that nobody waits for it."""
        for item in self.outgoing:
            if isinstance(item, Exchange):
                item.leave()
            else:
                item.cycle.disconnected = True
                item.cycle.message_event.set()
        self.outgoing.clear()
        self.closing = True
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Read no more from a client that does not read its answers."""
        super().pause_writing()
        self.write_paused = True
        self.since = time.monotonic()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        super().resume_writing()
        self.write_paused = False
        self.flow.resume_reading()

    def shutdown(self) -> None:
        """Close when the last accepted request is answered."""
        if not self.outgoing:
            if self.fresh:
                self.hang_up()
            else:
                self.refuse(Unavailable("the service is draining", retry_after=1.0))
            return
        last = self.outgoing[-1]
        if isinstance(last, Exchange):
            last.keep_alive = False
        else:
            last.cycle.keep_alive = False

    def sweep(self, now: float) -> None:
        """Close what has waited too long; called about once a second, so that no request needs a timer."""
        settings, waited = self.serving.settings, now - self.since
        if self.transport.is_closing() or self.write_paused:
            if waited > settings.body_timeout:
                self.transport.abort()
        elif self.outgoing and (self.fresh or self.flow.read_paused):
            self.since = now  # it is the server's turn: no client is late
        elif not self.fresh:
            if waited > (settings.body_timeout if self.header_done else settings.header_timeout):
                self.refuse(RequestTimeout("the request came too slowly"))
        elif self.closing:
            if waited > LINGER:
                self.transport.abort()
        elif waited > (settings.keep_alive if self.asked else settings.header_timeout):
            self.hang_up()

    def hang_up(self, linger: bool = False) -> None:
        """Close, at once or when the client has had a moment to read the answer to what it is still sending.

        Without the moment, the bytes that nobody reads any more make the kernel reset the connection, and the answer
        is lost on its way.
        """
        self.closing = True
        self.since = time.monotonic()
        if linger and self.transport.can_write_eof() and self.serving.state == "ready":
            self.transport.write_eof()
            self.flow.resume_reading()
        else:
            self.transport.close()

    # --- bytes ---

    def data_received(self, data: bytes) -> None:
        """Read requests: known headers by a look-up, everything else through the parser."""
        if self.closing:
            return
        if self.fresh:
            heads, start, size = self.heads, 0, len(data)
            while (end := data.find(b"\r\n\r\n", start) + 4) > 3:
                head = heads.find(data[start:end])
                if head is None or end + head.length > size:
                    break
                self.since = time.monotonic()
                self.ask(head, data[end : end + head.length])
                start = end + head.length
                if start == size:
                    return
            if start:
                data = data[start:]
                end -= start
            if data.startswith(b"POST ") and 4 < end <= REMEMBERED_SIZE:
                self.candidate = data[:end]
            self.since = time.monotonic()
        self.feed(data)

    def feed(self, data: bytes) -> None:
        """Give bytes to the parser and keep the limit on what is not a body."""
        self.overhead += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.closing = True  # the request is answered; what follows it is not HTTP/1.1 any more
        except httptools.HttpParserError as error:
            self.refuse(fault_of(error))
        else:
            if not self.fresh and self.overhead > self.serving.settings.max_header:
                self.refuse(self.too_large_header())
        self.candidate = None

    def refuse(self, error: Problem) -> None:
        """Answer a request that cannot be read, after the ones before it, and close."""
        if self.closing:
            return
        self.closing = True
        if not self.fresh and self.cycle is not None and not self.take_back():
            self.hang_up()
            return
        self.fresh = True
        head = Head(None, 0, False, None, None, {}, None, None)  # type: ignore[arg-type]  # it never reaches a turn
        exchange = self.exchange(self, head, [], [], False, None)
        self.outgoing.append(exchange)
        exchange.id = new_ids(1)[0]
        exchange.deliver(error.status, PROBLEM, to_json(problem(error, exchange.id)), NO_MARKS, error)

    def take_back(self) -> bool:
        """Take the request that will never be whole from the ASGI app; False when its answer is on the wire."""
        last = self.outgoing[-1] if self.outgoing else None
        if not isinstance(last, Other) or last.cycle is not self.cycle or last.cycle.response_started:
            return False
        last.cycle.disconnected = True
        last.cycle.message_event.set()
        self.outgoing.pop()
        return True

    def too_large_header(self) -> Problem:
        """Say what the limit is."""
        return HeadersTooLarge(f"the header is larger than {self.serving.settings.max_header} bytes")

    # --- the parser's callbacks ---

    def on_message_begin(self) -> None:
        """Start a request."""
        super().on_message_begin()
        self.fresh = False
        self.header_done = False
        self.head = None
        self.cycle = None  # type: ignore[assignment]  # uvicorn's type does not say that there is none yet

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the header; those after a chunked body are dropped, for the header has been acted on."""
        if not self.header_done:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Decide who answers; check what the header already says about the body."""
        self.header_done = True
        self.asked = True
        candidate, self.candidate = self.candidate, None  # only the first header of a packet can be the candidate
        if self.closing:
            return
        self.size = self.overhead = 0
        settings = self.serving.settings
        if header_size(self.url, self.headers) > settings.max_header:
            raise self.too_large_header()
        length = declared_length(self.headers)
        if length > settings.max_body:
            raise TooLarge(f"the body has {length} bytes; the limit is {settings.max_body}")
        upgrade = self.parser.should_upgrade()
        if upgrade and (length > 0 or self.has_field(b"transfer-encoding")):
            raise BadRequest("this server does not change protocols")  # the parser would not give the body
        turn = self.serving.taker(self.url) if self.parser.get_method() == b"POST" else None
        if turn is None or upgrade:
            super().on_headers_complete()
            if upgrade:
                self.cycle.keep_alive = False
            return
        self.begin_prediction(turn, length, candidate)

    def begin_prediction(self, turn: Turn | Posting, length: int, candidate: bytes | None) -> None:
        """Make ready for the body of a prediction request."""
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        self.head = head = read_head(turn, self.headers, keep_alive)
        self.body = []
        if self.expect_100_continue:
            if self.outgoing:
                self.owes_continue = True  # the answers to what came before go first
            else:
                self.transport.write(CONTINUE)
        elif candidate is not None and keep_alive and length >= 0 and turn.steady:
            self.heads.remember(candidate, self.headers, head)

    def has_field(self, wanted: bytes) -> bool:
        """Say whether the header has a field of this name."""
        return any(name == wanted for name, _ in self.headers)

    def on_body(self, body: bytes) -> None:
        """Collect the body within its limit."""
        if self.closing:
            return
        self.overhead = 0
        self.size += len(body)
        if self.size > self.serving.settings.max_body:
            raise TooLarge(f"the body is larger than {self.serving.settings.max_body} bytes")
        if self.head is None:
            super().on_body(body)
        else:
            self.body.append(body)

    def on_message_complete(self) -> None:
        """Take a whole request."""
        self.fresh = True
        self.header_done = self.owes_continue = False
        self.overhead = 0
        if self.closing:
            return
        if self.head is None:
            super().on_message_complete()
            self.closing = not self.cycle.keep_alive
            return
        head, self.head = self.head, None
        self.ask(head, self.body[0] if len(self.body) == 1 else b"".join(self.body))
        self.body = []

    # --- answers, in order ---

    def ask(self, head: Head, body: bytes) -> None:
        """Read the rows and send them on; whatever is wrong is answered at once."""
        self.asked = True
        turn = head.turn
        if isinstance(turn, NodeTurn):
            batch = self.exchange(self, head, [], [], True, None)
            self.expect(batch)
            turn.take(batch, body, head.fault, head.headers)
            return
        fault: Problem | None = None
        try:
            if head.fault is not None:
                raise head.fault
            codec = turn.codec
            if body[:1] == b"{" or body.lstrip()[:1] != b"[":
                many, rows = False, [codec.one(body)]
                raw = body if codec.closed else None
            else:
                many, rows, raw = True, codec.array(body), None
            refusal = self.serving.refusal(len(rows))
            if refusal is not None:
                raise refusal
        except Problem as error:
            many, rows, raw, fault = False, [error], None, error
        except Exception as error:  # a validator of the user's own may raise anything
            log.exception("a row of %s could not be read", turn.endpoint.path)
            fault = ModelFailed(f"the row could not be read: {type(error).__name__}")
            many, rows, raw = False, [fault], None
        deadline = self.since + head.patience if head.patience is not None else None
        calls = [Call("", n, deadline, head.headers, None, head.request_id, tags=head.tags) for n in range(len(rows))]
        exchange = self.exchange(self, head, rows, calls, many, raw)
        self.expect(exchange)
        if fault is None:
            turn.add(exchange)
        else:
            if self.serving.state == "draining":
                self.closing, exchange.keep_alive = True, False
            turn.reject(exchange, fault)

    def expect(self, exchange: Exchange) -> None:
        """Owe an answer; read no more while too many are owed."""
        self.outgoing.append(exchange)
        if not exchange.keep_alive:
            self.closing = True
        if len(self.outgoing) > PIPELINED:
            self.flow.pause_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Start an ASGI request when it is its turn to be answered."""
        self.outgoing.append(Other(cycle, app))
        if len(self.outgoing) == 1:
            self.flush()

    def on_response_complete(self) -> None:
        """Go on with the next request after an ASGI answer."""
        self.server_state.total_requests += 1
        self.since = time.monotonic()
        if self.outgoing:
            self.outgoing.popleft()
        if not self.transport.is_closing():
            self.flush()

    def flush(self) -> None:
        """Write the answers that are ready, in the order of their requests."""
        outgoing = self.outgoing
        while outgoing:
            item = outgoing[0]
            if isinstance(item, Other):
                self.start(item)
                return
            if item.answer is None:
                return
            outgoing.popleft()
            self.server_state.total_requests += 1
            self.transport.write(item.answer)
            if not item.keep_alive:
                self.hang_up(linger=not item.calls)
                return
        if self.owes_continue:
            self.owes_continue = False
            self.transport.write(CONTINUE)
        if self.flow.read_paused and not self.write_paused:
            self.flow.resume_reading()

    def start(self, other: Other) -> None:
        """Run the ASGI app for a request, once."""
        if not other.started:
            other.started = True
            super()._start_asgi_task(other.cycle, other.app)
