"""HTTP/1.1 to one address over connections that stay open, on the parser that the server uses.

A general client costs five times the processor time of one request (see docs/patterns/remote.md), so this one only does
what nodes need: one address, no redirects, no cookies, no proxies, bodies whole in memory.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httptools

from hansang.errors import HansangError, UsageError

LARGEST_ANSWER = 512 * 1024 * 1024
CONNECT = 5.0
IDLE = 30.0


class NoAnswer(HansangError):
    """A request has no answer; `begun` says whether the far side may have worked on it."""

    begun = True


class NotReached(NoAnswer):
    """The far side was not reached, or closed before a byte of its answer: the request may be sent again."""

    begun = False


class BrokenAnswer(NoAnswer):
    """The answer broke off, or is not HTTP."""


@dataclass(slots=True)
class Answer:
    """What came back; the names of the header are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Address:
    """Where the far side listens."""

    host: str
    port: int
    secure: bool = False
    path: str = "/"

    @classmethod
    def of(cls, url: str) -> Address:
        """Read a URL; raises `UsageError` for one that is not http(s)."""
        try:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise UsageError(f"{url!r} is not a URL: {error}; give http://host:port/path") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or not url.isascii():
            raise UsageError(f"{url!r} is not the URL of a service; give http://host:port/path")
        if parts.query or parts.fragment or any(sign.isspace() for sign in url):
            raise UsageError(f"{url!r} has more than a path; give http://host:port/path")
        return cls(parts.hostname, port, parts.scheme == "https", parts.path or "/")

    @property
    def authority(self) -> str:
        """Host and port, as the header `host` has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Connection(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.parser = httptools.HttpResponseParser(self)
        self.waiting: asyncio.Future[Answer] | None = None
        self.transport: asyncio.Transport | None = None
        self.open = False
        self.used = 0.0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._begun = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as asyncio does
        """Note that the connection is open; the event loop has set TCP_NODELAY."""
        self.transport = transport
        self.open = True

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        """Send a request."""
        assert self.transport is not None and self.waiting is None
        self._begun = False
        self.waiting = self.loop.create_future()
        self.transport.write(request)
        return self.waiting

    def data_received(self, data: bytes) -> None:
        """Read what came; bytes that nobody asked for close the connection."""
        if self.waiting is None:
            self.close()
            return
        self._begun = True
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(BrokenAnswer(f"the answer is not HTTP/1.1: {error}"))

    def on_message_begin(self) -> None:
        """Start an answer."""
        self._headers, self._body, self._size = {}, [], 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._size += len(body)
        if self._size > LARGEST_ANSWER:
            self._fail(BrokenAnswer(f"the answer is larger than {LARGEST_ANSWER} bytes"))
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Hand over the answer."""
        status = self.parser.get_status_code()
        if status < 200:  # 100 Continue and its kind: the answer follows
            return
        waiting, self.waiting = self.waiting, None
        if not self.parser.should_keep_alive():
            self.close()
        self.used = self.loop.time()
        if waiting is not None and not waiting.done():
            waiting.set_result(Answer(status, self._headers, b"".join(self._body)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that waits."""
        kind = BrokenAnswer if self._begun else NotReached
        self._fail(kind("the connection was closed before the answer" + (f": {exc}" if exc else "")))

    def close(self) -> None:
        """Close the connection; what was sent on it is not waited for."""
        self.open = False
        self.waiting = None
        if self.transport is not None:
            self.transport.abort()

    def _fail(self, error: NoAnswer) -> None:
        waiting = self.waiting
        self.close()
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)


@dataclass(slots=True, eq=False)
class Pool:
    """The connections to one address, at most `most`; whoever comes when all are in use waits for his turn.

    It belongs to one event loop, from `__aenter__` to `__aexit__`.
    """

    address: Address
    most: int = 64
    idle: list[Connection] = field(default_factory=list)
    open: int = 0
    queue: deque[asyncio.Future[None]] = field(default_factory=deque)
    secure: ssl.SSLContext | None = None

    async def __aenter__(self) -> Pool:
        self.secure = ssl.create_default_context() if self.address.secure else None
        return self

    async def __aexit__(self, *exc: object) -> None:
        while self.idle:
            self.idle.pop().close()

    async def ask(self, method: str, path: str, fields: Mapping[str, str], body: bytes) -> Answer:
        """Send a request and give the answer, whatever its status; raises `NoAnswer`.

        A caller who is cancelled, or runs out of time, closes the connection: the far side sees that he left.
        """
        lines = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: {self.address.authority}\r\n{lines}content-length: {len(body)}\r\n\r\n"
        )
        connection = await self._take()
        try:
            return await connection.ask(head.encode("latin-1") + body)
        except BaseException:
            connection.close()
            raise
        finally:
            self._give(connection)

    async def _take(self) -> Connection:
        while self.open >= self.most and not self.idle:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.queue.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._wake()  # its turn may have come already: it is the next one's
                raise
        now = asyncio.get_running_loop().time()
        while self.idle:
            connection = self.idle.pop()
            if connection.open and now - connection.used < IDLE:
                return connection
            connection.close()
            self.open -= 1
        self.open += 1
        try:
            return await self._connect()
        except BaseException:
            self.open -= 1
            self._wake()
            raise

    async def _connect(self) -> Connection:
        address = self.address
        try:
            async with asyncio.timeout(CONNECT):
                _, connection = await asyncio.get_running_loop().create_connection(
                    Connection, address.host, address.port, ssl=self.secure
                )
        except TimeoutError:
            raise NotReached(f"{address.authority} does not take connections within {CONNECT:g} s") from None
        except OSError as error:
            raise NotReached(f"{address.authority} cannot be reached: {error}") from error
        return connection

    def _give(self, connection: Connection) -> None:
        if connection.open:
            self.idle.append(connection)
        else:
            self.open -= 1
        self._wake()

    def _wake(self) -> None:
        while self.queue:
            turn = self.queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
