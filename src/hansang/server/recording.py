"""What a turn writes into the prediction record: groups of rows that share a batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from hansang.batch import Batch
from hansang.call import Call, Step
from hansang.codec import Codec, encode_any
from hansang.errors import RecordError, status_of
from hansang.record import Recorder, Rows, Shared
from hansang.server.ask import Ask
from hansang.server.guard import Guard
from hansang.server.keeping import Keeping, Kept
from hansang.server.quiet import told

Trail = Sequence[Step]


@dataclass(slots=True)
class Line:
    """One row to be recorded."""

    latency: float
    input: bytes
    call: Call
    output: bytes
    error: Exception | None


class Recording:
    """Writes the answered rows of one endpoint; a row that did not fit the schema is kept without its input."""

    def __init__(
        self,
        recorder: Recorder,
        service: str,
        endpoint: str,
        codec: Codec,
        guard: Guard | None = None,
        keeping: Keeping | None = None,
    ) -> None:
        self.recorder = recorder
        self.service, self.endpoint = service, endpoint
        self.codec = codec
        self.guard, self.keeping = guard, keeping
        self._keep: Callable[[list[Rows]], None] = recorder.write if guard is None else self._put
        self.told: Callable[[BaseException], str] = str if guard is None else told
        self._shared: dict[tuple[Any, ...], Shared] = {}

    def write(
        self,
        asks: list[Ask],
        bodies: list[bytes],
        errors: dict[int, Exception],
        latencies: list[float],
        kept: Kept | None = None,
    ) -> None:
        """Record every row of these asks in one write; `errors` are by position, `kept` is what there is already.

        Raises `RecordError` when nothing may be answered unrecorded.
        """
        if errors or len(bodies) != len(asks) or kept is not None:
            self._put(self._groups(self._lines(asks, bodies, errors, latencies, kept), "live"), bodies=kept is None)
            return
        trails = [ask.calls[0].trail for ask in asks]
        first = trails[0]
        if trails[-1] == first and trails.count(first) == len(trails):
            self._keep([self._group(asks, bodies, latencies, first)])
            return
        self._keep(
            [self._group(cut(asks, at), cut(bodies, at), cut(latencies, at), trails[at[0]]) for at in alike(trails)]
        )

    def _put(self, groups: list[Rows], *, bodies: bool = True) -> None:
        if self.guard is not None:
            for group in groups:
                self.guard.protect(group, bodies=bodies)
        self.recorder.write(groups)

    def beside(self, rows: Batch, answers: Batch, seconds: float, role: str = "shadow") -> None:
        """Record answers that were not sent, under the ids of the live ones; the live rows hold the input.

        A row that belongs to no prediction, as the readiness check's, is left out. What cannot be written is counted
        by the recorder and never raised: nobody waits for it.
        """
        lines = []
        for call, outcome in zip(rows.calls, answers.rows, strict=True):
            if call.id:
                output, error = self._outcome(outcome)
                lines.append(Line(seconds, b"", call, output, error))
        outputs = [line.output for line in lines]
        keeper = self.guard.output if self.guard is not None else None
        if self.keeping is None or not self.keeping.later(outputs, keeper, partial(self._put_beside, lines, role)):
            self._put_beside(lines, role)

    def _put_beside(self, lines: list[Line], role: str, kept: list[bytes] | None = None) -> None:
        """Write the lines; `kept` are their outputs as they are kept, where that is known."""
        for line, output in zip(lines, kept or (), strict=False):
            line.output = output
        try:
            self._put(self._groups(lines, role), bodies=kept is None)
        except RecordError:
            self.recorder.lost["not answered"] += len(lines)

    def _outcome(self, outcome: Any) -> tuple[bytes, Exception | None]:
        """Write a prediction by the endpoint's schema, or as it is where it is not the endpoint's whole answer."""
        if isinstance(outcome, Exception):
            return b"", outcome
        try:
            return self.codec.encode(outcome), None
        except Exception:
            try:
                return encode_any(outcome), None
            except Exception as error:
                return b"", error

    def _group(self, asks: list[Ask], bodies: list[bytes], latencies: list[float], trail: Trail) -> Rows:
        """Make the usual group: one row a request, all answered by the same batch."""
        if self.keeping is None:
            input_json = self.codec.input_json
            inputs = [ask.raw if ask.raw is not None else input_json(ask.rows[0]) for ask in asks]
        else:
            inputs = [self._input(ask, 0) for ask in asks]
        calls = [ask.calls[0] for ask in asks]
        return Rows(
            self._share(trail, "live"),
            *waited(trail),
            [ask.id for ask in asks],
            time.time(),
            latencies,
            inputs,
            bodies,
            request_ids=sparse([call.request_id for call in calls]),
            keys=sparse([call.key for call in calls]),
            tags=sparse([call.tags for call in calls]),
        )

    def _lines(
        self,
        asks: list[Ask],
        bodies: list[bytes],
        errors: dict[int, Exception],
        latencies: list[float],
        kept: Kept | None = None,
    ) -> list[Line]:
        """Make a line of every row, whatever happened to it."""
        if kept is not None:
            bodies = kept.outputs
        lines: list[Line] = []
        for ask, latency in zip(asks, latencies, strict=True):
            for place, call in enumerate(ask.calls):
                position = len(lines)
                written = self._input(ask, place) if kept is None else kept.inputs[position]
                lines.append(Line(latency, written, call, bodies[position], errors.get(position)))
        return lines

    def _groups(self, lines: list[Line], role: str) -> list[Rows]:
        """Make groups of the rows that share a batch."""
        places = alike([line.call.trail for line in lines])
        return [self._rows(cut(lines, group), role) for group in places]

    def _rows(self, lines: list[Line], role: str) -> Rows:
        trail = lines[0].call.trail
        errors = [line.error for line in lines]
        return Rows(
            self._share(trail, role),
            *waited(trail),
            [line.call.id for line in lines],
            time.time(),
            [line.latency for line in lines],
            [line.input for line in lines],
            [line.output for line in lines],
            numbers=[line.call.row for line in lines],
            statuses=[200 if error is None else status_of(error) for error in errors],
            request_ids=sparse([line.call.request_id for line in lines]),
            keys=sparse([line.call.key for line in lines]),
            errors=sparse([None if error is None else self.told(error) for error in errors]),
            tags=sparse([line.call.tags for line in lines]),
        )

    def _input(self, ask: Ask, place: int) -> bytes:
        if ask.inputs is not None:
            return ask.inputs[place]
        row = ask.rows[place]
        if isinstance(row, Exception):
            return b""  # it did not fit the schema, so no field policy could be applied to it
        return ask.raw if ask.raw is not None else self.codec.input_json(row)

    def _share(self, trail: Trail, role: str) -> Shared:
        key = (role, *[(step.node, step.model, step.version, step.variant, step.cached) for step in trail])
        shared = self._shared.get(key)
        if shared is None:
            models = [step for step in trail if step.model]
            if len(self._shared) > 1000:  # a service that makes ever new variants must not fill the memory
                self._shared.clear()
            shared = self._shared[key] = Shared(
                self.service,
                self.endpoint,
                ",".join(step.node for step in trail),
                ",".join(step.model for step in models),
                ",".join(step.version for step in models),
                ",".join(step.variant for step in trail if step.variant),
                role,
                any(step.cached for step in trail),
            )
        return shared


def alike(trails: Sequence[Trail]) -> Iterator[Sequence[int]]:
    """Group the places of equal trails, in their order; rows that were answered together stand together."""
    if not trails:
        return
    groups: dict[tuple[int, ...], list[Sequence[int]]] = {}
    run, start = trails[0], 0
    for place, trail in enumerate(trails):
        if trail != run:
            groups.setdefault(tuple(map(id, run)), []).append(range(start, place))
            run, start = trail, place
    groups.setdefault(tuple(map(id, run)), []).append(range(start, len(trails)))
    for runs in groups.values():
        yield runs[0] if len(runs) == 1 else list(chain.from_iterable(runs))


def cut(column: list[Any], places: Sequence[int]) -> list[Any]:
    """Give the values at these places."""
    if isinstance(places, range):
        return column[places.start : places.stop]
    return [column[place] for place in places]


def waited(trail: Trail) -> tuple[int, float]:
    """Give the size of the last batch that a model saw, and the seconds spent waiting for models."""
    rows, queue = 0, 0.0
    for step in trail:
        if step.rows:
            rows, queue = step.rows, queue + step.queue
    return rows, queue


def sparse(column: list[Any]) -> list[Any] | None:
    """Give a column, or `None` when nobody uses it."""
    return column if column.count(None) != len(column) else None
