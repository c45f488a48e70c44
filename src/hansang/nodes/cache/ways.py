"""What happened to rows between two moments, and the step that says so when their answers are given again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hansang.batch import Batch
from hansang.call import Step
from hansang.dispatch import Places

MOST_STEPS = 1000


class Steps:
    """The steps of hits, one for each way that a row was answered: rows that share one are recorded together."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._steps: dict[tuple[str, str, str], Step] = {}

    def of(self, way: Sequence[Step]) -> Step | None:
        """Give the step of a hit on what was answered this way; None for an answer that is one caller's alone."""
        if len(way) == 1 and not way[0].job:
            only = way[0]
            return self.named(only.model, only.version, only.variant)
        if any(step.job for step in way):
            return None
        models = [step for step in way if step.model]
        return self.named(
            ",".join([step.model for step in models]),
            ",".join([step.version for step in models]),
            ",".join([step.variant for step in way if step.variant]),
        )

    def named(self, model: str, version: str, variant: str) -> Step:
        """Give the step of a hit on an answer of these models, versions and variants."""
        key = model, version, variant
        step = self._steps.get(key)
        if step is None:
            if len(self._steps) >= MOST_STEPS:
                self._steps.clear()
            step = self._steps[key] = Step(self.label, model, version, variant, cached=True)
        return step


@dataclass(slots=True)
class Before:
    """Where the trails of a batch ended, and its tags, before it was computed; without calls the rows share one trail.

    An answer that brings a tag with it (a partial one, a forced side) or a job is not to be kept: a hit would not say
    so.
    """

    steps: Steps
    lengths: list[int]
    tags: list[Any]

    @classmethod
    def of(cls, batch: Batch, steps: Steps) -> Before:
        """Note where a batch stands."""
        if not batch.has_calls:
            return cls(steps, [len(batch.steps)] * batch.size, [None] * batch.size)
        calls = batch.calls
        return cls(steps, [len(call.trail) for call in calls], [call.tags for call in calls])

    def one_way(self, answers: Batch) -> Step | None:
        """Give the step of later hits if the same happened to all rows of the batch, quickly; None otherwise."""
        lengths = self.lengths
        if not answers.has_calls:
            return self._shared(answers)
        trails = [call.trail for call in answers.calls]
        first = trails[0]
        if not trails.count(first) == len(trails) == lengths.count(lengths[0]):
            return None
        if [call.tags for call in answers.calls] != self.tags:
            return None
        return self.steps.of(first[lengths[0] :])

    def ways(self, at: Places, answers: Batch) -> list[Step | None]:
        """Give the step of a later hit for each of these rows; None for one that must not be kept."""
        if not answers.has_calls:
            return [self._shared(answers)] * answers.size
        known: dict[tuple[int, ...], Step | None] = {}
        ways = []
        for place, call in zip(at, answers.calls, strict=True):
            way = call.trail[self.lengths[place] :]
            mark = tuple(map(id, way))  # rows of one batch share their steps
            if mark not in known:
                known[mark] = self.steps.of(way)
            ways.append(known[mark] if call.tags == self.tags[place] else None)
        return ways

    def _shared(self, answers: Batch) -> Step | None:
        way = answers.steps[self.lengths[0] :]
        return self.steps.of([step for step in way if step.node != self.steps.label])
