"""How the answers of the members become one outcome a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hansang.batch import Batch
from hansang.call import Step
from hansang.isolate import failure
from hansang.nodes.combine import COMBINERS, Answers
from hansang.nodes.quorum import by_members, most_telling

PARTIAL = "partial"


@dataclass(frozen=True, slots=True)
class Join:
    """Joins answers, each row by the members that answered it; `combine` other than a name is done elsewhere."""

    name: str
    combine: object
    weights: Mapping[str, float] | None
    quorum: int | None

    def __call__(self, batch: Batch, answers: Answers, forks: Answers) -> Batch:
        """Give one outcome a row, and its trail; `forks` are the ways of the members that were not late."""
        if not any(part.failed for part in answers.values()):
            for fork in forks.values():
                batch.join(fork)
            return self._made(batch, answers, tuple(answers))
        outcomes: list[Any] = [None] * batch.size
        for names, places in by_members(answers).items():
            ways = {name: fork.take(places) for name, fork in forks.items()}
            parts = {name: part.take(places) for name, part in answers.items()}
            joined = self._group(batch.take(places), parts, names, ways)
            for place, outcome in zip(places, joined.rows, strict=True):
                outcomes[place] = outcome
        return batch.replace(outcomes)

    def _group(self, rows: Batch, answers: Answers, names: Sequence[str], ways: Answers) -> Batch:
        """Join the answers to rows that were answered by the same members."""
        absent = [name for name in answers if name not in names]
        if len(names) < (self.quorum or len(answers)):
            for way in ways.values():
                rows.join(way)
            told = zip(*(answers[name].rows for name in absent), strict=True)
            return rows.replace([most_telling(dict(zip(absent, errors, strict=True))) for errors in told])
        for name in names:
            rows.join(ways[name])
        if absent and rows.has_calls:
            rows.mark(Step(self.name, variant=PARTIAL))
            for call in rows.calls:
                call.tag("missing", absent)
        return self._made(rows, {name: answers[name] for name in names}, tuple(answers))

    def _made(self, rows: Batch, answers: Answers, members: Sequence[str]) -> Batch:
        """Make one prediction of the answers to each row; in a dict `None` stands for a member that is missing."""
        if not isinstance(self.combine, str):
            nothing = [None] * rows.size
            columns = [answers[name].rows if name in answers else nothing for name in members]
            return rows.replace([dict(zip(members, values, strict=True)) for values in zip(*columns, strict=True)])
        weights = self.weights or dict.fromkeys(answers, 1.0)
        try:
            return rows.replace(COMBINERS[self.combine](answers, weights), name=self.name)
        except Exception as error:
            if rows.size == 1:
                return rows.fail(failure(error, f"{self.name} ({self.combine})"))
        alone = [{name: part.slice(n, n + 1) for name, part in answers.items()} for n in range(rows.size)]
        return Batch.concat([self._made(rows.slice(n, n + 1), one, members) for n, one in enumerate(alone)])
