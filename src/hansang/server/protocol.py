"""HTTP for the prediction routes, answered in the connection itself; everything else goes on to the ASGI app.

A subclass of uvicorn's protocol: httptools (llhttp) parses, in its strict mode, and this file keeps the limits and the
order of pipelined answers. A request header that a connection sends again byte for byte is not parsed again.
"""

from __future__ import annotations

import asyncio
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
    Overloaded,
    Problem,
    RequestTimeout,
    TooLarge,
    UnsupportedMedia,
    problem,
)
from hansang.server.ask import PROBLEM
from hansang.server.exchange import Exchange, Head
from hansang.server.ids import new_ids
from hansang.server.turn import Turn, read_patience, trace

if TYPE_CHECKING:
    from hansang.server.serving import Serving

REMEMBERED = 1024
REMEMBERED_SIZE = 2048
PIPELINED = 128


class EncodedLines:
    """uvicorn's default header fields as bytes; all connections of a server share it."""

    def __init__(self) -> None:
        self.source: list[tuple[bytes, bytes]] | None = None
        self.encoded = b""


class PredictProtocol(HttpToolsProtocol):
    """One connection.

    `outgoing` holds the requests that have no answer on the wire yet, in their order: exchanges of the prediction
    routes, which run at once, and ASGI cycles, each of which starts when the ones before it are answered.
    """

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.serving: Serving = config.serving
        self.heads: dict[bytes, Head] = config.heads
        self.lines: EncodedLines = config.lines
        self.outgoing: deque[Any] = deque()
        self.fresh = True
        self.closing = False
        self.since = time.monotonic()
        self.asked = False
        self.head: Head | None = None
        self.body: list[bytes] = []
        self.size = 0
        self.candidate: bytes | None = None
        self.header_done = False
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
                item[0].disconnected = True
                item[0].message_event.set()
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
            self.transport.close()
            return
        last = self.outgoing[-1]
        if isinstance(last, Exchange):
            last.keep_alive = False
        else:
            last[0].keep_alive = False

    def sweep(self, now: float) -> None:
        """Close what has waited too long; called about once a second, so that no request needs a timer."""
        settings, waited = self.serving.settings, now - self.since
        if self.closing or self.transport.is_closing():
            if waited > settings.body_timeout:
                self.transport.abort()
        elif self.write_paused:
            if waited > settings.body_timeout:
                self.transport.abort()
        elif not self.fresh:
            if waited > (settings.body_timeout if self.header_done else settings.header_timeout):
                self.refuse(RequestTimeout("the request came too slowly"))
        elif not self.outgoing and waited > (settings.keep_alive if self.asked else settings.header_timeout):
            self.closing = True
            self.transport.close()

    # --- bytes ---

    def data_received(self, data: bytes) -> None:
        """Read requests: known headers by a look-up, everything else through the parser."""
        if self.closing:
            return
        if self.fresh:
            heads, start, size = self.heads, 0, len(data)
            while (end := data.find(b"\r\n\r\n", start) + 4) > 3:
                head = heads.get(data[start:end])
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
            self.size = 0
        self.feed(data)

    def feed(self, data: bytes) -> None:
        """Give bytes to the parser and keep the limit on the header's size."""
        self.size += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.refuse(BadRequest("this server does not change protocols"))
        except httptools.HttpParserError:
            if not self.closing:
                self.refuse(BadRequest("the request is not HTTP/1.1"))
        except Problem as error:
            self.refuse(error)
        else:
            if not self.fresh and not self.header_done and self.size > self.serving.settings.max_header:
                self.refuse(HeadersTooLarge(f"the header is larger than {self.serving.settings.max_header} bytes"))
        self.candidate = None

    def refuse(self, error: Problem) -> None:
        """Answer a request that cannot be read, after the ones before it, and close."""
        if self.closing:
            return
        self.closing = True
        self.fresh = True
        head = Head(None, 0, False, None, None, {}, None, None)  # type: ignore[arg-type]  # it never reaches a turn
        exchange = Exchange(self, head, [], [], False, None)
        self.outgoing.append(exchange)
        id = new_ids(1)[0]
        exchange.deliver(error.status, PROBLEM, to_json(problem(error, id)), id, "", error)

    # --- the parser's callbacks ---

    def on_message_begin(self) -> None:
        """Start a request."""
        super().on_message_begin()
        self.fresh = False
        self.header_done = False
        self.head = None

    def on_headers_complete(self) -> None:
        """Decide who answers; check what the header already says about the body."""
        self.header_done = True
        self.asked = True
        if self.closing:
            return
        length = declared_length(self.headers)
        if length > self.serving.settings.max_body:
            raise TooLarge(f"the body has {length} bytes; the limit is {self.serving.settings.max_body}")
        self.size = 0
        turn = self.serving.fast.get(self.url) if self.parser.get_method() == b"POST" else None
        if turn is None or self.parser.should_upgrade():
            self.cycle = None  # type: ignore[assignment]  # each cycle is started from `outgoing`, not by uvicorn
            super().on_headers_complete()
            return
        self.head = head = self.read_head(turn, length)
        self.body = []
        if self.expect_100_continue and not self.outgoing:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif self.candidate is not None and head.keep_alive and length >= 0:
            self.remember(self.candidate, head)
        self.candidate = None

    def remember(self, candidate: bytes, head: Head) -> None:
        """Keep a header that is exactly one request line and one line a field, so that it means the same again."""
        if candidate.count(b"\n") == len(self.headers) + 2:
            if len(self.heads) >= REMEMBERED:
                self.heads.clear()
            self.heads[candidate] = head

    def read_head(self, turn: Turn, length: int) -> Head:
        """Read the fields that matter to a prediction."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self.headers}
        fault: Problem | None = None
        patience = turn.endpoint.deadline
        media = headers.get("content-type", "application/json").lower()
        kind, _, parameters = media.partition(";")
        kind, charset = kind.strip(), parameters.strip().removeprefix("charset=").strip('"')
        if not (kind == "application/json" or kind.endswith("+json")) or charset not in ("", "utf-8", "utf8"):
            fault = UnsupportedMedia(f"the content type is {media!r}; send application/json in UTF-8")
        elif headers.get("content-encoding", "identity").lower() != "identity":
            fault = UnsupportedMedia("the body is compressed; send it as it is")
        if "x-deadline-ms" in headers:
            try:
                patience = read_patience(headers["x-deadline-ms"])
            except BadRequest as error:
                fault = error
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        return Head(
            turn, max(length, 0), keep_alive, headers.get("x-request-id"), patience, headers, fault, trace(headers)
        )

    def on_body(self, body: bytes) -> None:
        """Collect the body within its limit."""
        if self.closing:
            return
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
        self.size = 0
        if self.closing:
            return
        if self.head is None:
            super().on_message_complete()
            return
        head, self.head = self.head, None
        self.ask(head, self.body[0] if len(self.body) == 1 else b"".join(self.body))
        self.body = []

    # --- answers, in order ---

    def ask(self, head: Head, body: bytes) -> None:
        """Read the rows and send them on; whatever is wrong is answered at once."""
        self.asked = True
        turn = head.turn
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
        deadline = self.since + head.patience if head.patience is not None else None
        calls = [Call("", n, deadline, head.headers, None, head.request_id, tags=head.tags) for n in range(len(rows))]
        exchange = Exchange(self, head, rows, calls, many, raw)
        self.outgoing.append(exchange)
        if not head.keep_alive:
            self.closing = True
        if fault is None:
            turn.add(exchange)
        else:
            turn.reject(exchange, fault)
        if len(self.outgoing) > PIPELINED:
            self.flow.pause_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Start an ASGI request when it is its turn to be answered."""
        self.outgoing.append((cycle, app))
        if len(self.outgoing) == 1:
            super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Go on with the next request after an ASGI answer."""
        self.server_state.total_requests += 1
        self.since = time.monotonic()
        if self.outgoing:
            self.outgoing.popleft()
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self.flush()

    def flush(self) -> None:
        """Write the answers that are ready, in the order of their requests."""
        outgoing = self.outgoing
        while outgoing:
            item = outgoing[0]
            if not isinstance(item, Exchange):
                super()._start_asgi_task(*item)
                return
            if item.answer is None:
                return
            outgoing.popleft()
            self.server_state.total_requests += 1
            self.transport.write(item.answer)
            if not item.keep_alive:
                self.closing = True
                self.transport.close()
                return
        if not self.write_paused:
            self.flow.resume_reading()

    def default_headers(self) -> bytes:
        """Give the date line, encoded once a second."""
        lines = self.server_state.default_headers
        if self.lines.source is not lines:
            self.lines.source = lines
            self.lines.encoded = b"".join(b"%b: %b\r\n" % line for line in lines)
        return self.lines.encoded


def declared_length(headers: list[tuple[bytes, bytes]]) -> int:
    """Read the content length; -1 without. The parser has already refused one that is not a number."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return -1
