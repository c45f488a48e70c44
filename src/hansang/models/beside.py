"""A challenger in memory, beside the champion: the version of a rollout as a node, and what follows the rollout."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from hansang.batch import Batch
from hansang.errors import RegistryUnavailable, UsageError
from hansang.graph import Node
from hansang.lanes import Lane
from hansang.models.loaded import Loaded
from hansang.models.registry import ModelVersion, Registered
from hansang.models.rollout import RUNNING, Rollout, read_rollout
from hansang.models.standing import Refused

log = logging.getLogger("hansang")


@dataclass(frozen=True, slots=True, eq=False)
class Version(Node):
    """A loaded version as a node; batches that are under way in it are counted, as those in a `Model` are."""

    loaded: Loaded

    @property
    def label(self) -> str:
        """The name of its model, and what it is there."""
        return f"{self.loaded.name}-challenger"

    async def __call__(self, batch: Batch) -> Batch:
        """Predict a batch through the queue of the version."""
        loaded = self.loaded
        loaded.users += 1
        try:
            return await loaded.batcher(batch)
        finally:
            loaded.users -= 1
            if loaded.ended is not None and not loaded.users:
                loaded.ended()

    def prompt(self, batch: Batch) -> bool:
        """Say whether it would run on the event loop, at once."""
        return self.loaded.batcher.prompt(batch)

    def fingerprint(self) -> str:
        """Say what is in memory."""
        return self.loaded.fingerprint


class Stage(Protocol):
    """Where a managed model stands in a graph, and a challenger may stand beside it."""

    @property
    def model(self) -> Any:
        """The managed model."""

    async def show(self, rollout: Rollout | None, challenger: Loaded | None) -> None:
        """Let a rollout begin, go on with another share, or end; raises `UsageError` when it cannot be like this."""


@dataclass(eq=False)
class Beside:
    """Keeps the challenger of a registered model where the registry's rollout says, in this process.

    `prepare` loads and verifies a version for each of the models, `refuse` tells everybody that it is no good, and
    `let_go` frees versions when their last request is done. `ask` reads the registry once more after a load, `counted`
    hears of what became of rollouts, and `changed` that there is something new to tell.
    """

    name: str
    models: Sequence[Any]
    stages: Sequence[Stage]
    lane: Lane
    prepare: Callable[[str], tuple[ModelVersion, list[Loaded]]]
    refuse: Callable[[str, Exception], Awaitable[Refused]]
    still_refused: Callable[[Refused], Awaitable[bool]]
    let_go: Callable[[list[Loaded]], None]
    ask: Callable[[], Awaitable[Registered | None]]
    counted: Callable[[str], None]
    changed: Callable[[], None]
    now: Rollout | None = None
    loaded: list[Loaded] = field(default_factory=list)
    found: ModelVersion | None = None
    loading: str | None = None
    refused: Refused | None = None

    @property
    def rolls(self) -> bool:
        """Whether a rollout runs here, or would if its challenger were any good: somebody must watch it."""
        return self.now is not None or self.refused is not None

    def facts(self) -> dict[str, Any] | None:
        """Give what is rolled out here as JSON values; None when nothing is, and nothing was refused."""
        if self.now is None and self.loading is None and self.refused is None:
            return None
        refused = self.refused and {"version": self.refused.version, "reason": self.refused.reason}
        now = self.now.facts() if self.now is not None else {"id": None}
        return {**now, "loading": self.loading, "refused": refused}

    async def follow(self, said: Registered, champion: str) -> bool:
        """Do what the registry says of the rollout; gives whether anything has changed.

        Where the champion that answers here is not the rollout's, it is over, or does not begin yet.
        """
        wanted = read_rollout(said.tags)
        if wanted is None or not wanted.holds(said) or wanted.champion != champion or not self.stages:
            changed = self.now is not None or self.refused is not None
            self.refused = None
            await self.end(wanted, champion)
            return changed
        if wanted == self.now:
            return False
        if self.refused is not None and self.refused.version == wanted.challenger:
            if await self.still_refused(self.refused):
                return False
        self.refused = None
        return await self._begin(wanted)

    async def _begin(self, wanted: Rollout) -> bool:
        """Load the challenger, unless it is here, and give it its share."""
        if self.now is not None and self.now.challenger != wanted.challenger:
            await self.end(None)
        if not self.loaded and not await self._load(wanted):
            return True
        try:
            await self._show(wanted)
        except UsageError as error:
            await self.end(None)
            self.refused = await self.refuse(wanted.challenger, error)
            return True
        log.info(
            "%s: rollout %s: version %s has %.4g%% as a %s",
            self.name,
            wanted.id,
            wanted.challenger,
            wanted.share * 100.0,
            wanted.mode,
        )
        self.counted(wanted.mode)
        return True

    async def _load(self, wanted: Rollout) -> bool:
        """Load and verify the challenger; says whether it is here, and still wanted."""
        self.loading = wanted.challenger
        self.changed()
        try:
            self.found, loaded = await self.lane.run(partial(self.prepare, wanted.challenger))
        except RegistryUnavailable as error:
            log.warning("%s: the challenger waits: %s", self.name, error)
            return False
        except Exception as error:  # whatever the files of a version do, the champion answers on
            self.refused = await self.refuse(wanted.challenger, error)
            return False
        finally:
            self.loading = None
        said = await self.ask()
        if said is not None and (read_rollout(said.tags) != wanted or not wanted.holds(said)):
            log.warning("%s: rollout %s changed while its challenger was loaded", self.name, wanted.id)
            self.let_go(loaded)
            return False
        self.loaded = loaded
        return True

    async def _show(self, wanted: Rollout | None) -> None:
        beside = dict(zip(map(id, self.models), self.loaded, strict=False))
        self.now = wanted
        await asyncio.gather(*(stage.show(wanted, beside.get(id(stage.model))) for stage in self.stages))

    def take(self, version: str) -> list[Loaded]:
        """Give the challenger away if it is this version, which becomes the champion; nothing otherwise."""
        if not self.loaded or self.loaded[0].version != version:
            return []
        taken, self.loaded = self.loaded, []
        return taken

    async def end(self, said: Rollout | None, champion: str = "") -> None:
        """Let the champion answer alone, and free the challenger; `said` is what the registry says of the rollout."""
        if self.now is None:
            return
        before = self.now
        self.now = None
        loaded, self.loaded = self.loaded, []
        await asyncio.gather(*(stage.show(None, None) for stage in self.stages))
        self.let_go(loaded)
        over = "promoted" if champion == before.challenger else "ended"
        if said is not None and said.id == before.id and said.state != RUNNING:
            over = said.state
        self.counted(over.replace(" ", "_"))
        log.info("%s: rollout %s of version %s is over: %s", self.name, before.id, before.challenger, over)
