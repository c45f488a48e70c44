"""One try of a side, and what becomes of its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hansang.batch import Batch
from hansang.dispatch import Part, Places
from hansang.nodes.side import LEFT, Side


@dataclass(slots=True)
class Try:
    """Rows that a side was asked for, on a fork of theirs; called with its answers as they come.

    `further` says who is asked for the rows that this side did not answer, `late` is the outcome of those that took
    too long, `turn` is that of the side's breaker when they were sent.
    """

    side: Side
    rows: Batch
    fork: Batch
    late: Exception | None
    turn: int
    further: Callable[[Batch], list[Part]]
    clock: Callable[[], float]

    def __call__(self, at: Places, answers: Batch) -> list[Part]:
        """Settle the rows that were answered, and send the others on."""
        side = self.side
        rows, fork = part_of(self.rows, at), part_of(self.fork, at)
        failures = side.failures(rows, answers, self.late) if answers.failed else {}
        side.note(rows.size, failures, self.turn)
        now = self.clock()
        on = [place for place, reason in failures.items() if reason != LEFT and waits(rows, place, now)]
        if not on:
            return [settled(side, rows, fork, answers)]
        parts = moved(self.further(rows.take(on)), on)
        stay = [place for place in range(rows.size) if place not in set(on)]
        if stay:
            kept = settled(side, rows.take(stay), fork.take(stay), answers.take(stay))
            parts = [*moved([kept], stay), *parts]
        return parts


def last_answers(side: Side, rows: Batch, at: Places, answers: Batch) -> list[Part]:
    """Settle rows that have nobody else to ask, whatever became of them."""
    rows = part_of(rows, at)
    return [settled(side, rows, rows, answers)]


def settled(side: Side, rows: Batch, fork: Batch, answers: Batch) -> Part:
    """Give rows the answers of a side, and the trail of its way."""
    if fork is not rows:
        rows.join(fork)
    side.serve(rows, answers)
    return Part(rows.adopt(answers))


def part_of(batch: Batch, at: Places) -> Batch:
    """Give the rows at these places; the batch itself when they are all."""
    return batch if at == range(batch.size) else batch.take(at)


def waits(rows: Batch, place: int, now: float) -> bool:
    """Say whether somebody still waits for a row, and its deadline has not passed."""
    if not rows.has_calls:
        return True
    call = rows.calls[place]
    return not call.gone and (call.deadline is None or call.deadline > now)


def moved(parts: list[Part], at: Sequence[int]) -> list[Part]:
    """Give parts of rows that stand at these places of a larger batch."""
    for part in parts:
        part.at = at if part.at is None else [at[place] for place in part.at]
    return parts
