"""A node of the same file that another process serves: `/nodes/NAME`, Python values in both directions."""

from __future__ import annotations

from dataclasses import dataclass

from hansang.batch import Batch
from hansang.errors import ModelFailed, TooLarge
from hansang.peers.client import Client
from hansang.peers.http import Answer
from hansang.peers.messages import read_answers, write_request
from hansang.peers.outcomes import refusal
from hansang.peers.peer import Cut, Question, fields_of
from hansang.peers.values import WireError
from hansang.peers.wire import MEDIA


@dataclass(frozen=True, slots=True)
class NodePeer:
    """The other process of this service that has the node."""

    path: str
    label: str
    health: str = "/readyz"

    async def begin(self, client: Client) -> None:
        """Need nothing: both sides run the same file."""

    def question(self, batch: Batch, now: float, left: float | None) -> Question:
        """Write the rows and their calls; the deadlines are the calls' own."""
        try:
            body = write_request(batch, now)
        except WireError as error:
            raise Cut(ModelFailed(f"{self.label}: {error}"), learn=False) from error
        return Question(self.path, {"content-type": MEDIA, **fields_of(batch)}, body)

    def answers(self, batch: Batch, answer: Answer) -> Batch:
        """Read the outcomes, and add to the trails what happened to the rows there."""
        if answer.status == TooLarge.status:
            raise Cut(refusal(answer, self.label), learn=True)
        if answer.status != 200 or answer.headers.get("content-type") != MEDIA:
            raise refusal(answer, self.label)
        try:
            return read_answers(batch, answer.body)
        except WireError as error:
            raise ModelFailed(f"{self.label}: {error}") from error
