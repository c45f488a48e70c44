"""A client that says exactly the bytes it is given, and reads answers strictly."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

PATIENCE = 15.0


@dataclass
class Answer:
    """One HTTP answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body, parse_constant=self._refuse)

    @staticmethod
    def _refuse(name: str) -> Any:
        raise AssertionError(f"{name} is not JSON")


class Wire:
    """One connection."""

    def __init__(self, port: int, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self.data = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Leave without a goodbye."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.socket.close()

    def send(self, *parts: bytes) -> Self:
        for part in parts:
            self.socket.sendall(part)
        return self

    def answer(self, *, bodiless: bool = False) -> Answer:
        """Read the next answer; `bodiless` for what answers HEAD."""
        status_line, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        protocol, status, _ = status_line.split(" ", 2)
        assert protocol == "HTTP/1.1"
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value
        if status == "100" or bodiless:
            return Answer(int(status), headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(int(status), headers, b"".join(iter(self._chunk, b"")))
        return Answer(int(status), headers, self._exactly(int(headers["content-length"])))

    def ask(self, request: bytes) -> Answer:
        return self.send(request).answer()

    def closed(self) -> bool:
        """Wait until the server closes; False when it sends more instead."""
        try:
            return not self.data and self.socket.recv(65536) == b""
        except ConnectionResetError:
            return True

    def silent(self) -> bool:
        """Say whether nothing has come that was not read."""
        self.socket.setblocking(False)
        try:
            self.data += self.socket.recv(65536)
            return False
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)

    def _chunk(self) -> bytes:
        size = int(self._until(b"\r\n"), 16)
        chunk = self._exactly(size)
        assert self._exactly(2) == b"\r\n"
        return chunk

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError(f"the server closed after {self.data!r}")
        self.data += data

    def _until(self, mark: bytes) -> bytes:
        while mark not in self.data:
            self._more()
        head, self.data = self.data.split(mark, 1)
        return head

    def _exactly(self, size: int) -> bytes:
        while len(self.data) < size:
            self._more()
        body, self.data = self.data[:size], self.data[size:]
        return body


def request(
    body: bytes | str = b'{"x":1}',
    *fields: str,
    path: str = "/predict",
    method: str = "POST",
    length: int | None = None,
) -> bytes:
    """Make a request; `fields` are more header lines."""
    body = body.encode() if isinstance(body, str) else body
    lines = [f"{method} {path} HTTP/1.1", "Host: test", *fields]
    if not any(field.lower().startswith("content-type") for field in fields):
        lines.append("Content-Type: application/json")
    if not any(field.lower().startswith("transfer-encoding") for field in fields):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def get(path: str, *fields: str) -> bytes:
    """Make a GET request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: test", *fields, "", ""]).encode("latin-1")


def assert_problem(answer: Answer, status: int) -> dict[str, Any]:
    """Check that an answer is a problem document, and give it."""
    assert answer.status == status, (answer.status, answer.body)
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert {"type", "title", "detail", "request_id"} <= document.keys()
    assert len(answer.headers["x-prediction-id"]) == 36
    assert b"Traceback" not in answer.body and b".py" not in answer.body
    for error in document.get("errors", ()):
        assert set(error) == {"loc", "type", "msg"}
    return document
