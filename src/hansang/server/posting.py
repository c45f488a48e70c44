"""Feedback that is answered in the connection itself: a `Posting` stands where predictions have their `Turn`."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from hansang.errors import BadRequest, InvalidRow, Problem, problem
from hansang.server.ask import JSON, NO_MARKS, PROBLEM, Ask
from hansang.server.desk import Desk
from hansang.server.feedback_rows import Read, prediction_id, read_truths
from hansang.server.ids import new_ids

if TYPE_CHECKING:
    from hansang.server.serving import Serving

log = logging.getLogger("hansang")

LONGEST_KEY = 200
PATH = b"/feedback"
Missing = frozenset[str]


class Posting:
    """Takes the bodies that are posted to one address; `steady` says whether the address will come again."""

    __slots__ = ("codec", "desk", "endpoint", "id", "serving")
    closed = False
    path = PATH.decode()
    deadline = None
    media = ""

    def __init__(self, serving: Serving, desk: Desk, id: str | None) -> None:
        self.serving, self.desk, self.id = serving, desk, id
        self.codec = self.endpoint = self

    @property
    def steady(self) -> bool:
        """Say whether the address is the same for many requests."""
        return self.id is None

    def one(self, body: bytes) -> Read:
        """Read a body; raises a `Problem` when nothing in it can be taken."""
        settings = self.serving.settings
        id = None if self.id is None else path_id(self.id)
        return read_truths(body, id, settings.max_rows, settings.record_body_limit)

    def array(self, body: bytes) -> list[Read]:
        """Read an array; it is one thing to be answered."""
        return [self.one(body)]

    def add(self, ask: Ask) -> None:
        """Take a request; its answer comes by `ask.deliver`, always."""
        self.serving.in_flight += 1
        read: Read = ask.rows[0]
        try:
            key = read_key(ask.calls[0].headers.get("idempotency-key"))
            self.desk.count("invalid", len(read[1]))
            self.desk.hand_in(list(read[0].values()), key, partial(self._finish, ask, read))
        except Problem as error:
            self._finish(ask, read, error)

    def reject(self, ask: Ask, error: Problem) -> None:
        """Answer a request of which nothing can be taken."""
        self.desk.count("invalid", isinstance(error, InvalidRow))
        self._refuse(ask, error)

    def _finish(self, ask: Ask, read: Read, missing: Missing | Problem) -> None:
        self.serving.settled(1)
        if isinstance(missing, Problem):
            self._refuse(ask, missing)
            return
        ask.answered = True
        ask.id = self._name()
        try:
            status, body = reply(self.desk, read, missing, ask.calls[0].request_id or ask.id)
        except Problem as error:
            self._refuse(ask, error)
        else:
            ask.deliver(status, JSON, body, NO_MARKS, None)

    def _refuse(self, ask: Ask, error: Problem) -> None:
        ask.answered = True
        ask.id = self._name()
        document = problem(error, ask.calls[0].request_id or ask.id)
        ask.deliver(error.status, PROBLEM, to_json(document), NO_MARKS, error)

    def _name(self) -> str:
        """Give what stands in x-prediction-id: the prediction that it is about, where that is one."""
        return new_ids(1)[0] if self.id is None or len(self.id) != 36 or not self.id.isascii() else self.id


def posting(serving: Serving, url: bytes) -> Posting | None:
    """Give what takes a POST to this address; None when it is not one for feedback."""
    path = url.partition(b"?")[0]
    if serving.desk is None or not path.startswith(PATH):
        return None
    if path == PATH:
        return Posting(serving, serving.desk, None)
    _, _, id = path[1:].partition(b"/")
    if path[len(PATH) : len(PATH) + 1] != b"/" or not id or b"/" in id or b"%" in id:
        return None
    return Posting(serving, serving.desk, id.decode("latin-1"))


def path_id(text: str) -> str:
    """Check the id in a path; raises `InvalidRow` when it is none."""
    try:
        return prediction_id(text)
    except ValueError as error:  # pydantic's own errors are of this kind
        errors = [{"loc": ["path", "id"], "type": "prediction_id", "msg": str(error)}]
        raise InvalidRow("the id in the path is none", errors=errors) from None


def read_key(key: str | None) -> str | None:
    """Check an Idempotency-Key."""
    if key is not None and not 0 < len(key) <= LONGEST_KEY:
        raise BadRequest(f"Idempotency-Key has {len(key)} characters; it must have 1 to {LONGEST_KEY}")
    return key


# --- the answer ---


def reply(desk: Desk, read: Read, missing: Missing, request_id: str) -> tuple[int, bytes]:
    """Say how many rows are kept, and what was wrong with the others; raises a `Problem` when none are."""
    lines, faults, many = read
    lost = {place: line.id for place, line in lines.items() if line.id in missing} if missing else {}
    accepted = len(lines) - len(lost)
    if lost:
        desk.count("not_found", len(lost))
        faults = faults | {place: desk.not_found(id) for place, id in lost.items()}
    if not faults:
        return 200, b'{"accepted":%d}' % accepted
    if not accepted:
        raise all_wrong(faults) if many else faults[0]
    rejected = [{"row": place, "error": problem(faults[place], request_id, row=place)} for place in sorted(faults)]
    return 207, to_json({"accepted": accepted, "rejected": rejected})


def all_wrong(faults: dict[int, Problem]) -> Problem:
    """Make one problem of an array in which every row is wrong; the first one gives the status."""
    place = min(faults)
    first = faults[place]
    errors: list[dict[str, Any]] = [
        {**each, "loc": [at, *each["loc"]]}
        for at, error in sorted(faults.items())
        if type(error) is type(first)
        for each in error.errors or ()
    ]
    return type(first)(f"all {len(faults)} rows are refused; row {place}: {first.detail}", errors=errors or None)
