"""Problem documents of a far side as the problems of this one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hansang.errors import (
    BadRequest,
    CallerLeft,
    DeadlineExceeded,
    InvalidRow,
    ModelFailed,
    NotFound,
    Problem,
    TooLarge,
    TooManyRequests,
    Unavailable,
    UnsupportedMedia,
    title,
)
from hansang.peers.http import Answer
from hansang.peers.values import problem_class

BLANK = "about:blank"
KNOWN = {
    kind.status: kind
    for kind in (
        *(BadRequest, NotFound, TooLarge, UnsupportedMedia, InvalidRow, TooManyRequests),
        *(CallerLeft, ModelFailed, Unavailable, DeadlineExceeded),
    )
}


def row_problem(document: Mapping[str, Any], label: str, place: int) -> Problem:
    """Make the problem of one row from its document; a failure of the far side's own keeps its text private.

    A status that the far side's author gave a title or a type of his own is a problem of that kind here, too.
    """
    status, detail = document.get("status"), str(document.get("detail") or "")
    if not isinstance(status, int) or not 400 <= status <= 599:
        return ModelFailed(f"{label}: an outcome without a status: {document}")
    errors = document.get("errors")
    faults = None
    if isinstance(errors, list):
        faults = [{**fault, "loc": without_row(fault.get("loc"), place)} for fault in errors if isinstance(fault, dict)]
    name, kind = str(document.get("title") or ""), str(document.get("type") or BLANK)
    known = KNOWN.get(status)
    usual = kind == BLANK and name in ("", title(status), known.title if known is not None else "")
    if known is None or not usual:
        return problem_class("FarProblem", status, name, kind, True)(detail, errors=faults)
    if known is ModelFailed:
        return ModelFailed(f"{label}: {detail} (request_id {document.get('request_id')})")
    return known(detail, errors=faults)


def without_row(loc: Any, place: int) -> list[Any]:
    """Take the row's number off the place of a fault."""
    path: list[Any] = loc if isinstance(loc, list) else []
    return path[1:] if path[:1] == [place] and type(path[0]) is int else path


def refusal(answer: Answer, label: str) -> Problem:
    """Say why a whole request has no predictions; a fault of the request itself is not the caller's, but ours."""
    detail = detail_of(answer)
    status, retry_after = answer.status, retry_after_of(answer)
    if status == TooLarge.status:
        return TooLarge(f"{label}: {detail}")
    if status in (Unavailable.status, TooManyRequests.status):
        return Unavailable(f"{label}: {detail}", retry_after=retry_after or 1.0)
    if status == DeadlineExceeded.status:
        return DeadlineExceeded(f"{label}: {detail}")
    return ModelFailed(f"{label}: the far side answered {status}: {detail}")


def detail_of(answer: Answer) -> str:
    """Give the text of an error's body, whichever server wrote it."""
    document = read_json(answer.body)
    if isinstance(document, dict):
        for name in ("detail", "error", "message"):
            if isinstance(document.get(name), str):
                return str(document[name])
    return answer.body[:200].decode("utf-8", "replace") or title(answer.status)


def retry_after_of(answer: Answer) -> float | None:
    """Give the seconds of the header Retry-After; `None` without, or where it is a date."""
    try:
        seconds = float(answer.headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return seconds if 0.0 <= seconds <= 3600.0 else None


def read_json(body: bytes) -> Any:
    """Read JSON; `None` for anything else."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
