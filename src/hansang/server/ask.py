"""One request's rows on their way through the service."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from hansang.call import Call, Step
from hansang.errors import Problem

JSON = b"application/json"
PROBLEM = b"application/problem+json"
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
VALUE = re.compile(r"[\t -~\xa0-\xff]*")


class Marks(NamedTuple):
    """What an answer's header says of the row's way: the versions of the models, the variants, a cache hit, a job.

    The header of a job holds the prediction's id, so it is not among the `fields`; see `Ask.location`.
    """

    version: str = ""
    variant: str = ""
    cached: bool = False
    job: bool = False

    @property
    def fields(self) -> dict[str, str]:
        """The header fields."""
        fields = {"x-model-version": self.version}
        if self.variant:
            fields["x-variant"] = self.variant
        if self.cached:
            fields["x-cache"] = "hit"
        return fields


NO_MARKS = Marks()


def marks_of(trail: Sequence[Step]) -> Marks:
    """Give what a trail says: the versions of the models that answered and the variants, in their order."""
    if len(trail) == 1:
        return Marks(trail[0].version, trail[0].variant, trail[0].cached, trail[0].job)
    return Marks(
        ",".join(step.version for step in trail if step.version),
        ",".join(step.variant for step in trail if step.variant),
        True in [step.cached for step in trail],
        True in [step.job for step in trail],
    )


class Ask:
    """One request's rows on their way through the service; a subclass knows how to send the answer.

    `raw` is the body of a single row that may be recorded as it came. `id` is the prediction's, given when the rows
    enter the graph. `outcomes` holds the rows of an array that are settled while others are not. `inputs` are the rows
    as JSON, where somebody wrote them already; `held` says that the answer waits for payloads.
    """

    __slots__ = ("answered", "calls", "held", "id", "inputs", "many", "outcomes", "raw", "rows", "started", "timer")

    def __init__(self, rows: list[Any], calls: list[Call], many: bool, raw: bytes | None, started: float) -> None:
        self.rows = rows
        self.calls = calls
        self.many = many
        self.raw = raw
        self.started = started
        self.id = ""
        self.held = False
        self.inputs: list[bytes] | None = None
        self.outcomes: dict[int, Any] = {}
        self.answered = False
        self.timer: asyncio.TimerHandle | None = None

    def deliver(self, status: int, media: bytes, body: bytes, marks: Marks, error: Problem | None) -> None:
        """Send the answer."""
        raise NotImplementedError(f"{type(self).__name__} has no way to send an answer")

    @property
    def location(self) -> str:
        """Where the answer that comes later will be."""
        return f"/jobs/{self.id}"

    def name(self, id: str) -> None:
        """Give the prediction its id, which all its rows share."""
        self.id = id
        for call in self.calls:
            call.id = id

    def leave(self) -> None:
        """Note that nobody waits for the answer any more."""
        for call in self.calls:
            call.leave()

    def take(self, row: int, outcome: Any) -> list[Any]:
        """Keep a settled row of an array; gives all outcomes, in the order of the rows, with the last one."""
        outcomes = self.outcomes
        outcomes[row] = outcome
        return [outcomes[n] for n in range(len(self.rows))] if len(outcomes) == len(self.rows) else []


def problem_fields(error: Problem | None) -> dict[str, str]:
    """Give the header fields that a problem asks for; raises `ValueError` for one that is not a header field."""
    if error is None:
        return {}
    fields = {str(name).lower(): str(value) for name, value in error.headers.items()}
    if error.retry_after is not None:
        fields["retry-after"] = str(max(1, round(error.retry_after)))
    for name, value in fields.items():
        if not TOKEN.fullmatch(name) or not VALUE.fullmatch(value):
            raise ValueError(f"{name!r}: {value!r} is not a header field")
    return fields
