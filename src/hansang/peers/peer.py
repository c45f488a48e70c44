"""What a far side must be able to say, whichever protocol it speaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from hansang.batch import Batch
from hansang.call import Call
from hansang.errors import Problem
from hansang.peers.client import Client
from hansang.peers.http import Answer


@dataclass(frozen=True, slots=True)
class Question:
    """A batch as a request."""

    path: str
    fields: Mapping[str, str]
    body: bytes


class Cut(Exception):  # it is not an error: the rows are asked for again, in smaller parts
    """The far side does not take these rows together; `outcome` is theirs when a row stands alone.

    `learn` says that so many rows are too many at any time.
    """

    def __init__(self, outcome: Problem, learn: bool) -> None:
        super().__init__(str(outcome))
        self.outcome = outcome
        self.learn = learn


class Peer(Protocol):
    """A kind of far side."""

    @property
    def health(self) -> str:
        """The path that says whether it is ready."""

    async def begin(self, client: Client) -> None:
        """Learn what must be known before the first batch; raises a `Problem` when the far side does not say it."""

    def question(self, batch: Batch, now: float, left: float | None) -> Question:
        """Make the request for a batch; `left` is the time that the far side may take, in seconds."""

    def answers(self, batch: Batch, answer: Answer) -> Batch:
        """Give one outcome a row; raises `Cut`, or a `Problem` that is the outcome of all."""


def fields_of(batch: Batch) -> dict[str, str]:
    """Give the header fields of a batch: the request id of its first row, and whether all want a fresh answer."""
    if not batch.has_calls:
        return {}
    call = batch.calls[0]
    fields = {"x-request-id": call.request_id} if call.request_id is not None else {}
    if all(fresh(other) for other in batch.calls):
        fields["cache-control"] = "no-store"
    return fields


def fresh(call: Call) -> bool:
    """Say whether a caller wants the model's answer, not a cache's."""
    return "no-store" in call.headers.get("cache-control", "")


def milliseconds(left: float) -> str:
    """Write a time for the header x-deadline-ms."""
    return f"{max(left * 1000.0, 0.001):.3f}"
