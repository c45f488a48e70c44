"""What a request's header says, as far as a prediction needs it."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import httptools

from hansang.errors import BadRequest, Problem, UnsupportedMedia
from hansang.server.posting import Posting
from hansang.server.turn import Turn, read_patience, trace

Fields = list[tuple[bytes, bytes]]

log = logging.getLogger("hansang")

LONGEST_ID = 200
REMEMBERED = 1024
REMEMBERED_SIZE = 2048
VARIED = (b"content-length", b"x-request-id", b"traceparent")
VARYING = re.compile(rb"\r\n(" + b"|".join(VARIED) + rb"): ([!-~]+)(?=\r\n)", re.IGNORECASE)


@dataclass(slots=True)
class Head:
    """What a prediction request's header says; `fault` is why it cannot be answered with a prediction."""

    turn: Turn | Posting
    length: int
    keep_alive: bool
    request_id: str | None
    patience: float | None
    headers: Mapping[str, str]
    fault: Problem | None
    tags: dict[str, Any] | None


class Heads:
    """The headers of prediction requests, so that one which comes again is not parsed again.

    `exact` holds them by their bytes. `shapes` holds them by their bytes without the values of the fields that differ
    from request to request (`VARYING`): a header of a known shape is the known one with other values in it. Only a
    header that the parser took is remembered, so nothing passes here that the parser would refuse.
    """

    def __init__(self, max_body: int) -> None:
        self.max_body = max_body
        self.exact: dict[bytes, Head] = {}
        self.shapes: dict[tuple[bytes, ...], Head] = {}

    def find(self, header: bytes) -> Head | None:
        """Give what a header says if it is known, from its request line to its empty line."""
        head = self.exact.get(header)
        if head is not None or len(header) > REMEMBERED_SIZE or not header.startswith(b"POST "):
            return head
        parts = VARYING.split(header)
        known = self.shapes.get(shape_of(parts))
        return filled(known, parts, self.max_body) if known is not None else None

    def remember(self, header: bytes, fields: Fields, head: Head) -> None:
        """Keep a header that is exactly one request line and one line a field, so that it means the same again."""
        if head.fault is not None or header.count(b"\n") != len(fields) + 2 or ambiguous(fields):
            return
        parts = VARYING.split(header)
        shape = shape_of(parts)
        store(self.shapes, shape, head)
        if len(parts) <= 4 and b"content-length" in shape[-1].lower():
            store(self.exact, header, head)


def ambiguous(fields: Fields) -> bool:
    """Say whether a field that varies stands twice, so that it cannot be told which one counts."""
    names = [name for name, _ in fields]
    return any(names.count(name) > 1 for name in VARIED)


def store(memory: dict[Any, Head], key: Any, head: Head) -> None:
    """Keep a header, within the bound."""
    if len(memory) >= REMEMBERED:
        memory.clear()
    memory[key] = head


def shape_of(parts: list[bytes]) -> tuple[bytes, ...]:
    """Give a split header without its varying values: the text between them, and their names."""
    return (*parts[0::3], *parts[1::3])


def filled(known: Head, parts: list[bytes], max_body: int) -> Head | None:
    """Put the values of a split header into the known one of its shape; `None` when the parser should look at them."""
    headers = dict(known.headers)
    length, request_id, traced = known.length, known.request_id, False
    for name, value in zip(parts[1::3], parts[2::3], strict=True):
        text, field = value.decode(), name.decode().lower()
        headers[field] = text
        if field == "content-length":
            if not text.isdigit() or len(text) > 12:
                return None
            length = int(text)
        elif field == "x-request-id":
            request_id = text
        else:
            traced = True
    if length > max_body or (request_id is not None and len(request_id) > LONGEST_ID):
        return None
    tags = trace(headers) if traced else known.tags
    return Head(known.turn, length, known.keep_alive, request_id, known.patience, headers, known.fault, tags)


def read_head(turn: Turn | Posting, fields: Fields, keep_alive: bool) -> Head:
    """Read the fields that matter to a prediction."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in fields}
    patience, request_id = turn.endpoint.deadline, None
    fault = media_fault(headers, turn.media)
    try:
        request_id = read_id(headers)
        if "x-deadline-ms" in headers:
            patience = read_patience(headers["x-deadline-ms"])
    except BadRequest as error:
        fault = error
    length = max(declared_length(fields), 0)
    return Head(turn, length, keep_alive, request_id, patience, MappingProxyType(headers), fault, trace(headers))


def media_fault(headers: Mapping[str, str], only: str = "") -> Problem | None:
    """Refuse a body that is not JSON in UTF-8, or of the `only` type; one without a content type is taken for JSON."""
    media = headers.get("content-type", "application/json").lower()
    if only:
        return None if media == only else UnsupportedMedia(f"this content type is not read here; send {only}")
    kind, _, parameters = media.partition(";")
    kind, charset = kind.strip(), parameters.strip().removeprefix("charset=").strip('"')
    if not (kind == "application/json" or kind.endswith("+json")) or charset not in ("", "utf-8", "utf8"):
        return UnsupportedMedia("this content type is not read here; send application/json in UTF-8 (curl: --json)")
    if headers.get("content-encoding", "identity").lower() != "identity":
        return UnsupportedMedia("the body is compressed; send it as it is")
    return None


def read_id(headers: Mapping[str, str]) -> str | None:
    """Give the client's x-request-id; one that is too long to be an id is refused."""
    request_id = headers.get("x-request-id")
    if request_id is not None and len(request_id) > LONGEST_ID:
        raise BadRequest(f"x-request-id has {len(request_id)} characters; the limit is {LONGEST_ID}")
    return request_id


def declared_length(fields: Fields) -> int:
    """Read the content length; -1 without. The parser has already refused one that is not a number."""
    for name, value in fields:
        if name == b"content-length":
            return int(value)
    return -1


def header_size(url: bytes, fields: Fields) -> int:
    """Give the bytes of a header, its request line and line ends included."""
    return len(url) + 18 + sum([len(name) + len(value) + 4 for name, value in fields])


def fault_of(error: httptools.HttpParserError) -> Problem:
    """Tell a request that is not HTTP from one that a callback refused; the parser hides the callback's error."""
    cause = error.__context__
    if isinstance(cause, Problem):
        return cause
    if cause is not None and not isinstance(cause, httptools.HttpParserError | ValueError):
        log.error("this is a bug of hansang: a request was not read", exc_info=cause)
    return BadRequest("the request is not HTTP/1.1")
