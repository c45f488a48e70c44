"""What a request's header says, as far as a prediction needs it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import httptools

from hansang.errors import BadRequest, Problem, UnsupportedMedia
from hansang.server.turn import Turn, read_patience, trace

Fields = list[tuple[bytes, bytes]]

log = logging.getLogger("hansang")

LONGEST_ID = 200
REMEMBERED = 1024
REMEMBERED_SIZE = 2048


@dataclass(slots=True)
class Head:
    """What a prediction request's header says; `fault` is why it cannot be answered with a prediction."""

    turn: Turn
    length: int
    keep_alive: bool
    request_id: str | None
    patience: float | None
    headers: Mapping[str, str]
    fault: Problem | None
    tags: dict[str, Any] | None


class Heads(dict[bytes, Head]):
    """The headers of prediction requests by their bytes, so that one which comes again is not parsed again."""

    def remember(self, candidate: bytes, fields: Fields, head: Head) -> None:
        """Keep a header that is exactly one request line and one line a field, so that it means the same again."""
        if candidate.count(b"\n") == len(fields) + 2:
            if len(self) >= REMEMBERED:
                self.clear()
            self[candidate] = head


def read_head(turn: Turn, fields: Fields, keep_alive: bool) -> Head:
    """Read the fields that matter to a prediction."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in fields}
    patience, request_id = turn.endpoint.deadline, None
    fault = media_fault(headers)
    try:
        request_id = read_id(headers)
        if "x-deadline-ms" in headers:
            patience = read_patience(headers["x-deadline-ms"])
    except BadRequest as error:
        fault = error
    length = max(declared_length(fields), 0)
    return Head(turn, length, keep_alive, request_id, patience, MappingProxyType(headers), fault, trace(headers))


def media_fault(headers: Mapping[str, str]) -> Problem | None:
    """Refuse a body that is not JSON in UTF-8; one without a content type is taken for that."""
    media = headers.get("content-type", "application/json").lower()
    kind, _, parameters = media.partition(";")
    kind, charset = kind.strip(), parameters.strip().removeprefix("charset=").strip('"')
    if not (kind == "application/json" or kind.endswith("+json")) or charset not in ("", "utf-8", "utf8"):
        return UnsupportedMedia("this content type is not read here; send application/json in UTF-8")
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
