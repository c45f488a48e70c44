"""Cutting a batch where a rule has chosen a branch for each row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hansang.batch import Batch
from hansang.call import Step
from hansang.dispatch import Part
from hansang.graph import Node
from hansang.metrics import Counter

FAILED = -1


class Choice(NamedTuple):
    """The branch of each row by its number, `FAILED` where there is none, and why not by the row's place."""

    branches: Sequence[int]
    problems: Mapping[int, Exception] = {}


@dataclass(frozen=True, slots=True)
class Branch:
    """One way that rows can go; they share its step."""

    node: Node
    step: Step
    counter: Counter | None = field(default=None, repr=False)

    def part(self, batch: Batch, at: Sequence[int] | None = None) -> Part:
        """Send a batch, or its rows at these places, this way."""
        part = batch if at is None else batch.take(at)
        if at is not None and not batch.has_calls:
            part.steps = [*batch.steps, self.step]  # without calls the rows of all branches would share one trail
        else:
            part.mark(self.step)
        if self.counter is not None:
            self.counter.add(part.size)
        return Part(part, self.node, at)


def branches(name: str, ways: Iterable[tuple[str, Node]], counters: Sequence[Counter | None] = ()) -> Sequence[Branch]:
    """Make the branches of a node of this name, by their variants; counters there are where a service runs."""
    listed = list(ways)
    pairs = zip(listed, counters or [None] * len(listed), strict=True)
    return [Branch(node, Step(name, variant=variant), counter) for (variant, node), counter in pairs]


def parted(batch: Batch, choice: Choice, branches: Sequence[Branch]) -> Iterator[Part]:
    """Cut a batch as a rule has chosen; rows without a branch are settled."""
    chosen = choice.branches
    if not chosen:
        return
    first = chosen[0]
    if first != FAILED and chosen.count(first) == len(chosen):
        yield branches[first].part(batch)
        return
    places: list[list[int]] = [[] for _ in range(len(branches) + 1)]  # the last one is for those that FAILED
    for place, number in enumerate(chosen):
        places[number].append(place)
    failed = places.pop()
    if failed:
        problems = [choice.problems[place] for place in failed]
        yield Part(batch.take(failed).replace(problems), at=failed)
    for branch, at in zip(branches, places, strict=True):
        if at:
            yield branch.part(batch, at)


def name_of(value: object) -> str:
    """Write a label for trails, metrics and the header x-variant: on one line, whatever it is made of."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in str(value)).split())
