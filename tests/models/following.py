"""A managed model at work in this process, and waiting for what happens to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from hansang import Batch, Model
from hansang.call import Call
from hansang.metrics import Metrics
from hansang.models.cache import Cache
from hansang.models.managed import Follower
from hansang.models.registry import Registry
from hansang.models.uri import open_registry
from hansang.nodes.rolled import Rolled, rolled
from hansang.settings import Settings
from hansang.site import Site


@dataclass
class Work:
    """A follower, its model, and its registry."""

    follower: Follower
    model: Model
    registry: Registry
    metrics: Metrics
    stage: Rolled
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, true: Callable[[], object]) -> None:
        """Wait until something is so; it can only become so when the follower tells something."""
        async with asyncio.timeout(15):
            while not true():
                self.news.clear()
                await self.news.wait()

    async def at(self, version: str) -> None:
        """Let the champion be this version, and wait until it answers."""
        self.registry.set_alias("steps", "champion", version)
        self.follower.hint()
        await self.until(lambda: self.follower.standing.version == version)

    async def refused(self, version: str) -> str:
        """Let the champion be this version, and wait until it is refused; gives the reason."""
        self.registry.set_alias("steps", "champion", version)
        self.follower.hint()
        await self.until(lambda: (found := self.follower.standing.refused) is not None and found.version == version)
        assert self.follower.standing.refused is not None
        return self.follower.standing.refused.reason

    async def ask(self, x: float = 1.5, id: str = "") -> tuple[float, str]:
        """Give a prediction, and the version that its trail names."""
        batch = Batch([{"x": x}], [Call(id)])
        answers = await self.stage(batch)
        return answers.rows[0]["y"], batch.calls[0].trail[-1].version

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.counter(name, TEXTS[name], model="steps", **labels).value


TEXTS = {
    "hansang_registry_polls_total": "Polls of the registry.",
    "hansang_model_swaps_total": "Changes of the version that answers.",
}


@asynccontextmanager
async def following(
    registry: str, cache: Any, poll: float = 60.0, keep: bool = True, **options: Any
) -> AsyncIterator[Work]:
    """Follow `models:/steps`; polls come by hints unless `poll` is short."""
    settings = Settings(registry=registry, registry_poll=poll, registry_keep=keep)
    model, metrics = Model("models:/steps", **options), Metrics()
    await asyncio.to_thread(model.load, settings, metrics)
    source = open_registry(registry)
    stage = rolled(model, Site(metrics=metrics))
    assert isinstance(stage, Rolled)
    follower = Follower("steps", [model], source, settings, metrics, cache=Cache(cache), stages=[stage])
    work = Work(follower, model, source, metrics, stage)
    follower.changed = work.news.set
    try:
        async with follower:
            await asyncio.sleep(0)
            await follower.lane.run(lambda: None)  # the first poll has been
            yield work
    finally:
        model.unload()
