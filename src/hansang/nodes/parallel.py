"""Ask several nodes at once about the same rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from hansang.batch import Batch
from hansang.dispatch import answered
from hansang.errors import DeadlineExceeded, ModelFailed
from hansang.graph import Function, Node, awaits, pass_on
from hansang.metrics import Counter
from hansang.nodes.join import Join
from hansang.nodes.options import check_options, named_members
from hansang.owner import Owner
from hansang.site import Site


@dataclass(frozen=True, slots=True, eq=False)
class Parallel(Node):
    """All members at once on the same rows; see `parallel`."""

    members: Mapping[str, Node]
    combine: str | Node | None = None
    timeout: float | Mapping[str, float] | None = None
    quorum: int | None = None
    weights: Mapping[str, float] | None = None
    name: str = "parallel"
    _missing: dict[str, Counter] = field(default_factory=dict, init=False, repr=False)
    _owner: Owner = field(default_factory=Owner, init=False, repr=False)

    def bind(self, site: Site) -> Parallel:
        """Bind the members under their own names, and take a counter for each."""
        combine = site.bind(self.combine) if isinstance(self.combine, Node) else self.combine
        bound = replace(self, members={n: site.bind(node, n) for n, node in self.members.items()}, combine=combine)
        for name in self.members:
            text = "Rows that a member did not answer."
            labels = {"node": self.name, "member": name}
            bound._missing[name] = site.counter("hansang_parallel_missing_rows_total", text, **labels)
        return bound

    async def __aenter__(self) -> Parallel:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._owner.ended()

    async def __call__(self, batch: Batch) -> Batch:
        """Ask every member, each on a fork of the batch, and join what they say."""
        forks = {name: batch.fork() for name in self.members}
        work = [(answered(node, forks[name]), self._seconds(name)) for name, node in self.members.items()]
        tasks = dict(zip(self.members, await self._owner.run(work), strict=True))
        answers = {name: self._answers(name, task, forks[name]) for name, task in tasks.items()}
        for name, counter in self._missing.items():
            if answers[name].failed:
                counter.add(answers[name].failed)
        ways = {name: forks[name] for name, task in tasks.items() if task is not None}
        joined = Join(self.name, self.combine, self.weights, self.quorum)(batch, answers, ways)
        return await pass_on(partial(answered, self.combine), joined) if isinstance(self.combine, Node) else joined

    def _seconds(self, name: str) -> float | None:
        return self.timeout.get(name) if isinstance(self.timeout, Mapping) else self.timeout

    def _answers(self, name: str, task: asyncio.Task[Batch] | None, fork: Batch) -> Batch:
        """Give what a member said; nobody waits for one that is late."""
        if task is not None:
            return fork.fail(ModelFailed(f"{name} was cancelled")) if task.cancelled() else task.result()
        for call in fork.calls if fork.has_calls else ():
            call.leave()
        return fork.fail(DeadlineExceeded(f"{name}: no answer within {self._seconds(name):g} s"))


def parallel(
    *nodes: Any,
    combine: str | Node | Callable[[dict[str, Any]], Any] | None = None,
    timeout: float | Mapping[str, float] | None = None,
    quorum: int | None = None,
    weights: Mapping[str, float] | Sequence[float] | None = None,
    name: str = "parallel",
    **members: Any,
) -> Parallel:
    """Ask all members at once; the prediction of a row is a dict by member name, or what `combine` makes of it.

    `combine` is "mean", "vote", "weighted" (with `weights` by member, or in their order), a function of the dict, or a
    node that gets a batch of dicts. `timeout` is in seconds, for all members or by name. `quorum` is how many members
    must answer a row, all by default: with fewer the row fails; with a member missing it is partial, which its trail
    and its tag `missing` say. Members that are not named go by their labels.

    Raises `UsageError` for members of the same name, and for options that do not fit the members.
    """
    named = named_members(name, nodes, members)
    shares = check_options(name, tuple(named), combine, timeout, quorum, weights)
    if callable(combine) and not isinstance(combine, Node):
        combine = Function(combine, getattr(combine, "__name__", "combine"), True, awaits(combine))
    return Parallel(named, combine, timeout, quorum, shares, name)
