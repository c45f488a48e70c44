"""Another Hansang service: rows as a JSON array in one request, an outcome for each row back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from hansang.batch import Batch
from hansang.call import Step
from hansang.codec import encode_any
from hansang.errors import InvalidRow, ModelFailed, Problem, TooLarge
from hansang.peers.client import Client
from hansang.peers.http import Answer
from hansang.peers.outcomes import read_json, refusal, row_problem
from hansang.peers.peer import Cut, Question, fields_of, milliseconds

EACH = "handling=lenient"  # RFC 7240: an outcome for each row, even when all of them failed


@dataclass(frozen=True, slots=True)
class ServicePeer:
    """A service that answers a prediction route."""

    path: str
    label: str
    health: str = "/readyz"

    async def begin(self, client: Client) -> None:
        """Need nothing: the far side checks the rows by its own schema."""

    def question(self, batch: Batch, now: float, left: float | None) -> Question:
        """Write the rows as one array."""
        try:
            body = encode_any(batch.rows)
        except Problem as error:
            raise Cut(ModelFailed(f"{self.label}: {error}"), learn=False) from error
        fields = {"content-type": "application/json", "prefer": EACH, **fields_of(batch)}
        if left is not None:
            fields["x-deadline-ms"] = milliseconds(left)
        return Question(self.path, fields, body)

    def answers(self, batch: Batch, answer: Answer) -> Batch:
        """Read the predictions, and the problems of the rows that have none."""
        if answer.status == TooLarge.status:
            raise Cut(refusal(answer, self.label), learn=True)
        if answer.status not in (200, 207):
            return self._failed(batch, answer)
        try:
            outcomes = from_json(answer.body)
        except ValueError as error:
            raise ModelFailed(f"{self.label}: the answer is not JSON: {error}") from error
        if not isinstance(outcomes, list) or len(outcomes) != batch.size:
            raise ModelFailed(f"{self.label}: the answer is not one outcome for each of {batch.size} rows")
        if answer.status == 207:
            outcomes = [self._outcome(value, place) for place, value in enumerate(outcomes)]
        self._mark(batch, answer)
        return batch.replace(Batch.of(outcomes))

    def _outcome(self, value: Any, place: int) -> Any:
        if isinstance(value, dict) and value.keys() == {"error"} and isinstance(value["error"], dict):
            return row_problem(value["error"], self.label, place)
        return value

    def _failed(self, batch: Batch, answer: Answer) -> Batch:
        """Tell the rows that were refused from the others; a far side that is older says it only together."""
        document = read_json(answer.body)
        if answer.status != InvalidRow.status or not isinstance(document, dict):
            raise refusal(answer, self.label)
        if batch.size > 1:
            raise Cut(refusal(answer, self.label), learn=False)
        return batch.fail(row_problem(document, self.label, 0))

    def _mark(self, batch: Batch, answer: Answer) -> None:
        headers = answer.headers
        version, variant = headers.get("x-model-version", ""), headers.get("x-variant", "")
        cached = headers.get("x-cache") == "hit"
        batch.mark(Step(self.label, self.label if version else "", version, variant, batch.size, cached=cached))
