from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hansang.batch import Batch
from hansang.call import Call, Step
from hansang.models.batcher import Batcher, Limits
from hansang.testing import Clock, HeldLanes, turns

STEP = Step("model", "digits", "3")


class Bench:
    """A batcher of a model that doubles its rows, on lanes and a clock that the test moves."""

    def __init__(self, predict: Callable[[Batch], Any] | None = None, **options: Any) -> None:
        self.clock, self.lanes = Clock(), HeldLanes()
        self.seen: list[list[Any]] = []
        self.takes = 0.0
        self.dropped: list[tuple[str, int]] = []
        self.observed: list[tuple[int, float, float]] = []
        self._answer = predict or (lambda batch: [row * 2 for row in batch.rows])
        bucket = options.pop("bucket", None)
        self.batcher = Batcher(
            self._predict,
            Limits(**options),
            step=STEP,
            bucket=bucket,
            observe=lambda *call: self.observed.append(call),
            dropped=lambda *drop: self.dropped.append(drop),
            clock=self.clock,
            lanes=self.lanes,
        )

    def _predict(self, batch: Batch) -> Batch:
        self.seen.append(list(batch.rows))
        self.clock.advance(self.takes)
        return batch.replace(self._answer(batch), name="digits")

    async def send(self, *rows: Any, background: bool = False, **call: Any) -> asyncio.Task[Batch]:
        batch = Batch.of(list(rows), [Call(row=n, **call) for n in range(len(rows))])
        return await self.send_batch(batch, background)

    async def send_batch(self, batch: Batch, background: bool = False) -> asyncio.Task[Batch]:
        batch.background = background
        task = asyncio.create_task(self.batcher(batch))
        await turns()
        return task

    def teach(self, per_row: float, per_call: float) -> None:
        """Let the batcher know the model's cost."""
        for rows in (1, 8, 32, 1, 16, 64, 8, 32, 4):
            self.batcher.cost.observe(rows, per_row * rows + per_call)

    async def finish(self, seconds: float = 0.0) -> None:
        self.takes = seconds
        self.lanes.finish()
        self.takes = 0.0
        await turns()
