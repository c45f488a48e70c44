"""One side of a fallback at work: whether it is asked, what came of it, and who is told."""

from __future__ import annotations

import logging
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hansang.batch import Batch
from hansang.call import Step
from hansang.errors import CallerLeft, DeadlineExceeded, Overloaded, status_of
from hansang.graph import Node
from hansang.metrics import Counter
from hansang.nodes.breaker import CLOSED, HALF_OPEN, OPEN, Breaker, Circuit
from hansang.site import Site

OFF, NONE = "off", "none"
STATES = (CLOSED, HALF_OPEN, OPEN, OFF)
FAILED, TIMEOUT, OVERLOADED, DEADLINE, LEFT = "failed", "timeout", "overloaded", "deadline", "caller_left"
REASONS = (FAILED, TIMEOUT, OVERLOADED, DEADLINE, LEFT, OPEN, OFF)
NO_FAILURES: Counts[str] = Counts()

log = logging.getLogger("hansang")


class Side:
    """A node of a fallback; the last one has nobody behind it, and is always asked."""

    def __init__(
        self, node: Node, label: str, fallback: str, last: bool, breaker: Breaker | None, clock: Callable[[], float]
    ) -> None:
        self.node = node
        self.label = label
        self.last = last
        self.step = Step(fallback, variant=label)
        self.circuit = Circuit(breaker, clock) if breaker is not None and not last else None
        self.state = CLOSED
        self._clock = clock
        self._told = float("-inf")
        self._served: Counter | None = None
        self._unserved: Counter | None = None
        self._missed: dict[str, Counter] = {}
        self._states: dict[str, Counter] = {}
        self._openings: Counter | None = None

    def bind(self, site: Site) -> None:
        """Take the counters of an endpoint."""
        node, rows = self.step.node, "Rows by the side that answered them."
        self._served = site.counter("hansang_fallback_rows_total", rows, node=node, served=self.label)
        self._unserved = site.counter("hansang_fallback_rows_total", rows, node=node, served=NONE)
        if self.last:
            return
        names = {"node": node, "side": self.label}
        for reason in REASONS:
            text = "Rows that a side did not answer."
            self._missed[reason] = site.counter("hansang_fallback_missed_rows_total", text, reason=reason, **names)
        for state in STATES:
            text = "Workers whose breaker is in this state."
            self._states[state] = site.gauge("hansang_breaker_state", text, state=state, **names)
        self._openings = site.counter("hansang_breaker_openings_total", "Openings of a breaker.", **names)
        self._states[self.state].set(1)

    @property
    def turn(self) -> int:
        """The turn of the breaker; see `Circuit`."""
        return self.circuit.turn if self.circuit is not None else 0

    # --- before ---

    def admit(self, rows: int, off: bool) -> int:
        """Say how many of these rows this side is asked for; none when it is switched `off`."""
        circuit = self.circuit
        admitted = 0 if off else rows if circuit is None else circuit.admit(rows)
        self._show(OFF if off else CLOSED if circuit is None else circuit.state)
        if admitted < rows:
            self._miss(OFF if off else OPEN, rows - admitted)
        return admitted

    # --- after ---

    def failures(self, rows: Batch, answers: Batch, late: Exception | None) -> dict[int, str]:
        """Find the rows that this side did not answer, and why; a fault of the client's own is an answer.

        `late` is the outcome of those that took too long.
        """
        calls = rows.calls if rows.has_calls else None
        why = {}
        for place, outcome in enumerate(answers.rows):
            reason = reason_of(outcome, late, calls is not None and calls[place].deadline is not None)
            if reason:
                why[place] = reason
                self._tell(outcome, reason)
        return why

    def note(self, rows: int, failures: Mapping[int, str], turn: int) -> None:
        """Take what came of so many rows that this side was asked for in a turn of its breaker."""
        counts = Counts(failures.values()) if failures else NO_FAILURES
        for reason, number in counts.items():
            self._miss(reason, number)
        circuit = self.circuit
        if circuit is None:
            return
        bad, before = counts[FAILED] + counts[TIMEOUT], circuit.openings
        circuit.note(rows - len(failures), bad, len(failures) - bad, turn=turn)
        if self.state != OFF:
            self._show(circuit.state)
        if circuit.openings > before:
            log.warning("%s: the breaker of %s opened for %g s", self.step.node, self.label, circuit.breaker.open_for)
            if self._openings is not None:
                self._openings.add()

    def serve(self, rows: Batch, answers: Batch) -> None:
        """Note that these answers are the rows'."""
        if rows.has_calls:
            rows.mark(self.step)
        if self._served is None or self._unserved is None:
            return
        lost = sum(bool(reason_of(outcome)) for outcome in answers.rows) if answers.failed else 0
        self._served.add(rows.size - lost)
        self._unserved.add(lost)

    def _miss(self, reason: str, rows: int) -> None:
        counter = self._missed.get(reason)
        if counter is not None:
            counter.add(rows)

    def _show(self, state: str) -> None:
        if state != self.state:
            if self._states:
                self._states[self.state].set(0)
                self._states[state].set(1)
            self.state = state

    def _tell(self, error: Exception, reason: str) -> None:
        """Log why a row is not answered; once a second, for a node that is down answers none."""
        now = self._clock()
        if now - self._told >= 1.0 and reason != LEFT:
            self._told = now
            log.warning(
                "%s: %s did not answer (%s): %s", self.step.node, self.label, reason, error, exc_info=error.__cause__
            )


def reason_of(outcome: Any, late: Exception | None = None, has_deadline: bool = False) -> str:
    """Say why a row has no answer; nothing for a prediction, nor for a fault of the client's own.

    A full queue, and a deadline of the row's own that cannot be met, say nothing of the node's health.
    """
    if not isinstance(outcome, Exception):
        return ""
    if isinstance(outcome, CallerLeft):
        return LEFT
    if status_of(outcome) < 500:
        return ""
    if outcome is late:
        return TIMEOUT
    if isinstance(outcome, Overloaded):
        return OVERLOADED
    return DEADLINE if has_deadline and isinstance(outcome, DeadlineExceeded) else FAILED


def sides_of(
    nodes: Iterable[Node], fallback: str, breaker: Breaker | None, clock: Callable[[], float]
) -> tuple[Side, ...]:
    """Make the sides of a fallback; equal labels are told apart by a number."""
    nodes = tuple(nodes)
    labels: list[str] = []
    for node in nodes:
        names = (node.label, *(f"{node.label}-{number}" for number in range(2, len(nodes) + 1)))
        labels.append(next(name for name in names if name not in labels))
    last = len(nodes) - 1
    return tuple(
        Side(node, label, fallback, place == last, breaker, clock)
        for place, (node, label) in enumerate(zip(nodes, labels, strict=True))
    )
