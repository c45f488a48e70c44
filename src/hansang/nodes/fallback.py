"""Ask a node, and whoever stands behind it for the rows that it did not answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from hansang.batch import Batch
from hansang.dispatch import Dispatcher, Limit, Part
from hansang.errors import DeadlineExceeded, UsageError
from hansang.graph import Node, as_node
from hansang.nodes.breaker import Breaker
from hansang.nodes.constant import Constant
from hansang.nodes.side import Side, sides_of
from hansang.nodes.tries import Try, last_answers, moved
from hansang.site import Site
from hansang.switches import Switches

DEFAULT = Breaker()


@dataclass(frozen=True, slots=True, eq=False)
class Fallback(Dispatcher):
    """Ask the first side; rows that it does not answer through the server's fault go to the next one.

    See `fallback`. The state of the breakers is each bound copy's own, so every process learns for itself.
    """

    sides: tuple[Node, ...]
    timeout: float | None = None
    breaker: Breaker | None = DEFAULT
    name: str = "fallback"
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    switches: Switches | None = field(default=None, repr=False)
    _sides: tuple[Side, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_sides", sides_of(self.sides, self.name, self.breaker, self.clock))

    def bind(self, site: Site) -> Fallback:
        """Bind the sides, and take the counters and the kill switches of the place where it runs."""
        at_work = replace(self, sides=tuple(map(site.bind, self.sides)), switches=site.switches)
        for side in at_work._sides:
            side.bind(site)
        if site.switches is not None:
            site.switches.known.add(self.name)
        return at_work

    @property
    def states(self) -> dict[str, str]:
        """The state of each side's breaker in this process: closed, half-open, open or off."""
        return {side.label: side.state for side in self._sides}

    def parts(self, batch: Batch) -> Iterable[Part]:
        """Send the rows to the first side that takes them."""
        return self._ask(0, batch)

    def _ask(self, place: int, batch: Batch) -> list[Part]:
        side = self._sides[place]
        if side.last:
            return [Part(batch, side.node, then=partial(last_answers, side, batch))]
        off = not place and self.switches is not None and self.switches.off(self.name)
        admitted = side.admit(batch.size, off)
        if not admitted:
            return self._ask(place + 1, batch)
        if admitted == batch.size:
            return [self._try(place, batch)]
        here, rest = range(admitted), range(admitted, batch.size)
        first = moved([self._try(place, batch.take(here))], here)
        return first + moved(self._ask(place + 1, batch.take(rest)), rest)

    def _try(self, place: int, batch: Batch) -> Part:
        side, fork = self._sides[place], batch.fork()
        limit = None
        if self.timeout is not None:
            late = DeadlineExceeded(f"{side.label}: no answer within {self.timeout:g} s")
            limit = Limit(self.timeout, late)
        further = partial(self._ask, place + 1)
        then = Try(side, batch, fork, limit.error if limit else None, side.turn, further, self.clock)
        return Part(fork, side.node, then=then, limit=limit)


def fallback(
    first: Any,
    *others: Any,
    timeout: float | None = None,
    breaker: Breaker | None = DEFAULT,
    name: str = "fallback",
) -> Fallback:
    """Ask a node, and a lighter one or a constant for the rows that it does not answer.

    A row goes on when its outcome is a failure of the server (status 500 and above) or takes longer than `timeout`,
    in seconds; not for a fault of the client's own, not when the caller left or the row's own deadline has passed.
    The last side may be any value: every row gets a copy of it. `breaker` keeps rows away from a side that keeps
    failing; `hansang switch off NAME` keeps them away from the first side. The row's trail says which side answered.

    Raises `UsageError` without a second side, and for a constant that is not the last one.
    """
    values = (first, *others)
    if not others:
        raise UsageError(f"{name} has nothing to fall back on; give a second node, or a constant")
    if timeout is not None and not timeout > 0:
        raise UsageError(f"the timeout of {name} is in seconds, above 0, got {timeout!r}")
    if breaker is not None and not isinstance(breaker, Breaker):
        raise UsageError(f"the breaker of {name} is a Breaker or None, got {breaker!r}")
    last = values[-1]
    if isinstance(last, Exception):
        raise UsageError(f"{name} ends with an exception; give a function that raises it")
    end = as_node(last) if isinstance(last, Node) or callable(last) else Constant(last)
    return Fallback((*map(as_node, values[:-1]), end), timeout, breaker, name)
