"""The way that an answer came by, and the step that says so when it is given again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hansang.batch import Batch
from hansang.call import Step
from hansang.dispatch import Places

MOST_STEPS = 1000

Way = tuple[str, str, str]
"""The models, the versions and the variants that an answer came by. Entries hold it in place of a step, since the
garbage collector need not look at tuples of text."""


class Steps:
    """The steps of hits, one for each way that a row was answered: rows that share one are recorded together."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._steps: dict[Way, tuple[Way, Step]] = {}

    def of(self, steps: Sequence[Step]) -> Way | None:
        """Give the way of an answer by its steps; None for an answer that is one caller's alone."""
        if len(steps) == 1 and not steps[0].job:
            only = steps[0]
            return self.named(only.model, only.version, only.variant)
        if any(step.job for step in steps):
            return None
        models = [step for step in steps if step.model]
        return self.named(
            ",".join([step.model for step in models]),
            ",".join([step.version for step in models]),
            ",".join([step.variant for step in steps if step.variant]),
        )

    def named(self, model: str, version: str, variant: str) -> Way:
        """Give the way through these models, versions and variants: the same object for equal ones."""
        return self._known((model, version, variant))[0]

    def step(self, way: Way) -> Step:
        """Give the step of a hit on an answer that came this way."""
        return self._known(way)[1]

    def _known(self, way: Way) -> tuple[Way, Step]:
        known = self._steps.get(way)
        if known is None:
            if len(self._steps) >= MOST_STEPS:
                self._steps.clear()
            known = self._steps[way] = (way, Step(self.label, *way, cached=True))
        return known


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

    def one_way(self, answers: Batch) -> Way | None:
        """Give the way of the whole batch if the same happened to all its rows, quickly; None otherwise."""
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

    def ways(self, at: Places, answers: Batch) -> list[Way | None]:
        """Give the way of each of these rows; None for one whose answer must not be kept."""
        if not answers.has_calls:
            return [self._shared(answers)] * answers.size
        known: dict[tuple[int, ...], Way | None] = {}
        ways = []
        for place, call in zip(at, answers.calls, strict=True):
            steps = call.trail[self.lengths[place] :]
            mark = tuple(map(id, steps))  # rows of one batch share their steps
            if mark not in known:
                known[mark] = self.steps.of(steps)
            ways.append(known[mark] if call.tags == self.tags[place] else None)
        return ways

    def _shared(self, answers: Batch) -> Way | None:
        steps = answers.steps[self.lengths[0] :]
        return self.steps.of([step for step in steps if step.node != self.steps.label])
