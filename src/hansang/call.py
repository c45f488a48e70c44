"""One request's facts, passed along with its row and never kept in a global."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Step:
    """What one node did to the rows of one batch; the rows share it.

    `queue` is the time spent waiting for the model, in seconds; `rows` is the size of the batch that the model saw.
    `job` says that another answer will be found later, under the id of the prediction.
    """

    node: str
    model: str = ""
    version: str = ""
    variant: str = ""
    rows: int = 0
    queue: float = 0.0
    cached: bool = False
    job: bool = False


@dataclass(slots=True, eq=False)
class Call:
    """One row's request: who asked, until when the answer is of use, and what happened to the row.

    `deadline` is on the event loop's clock, in seconds. `gone` is set when the caller left: a row that is gone is
    dropped before the model runs and never touches its batch mates. `trail` lists the steps in their order. `id` is
    the prediction's, `key` what a split keeps together. `span` is the request's span of OpenTelemetry, where that is
    on.
    """

    id: str = ""
    row: int = 0
    deadline: float | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: NO_HEADERS)
    key: str | None = None
    request_id: str | None = None
    gone: bool = False
    trail: list[Step] = field(default_factory=list)
    tags: dict[str, Any] | None = None
    forks: list[Call] | None = None
    span: Any = None

    @property
    def trace_id(self) -> str:
        """The id of the trace that the request belongs to; empty when it belongs to none."""
        return trace_id(self.headers, self.span)

    def fork(self) -> Call:
        """Give a call for the same row on a way of its own: what happens there is written into its own trail.

        A fork is told when the caller leaves; what it learned comes back by `join`.
        """
        fork = Call(self.id, self.row, self.deadline, self.headers, self.key, self.request_id, self.gone)
        fork.span = self.span
        if self.forks is None:
            self.forks = [fork]
        else:
            self.forks.append(fork)
        return fork

    def apart(self) -> Call:
        """Give a call for the same row that outlives its request: no deadline, and no caller who leaves, ends it."""
        return Call(self.id, self.row, None, self.headers, self.key, self.request_id, span=self.span)

    def join(self, fork: Call) -> None:
        """Take over what happened to the row on a way of its own, and forget that way."""
        self.trail += fork.trail
        self.key = self.key if self.key is not None else fork.key
        if fork.tags:
            self.tags = {**(self.tags or {}), **fork.tags}
        if self.forks is not None and fork in self.forks:
            self.forks.remove(fork)

    def tag(self, name: str, value: Any) -> None:
        """Add a fact to what is recorded of the row."""
        self.tags = {**(self.tags or {}), name: value}  # requests of one header share their tags

    def leave(self) -> None:
        """Note that nobody waits for this row any more, on any of its ways."""
        self.gone = True
        for fork in self.forks or ():
            fork.leave()


def trace_id(headers: Mapping[str, str], span: Any = None) -> str:
    """Give the id of a request's trace: its span's, else that of a `traceparent` (W3C Trace Context) that is one."""
    if span is not None:
        return f"{span.get_span_context().trace_id:032x}"
    known = TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    return known[1] if known is not None else ""
