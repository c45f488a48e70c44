"""What a turn writes into the prediction record: groups of rows that share a batch."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from hansang.call import Call, Step
from hansang.codec import Codec
from hansang.errors import status_of
from hansang.record import Recorder, Rows, Shared
from hansang.server.ask import Ask

NO_STEP = Step("")


@dataclass(slots=True)
class Line:
    """One row to be recorded."""

    id: str
    latency: float
    input: bytes
    call: Call
    output: bytes
    error: Exception | None


class Recording:
    """Writes the answered rows of one endpoint; a row that did not fit the schema is kept without its input."""

    def __init__(self, recorder: Recorder, service: str, endpoint: str, codec: Codec) -> None:
        self.recorder = recorder
        self.service, self.endpoint = service, endpoint
        self.codec = codec
        self._shared: dict[tuple[tuple[Any, ...], ...], Shared] = {}

    def write(
        self, asks: list[Ask], ids: list[str], bodies: list[bytes], errors: dict[int, Exception], latencies: list[float]
    ) -> None:
        """Record every row of these asks in one write; `errors` are by position.

        Raises `RecordError` when nothing may be answered unrecorded.
        """
        recorder = self.recorder
        first = asks[0].calls[0].trail
        plain = len(bodies) == len(asks) and not errors
        if plain and all(ask.calls[0].trail == first for ask in asks):
            recorder.write([self._group(asks, ids, bodies, latencies, first)])
        else:
            recorder.write(self._groups(asks, ids, bodies, errors, latencies))

    def _group(
        self, asks: list[Ask], ids: list[str], bodies: list[bytes], latencies: list[float], trail: list[Step]
    ) -> Rows:
        """Make the usual group: one row a request, all answered by the same batch."""
        last = trail[-1] if trail else NO_STEP
        input_json = self.codec.input_json
        calls = [ask.calls[0] for ask in asks]
        return Rows(
            self._share(trail),
            last.rows,
            last.queue,
            ids,
            time.time(),
            latencies,
            [ask.raw if ask.raw is not None else input_json(ask.rows[0]) for ask in asks],
            bodies,
            request_ids=sparse([call.request_id for call in calls]),
            keys=sparse([call.key for call in calls]),
            tags=sparse([call.tags for call in calls]),
        )

    def _groups(
        self, asks: list[Ask], ids: list[str], bodies: list[bytes], errors: dict[int, Exception], latencies: list[float]
    ) -> list[Rows]:
        """Make groups of rows that share a batch, whatever happened to them."""
        lines = []
        position = 0
        for ask, id, latency in zip(asks, ids, latencies, strict=True):
            for row, call in zip(ask.rows, ask.calls, strict=True):
                lines.append(Line(id, latency, self._input(ask, row), call, bodies[position], errors.get(position)))
                position += 1
        return [self._lines(list(run)) for _, run in groupby(lines, key=lambda line: tuple(line.call.trail))]

    def _lines(self, lines: list[Line]) -> Rows:
        trail = lines[0].call.trail
        last = trail[-1] if trail else NO_STEP
        errors = [line.error for line in lines]
        return Rows(
            self._share(trail),
            last.rows,
            last.queue,
            [line.id for line in lines],
            time.time(),
            [line.latency for line in lines],
            [line.input for line in lines],
            [line.output for line in lines],
            numbers=[line.call.row for line in lines],
            statuses=[200 if error is None else status_of(error) for error in errors],
            request_ids=sparse([line.call.request_id for line in lines]),
            keys=sparse([line.call.key for line in lines]),
            errors=sparse([None if error is None else str(error) for error in errors]),
            tags=sparse([line.call.tags for line in lines]),
        )

    def _input(self, ask: Ask, row: Any) -> bytes:
        if isinstance(row, Exception):
            return b""  # it did not fit the schema, so no field policy could be applied to it
        return ask.raw if ask.raw is not None else self.codec.input_json(row)

    def _share(self, trail: list[Step]) -> Shared:
        key = tuple([(step.node, step.model, step.version, step.variant, step.cached) for step in trail])
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
                cached=any(step.cached for step in trail),
            )
        return shared


def sparse(column: list[Any]) -> list[Any] | None:
    """Give a column, or `None` when nobody uses it."""
    return column if column.count(None) != len(column) else None
