"""Payloads on their way to the disk: off the event loop, and there before the row and the answer that need them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter as Counts
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hansang.codec import Codec
from hansang.errors import Unavailable
from hansang.metrics import Counter
from hansang.record.payloads import Found, Payloads, shrunk
from hansang.server.ask import Ask
from hansang.server.guard import Guard

if TYPE_CHECKING:
    from hansang.server.turn import Turn

log = logging.getLogger("hansang")

Fit = Callable[[bytes], bytes]
STORED, KNOWN, LOST = "stored", "known", "lost"
UNWRITTEN = "the payloads of the request cannot be written"
QUIET = 1.0  # seconds between two lines of the log


@dataclass(slots=True)
class Kept:
    """What the record holds of a request's rows once their payloads are written."""

    inputs: list[bytes]
    outputs: list[bytes]
    counts: Counts[str]


@dataclass(slots=True, eq=False)
class Keeping:
    """Writes the payloads of one process; `limit` is the size above which a body does not fit into a row.

    A request with payloads is answered by a task of its own when a thread has written them; the others of its turn do
    not wait for it. With `stop`, a request whose payloads cannot be written is answered 503; else they are counted as
    lost and the row has their hash all the same.
    """

    payloads: Payloads
    limit: int
    stop: bool
    counter: Callable[[str], Counter]
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _said: float = field(default=float("-inf"), init=False)

    async def __aenter__(self) -> Keeping:
        for result in (STORED, KNOWN, LOST):
            self.counter(result)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.tasks:
            await asyncio.wait(self.tasks)

    # --- requests ---

    def take(self, turn: Turn, asks: list[Ask], bodies: list[bytes], errors: dict[int, Exception]) -> bool:
        """Take requests over when one of them has payloads; it is settled later, the others at once."""
        heavy: list[tuple[Ask, int]] = []
        start = 0
        for ask in asks:
            stop = start + len(ask.rows)
            if not ask.held and self._is_heavy(ask, bodies[start:stop], turn.codec):
                heavy.append((ask, start))
            start = stop
        for ask, start in heavy:
            ask.held = True
            stop = start + len(ask.rows)
            faults = {place - start: errors[place] for place in range(start, stop) if place in errors}
            turn.serving.in_flight += len(ask.rows)
            turn.tasks.add(asyncio.create_task(self._settle(turn, ask, bodies[start:stop], faults)))
        if heavy and len(heavy) < len(asks):
            self._settle_rest(turn, asks, bodies, errors)
        return bool(heavy)

    def _is_heavy(self, ask: Ask, bodies: Sequence[bytes], codec: Codec) -> bool:
        """Say whether a request has payloads; the rows are written as JSON for that, once."""
        if codec.uploads:
            return not all(isinstance(row, Exception) for row in ask.rows)
        if ask.raw is not None:
            sizes = [len(ask.raw)]
        else:
            ask.inputs = [b"" if isinstance(row, Exception) else codec.input_json(row) for row in ask.rows]
            sizes = list(map(len, ask.inputs))
        return max(*sizes, *map(len, bodies)) > self.limit

    @staticmethod
    def _settle_rest(turn: Turn, asks: list[Ask], bodies: list[bytes], errors: dict[int, Exception]) -> None:
        light: list[Ask] = []
        kept: list[bytes] = []
        faults: dict[int, Exception] = {}
        start = 0
        for ask in asks:
            stop = start + len(ask.rows)
            if not ask.held:
                light.append(ask)
                faults |= {len(kept) + n - start: errors[n] for n in range(start, stop) if n in errors}
                kept += bodies[start:stop]
            start = stop
        turn.settle(light, kept, faults)

    async def _settle(self, turn: Turn, ask: Ask, bodies: list[bytes], errors: dict[int, Exception]) -> None:
        """Have the payloads of a request written, then answer it."""
        guard = turn.recording.guard if turn.recording is not None else None
        kept = None
        try:
            kept = await asyncio.to_thread(self._write, ask, bodies, turn.codec, guard)
            self._count(kept.counts)
            if self.stop and kept.counts[LOST]:
                errors = dict.fromkeys(range(len(ask.rows)), Unavailable(UNWRITTEN, retry_after=5.0))
        except asyncio.CancelledError:
            gone = Unavailable("the service ended before the answer", retry_after=1.0)
            errors = dict.fromkeys(range(len(ask.rows)), gone)
            raise
        except Exception as error:  # whatever it was, the row is recorded, and answered
            self._say(error)
        finally:
            if not ask.answered:
                turn.settle([ask], bodies, errors, kept)
            turn.serving.settled(len(ask.rows))
            turn.tasks.discard(asyncio.current_task())

    def _write(self, ask: Ask, bodies: list[bytes], codec: Codec, guard: Guard | None) -> Kept:
        """Write the payloads of a request; works in a thread."""
        found: Found = {}
        inputs = []
        for place, row in enumerate(ask.rows):
            if isinstance(row, Exception):
                inputs.append(b"")
                continue
            written = ask.raw if ask.inputs is None else ask.inputs[place]
            if written is None:
                written = codec.input_json(row, {"payloads": found})
            inputs.append(self._fit(written, guard.input if guard is not None else None, found))
        outputs = [self._fit(body, guard.output if guard is not None else None, found) for body in bodies]
        return Kept(inputs, outputs, self._put(found, [*inputs, *outputs]))

    def _fit(self, body: bytes, keeper: Fit | None, found: Found) -> bytes:
        return shrunk(body if keeper is None else keeper(body), self.limit, found)

    def _put(self, found: Found, bodies: list[bytes]) -> Counts[str]:
        """Write the payloads that these bodies refer to; one that a policy has taken out is not."""
        counts: Counts[str] = Counts()
        for name, data in found.items():
            if any(name.encode() in body for body in bodies):
                try:
                    counts[STORED if self.payloads.put(name, data) else KNOWN] += 1
                except OSError as error:
                    counts[LOST] += 1
                    self._say(error)
        return counts

    def _count(self, counts: Counts[str]) -> None:
        for result, payloads in counts.items():
            self.counter(result).add(payloads)

    def _say(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._said >= QUIET:
            self._said = now
            log.error("a payload is not kept: %s: %s", type(error).__name__, error)

    # --- answers that nobody waits for ---

    def later(self, outputs: list[bytes], keeper: Fit | None, write: Callable[[list[bytes]], None]) -> bool:
        """Write the payloads of answers beside the live ones, then the rows; False when there are none."""
        if max(map(len, outputs), default=0) <= self.limit:
            return False
        task = asyncio.create_task(self._write_later(outputs, keeper, write))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return True

    async def _write_later(
        self, outputs: list[bytes], keeper: Fit | None, write: Callable[[list[bytes]], None]
    ) -> None:
        def work() -> Kept:
            found: Found = {}
            kept = [self._fit(body, keeper, found) for body in outputs]
            return Kept([], kept, self._put(found, kept))

        try:
            kept = await asyncio.to_thread(work)
            outputs = kept.outputs
            self._count(kept.counts)
        except Exception as error:
            self._say(error)
            outputs = [body if keeper is None else keeper(body) for body in outputs]
        write(outputs)
