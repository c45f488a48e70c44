"""A prediction request on a connection, and the bytes of its answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.server import ServerState

from hansang.call import Call, trace_id
from hansang.errors import Problem
from hansang.logs.access import Answered
from hansang.server.ask import Ask, Marks, problem_fields
from hansang.server.head import Head

if TYPE_CHECKING:
    from hansang.server.serving import Serving


class Connection(Protocol):
    """What an exchange needs of its connection."""

    since: float
    client: tuple[str, int] | None
    serving: Serving
    lines: EncodedLines
    server_state: ServerState

    def flush(self) -> None:
        """Write the answers that are ready, in the order of their requests."""


class EncodedLines:
    """What answers begin with, encoded once a second; all connections of a server share it."""

    def __init__(self) -> None:
        self._source: list[tuple[bytes, bytes]] | None = None
        self._known: dict[tuple[int, bytes, Marks], bytes] = {}

    def start(self, defaults: list[tuple[bytes, bytes]], status: int, media: bytes, marks: Marks) -> bytes:
        """Give the status line and the header up to the id; `defaults` is uvicorn's list, new when the date is."""
        if self._source is not defaults or len(self._known) > 1000:
            self._source = defaults
            self._known.clear()
        key = (status, media, marks)
        start = self._known.get(key)
        if start is None:
            lines = b"".join(b"%b: %b\r\n" % line for line in defaults)
            own = b"".join(
                b"%b: %b\r\n" % (name.encode(), value.encode("latin-1", "replace"))
                for name, value in marks.fields.items()
            )
            start = self._known[key] = b"%b%bcontent-type: %b\r\n%bx-prediction-id: " % (
                STATUS_LINE[status],
                lines,
                media,
                own,
            )
        return start


class Exchange(Ask):
    """A request on a connection and, when it is ready, the bytes of its answer."""

    __slots__ = ("answer", "keep_alive", "protocol", "request_id")

    def __init__(
        self, protocol: Connection, head: Head, rows: list[Any], calls: list[Call], many: bool, raw: bytes | None
    ) -> None:
        super().__init__(rows, calls, many, raw, protocol.since)
        self.protocol = protocol
        self.keep_alive = head.keep_alive
        self.request_id = head.request_id
        self.answer: bytes | None = None

    def deliver(self, status: int, media: bytes, body: bytes, marks: Marks, error: Problem | None) -> None:
        """Write the answer, or keep it until the earlier ones of this connection are written."""
        protocol = self.protocol
        start = protocol.lines.start(protocol.server_state.default_headers, status, media, marks)
        if error is None and self.request_id is None and self.keep_alive and not marks.job:
            self.answer = b"%b%b\r\ncontent-length: %d\r\n\r\n%b" % (start, self.id.encode(), len(body), body)
        else:
            extra = self._extra(error, marks)
            self.answer = b"%b%b\r\n%bcontent-length: %d\r\n\r\n%b" % (start, self.id.encode(), extra, len(body), body)
        protocol.flush()

    def _extra(self, error: Problem | None, marks: Marks) -> bytes:
        lines = b"" if self.keep_alive else b"connection: close\r\n"
        if marks.job:
            lines += b"location: %b\r\n" % self.location.encode()
        if self.request_id is not None:
            lines += b"x-request-id: %b\r\n" % self.request_id.encode("latin-1")
        return lines + b"".join(
            b"%b: %b\r\n" % (name.encode(), value.encode("latin-1")) for name, value in problem_fields(error).items()
        )


class LoggedExchange(Exchange):
    """A request that has its line in the access log."""

    __slots__ = ("head",)

    def __init__(
        self, protocol: Connection, head: Head, rows: list[Any], calls: list[Call], many: bool, raw: bytes | None
    ) -> None:
        super().__init__(protocol, head, rows, calls, many, raw)
        self.head = head

    def deliver(self, status: int, media: bytes, body: bytes, marks: Marks, error: Problem | None) -> None:
        """Answer, and note the answer."""
        super().deliver(status, media, body, marks, error)
        protocol, head = self.protocol, self.head
        access = protocol.serving.access
        if access is not None:
            client, turn = protocol.client, head.turn
            access.note(
                Answered(
                    f"{client[0]}:{client[1]}" if client else "",
                    "POST" if turn else "-",
                    turn.endpoint.path if turn else "-",
                    status,
                    len(body),
                    time.monotonic() - self.started,
                    self.request_id or self.id,
                    trace_id(head.headers) if "traceparent" in head.headers else "",
                    time.time(),
                )
            )


@dataclass(slots=True, eq=False)
class Other:
    """A request that the ASGI app answers; it starts when the ones before it are answered."""

    cycle: RequestResponseCycle
    app: Any
    started: bool = False
