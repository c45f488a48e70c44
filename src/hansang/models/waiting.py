"""What waits in front of a model, and how its answers come back together."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field

from hansang.batch import Batch


@dataclass(slots=True, eq=False)
class Waiting:
    """One batch that waits, whole or what is left of it, and the answers of its parts so far."""

    batch: Batch
    bucket: Hashable
    future: asyncio.Future[Batch]
    since: float
    start: int = 0
    running: int = 0
    answers: list[tuple[int, Batch]] = field(default_factory=list)

    @property
    def left(self) -> int:
        """The rows that have not been sent to the model."""
        return self.batch.size - self.start

    def settle(self) -> None:
        """Answer the batch when all its parts are back."""
        if self.left or self.running or self.future.done():
            return
        if len(self.answers) > 1:
            self.answers.sort(key=lambda item: item[0])
        self.future.set_result(Batch.concat([answer for _, answer in self.answers]))


@dataclass(slots=True)
class Part:
    """A run of one waiting batch's rows that goes into the next call; `torn` is the run with rows that do not go."""

    waiting: Waiting
    start: int
    batch: Batch
    torn: Batch | None = None

    def settle(self, answer: Batch) -> None:
        """Hand over the answers to the rows that went."""
        answer = self.batch.adopt(answer)
        if self.torn is not None:
            answer = self.torn.fill(self.torn.good, answer)
        self.waiting.running -= 1
        self.waiting.answers.append((self.start, answer))
        self.waiting.settle()
