"""Managed models: the versions that answer follow the registry's champion."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

from hansang.batch import Batch
from hansang.errors import ModelError, RegistryUnavailable, UsageError
from hansang.lanes import Lane
from hansang.metrics import Metrics
from hansang.models.artifact import Artifact
from hansang.models.beside import Beside, Stage
from hansang.models.cache import Cache
from hansang.models.compatible import check_compatible
from hansang.models.loaded import Loaded, free
from hansang.models.model import Model
from hansang.models.registry import CHAMPION, REFUSED, ModelVersion, Reference, Registered, Registry
from hansang.models.signature import Signature
from hansang.models.standing import OK, Refused, Standing, now
from hansang.models.start import fetched, uri_of
from hansang.models.uri import open_registry
from hansang.settings import Settings

log = logging.getLogger("hansang")

JITTER = 0.1


@dataclass(eq=False)
class Follower:
    """Keeps the models of one registered name at its champion, in this process, while it is entered.

    Every `settings.registry_poll` seconds, or at once after a `hint`, the registry is asked where its aliases point,
    in one call. Where `champion` moved, the version is loaded beside the old one on a thread, verified, warmed up, and
    takes over between two batches; the old one is kept for an instant way back, and the one before it is freed when
    its last request is done. A version that is no good is refused, once, until somebody moves the alias or removes
    the tag `hansang.refused`. While the registry does not answer everything stays as it is.

    A rollout that the registry has is followed too, where `stages` have room for a challenger; see `Beside`.

    `closed` names the models whose service has the schema of their signature; see `check_compatible`. `changed` is
    called when there is something new to tell.
    """

    name: str
    models: Sequence[Model]
    registry: Registry
    settings: Settings
    metrics: Metrics
    closed: Collection[Model] = ()
    cache: Cache = field(default_factory=Cache)
    changed: Callable[[], None] = lambda: None
    stages: Sequence[Stage] = ()
    standing: Standing = field(init=False)
    spare: list[Loaded] = field(default_factory=list, init=False)
    _served: list[Signature | None] = field(init=False)
    _created: int | None = field(default=None, init=False)
    _task: asyncio.Task[None] | None = field(default=None, init=False)
    _freeing: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self.lane = Lane(f"registry {self.name}")
        self._hinted = asyncio.Event()
        self._served = [model.loaded.runtime.signature for model in self.models]
        versions = {model.loaded.version for model in self.models}  # two, when the alias moved while they were loaded
        self.standing = Standing(self.name, "+".join(sorted(versions)), now())
        self._swaps("switched", 0)
        self.beside = Beside(
            self.name,
            self.models,
            self.stages,
            self.lane,
            self._prepare,
            self._refusal,
            self._stands,
            self._let_go,
            self._ask,
            self._rollouts,
            self._news,
        )

    async def __aenter__(self) -> Follower:
        self._live(self.standing.version, 1)
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self.spare += self.beside.loaded
        await self.beside.end(None)
        for task in list(self._freeing):
            task.cancel()
        for loaded in self.spare:
            loaded.batcher.close()
        self.spare = []
        self._live(self.standing.version, 0)
        self.lane.close()

    def hint(self) -> None:
        """Poll now: somebody says that something changed."""
        self._hinted.set()

    def _news(self) -> None:
        self.changed()

    async def _follow(self) -> None:
        while True:
            self._hinted.clear()
            try:
                await self.poll()
            except Exception:
                log.exception("this is a bug of hansang: following %s failed", self.name)
            pause = self.settings.registry_poll * (1.0 - JITTER * random.random())  # replicas do not come all at once
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._hinted.wait()

    async def poll(self) -> None:
        """Ask the registry once, and do what it says."""
        said = await self._ask()
        if said is None:
            return
        wanted = said.aliases.get(CHAMPION)
        if wanted is None:
            self._tell(f"{self.name!r} has no alias {CHAMPION!r}; it stays at version {self.standing.version}")
            return
        self._tell(OK)
        anew = self._created not in (None, said.created)  # deleted, and registered again under the same name
        self._created = said.created
        if wanted == self.standing.version and not anew:
            if self.standing.refused is not None:
                self.standing.refused = None
                self.changed()
        elif not await self._still_refused(wanted):
            await self._change(wanted, anew)
        if await self.beside.follow(said, self.standing.version):
            self.changed()

    async def _ask(self) -> Registered | None:
        """Read the registry; None, counted and told, when it does not answer."""
        try:
            said = await self.lane.run(partial(self.registry.registered, self.name))
        except UsageError as error:
            self._polls("unavailable")
            self._tell(str(error))
            return None
        self._polls(OK)
        return said

    async def _still_refused(self, version: str) -> bool:
        """Say whether a version was refused, and nobody has taken its tag away since."""
        refused = self.standing.refused
        return refused is not None and refused.version == version and await self._stands(refused)

    async def _stands(self, refused: Refused) -> bool:
        if not refused.told:
            return True
        try:
            return REFUSED in await self.lane.run(partial(self.registry.tags, self.name, refused.version))
        except UsageError:
            return True

    # --- a change ---

    async def _change(self, version: str, anew: bool) -> None:
        """Load, verify and switch; a version that is no good is refused."""
        if anew:  # what is kept has the numbers of another model
            self._let_go(self.spare)
            self.spare = []
            await self.beside.end(None)
        if ready := self.beside.take(version):  # it was the challenger, and is here
            self._switch(ready, "switched")
            if self.beside.found is not None:
                await self._accepted(self.beside.found)
            return
        if self.spare and self.spare[0].version == version:
            self._switch(self.spare, "rolled_back")
            return
        started = time.perf_counter()
        self.standing.loading = version
        self.changed()
        try:
            found, loaded = await self.lane.run(partial(self._prepare, version))
        except RegistryUnavailable as error:  # nothing is known of the version: the next poll tries again
            self._polls("unavailable")
            self._tell(str(error))
            return
        except Exception as error:  # whatever the files of a version do, the old one answers on
            await self._refuse(version, error)
            return
        finally:
            self.standing.loading = None
            self.changed()
        said = await self._ask()
        if said is not None and said.aliases.get(CHAMPION) != version:
            log.warning("%s: the alias moved on while version %s was loaded; it is not used", self.name, version)
            self._let_go(loaded)
            self._hinted.set()
            return
        text = "Time to load, verify and warm up a version."
        self.metrics.histogram("hansang_model_swap_seconds", text, model=self.name).observe(
            time.perf_counter() - started
        )
        self._switch(loaded, "switched", keep=not anew)
        await self._accepted(found)

    def _prepare(self, version: str) -> tuple[ModelVersion, list[Loaded]]:
        """Make a version ready beside the one that answers; on a thread."""
        try:
            found = self.registry.find(Reference(uri_of(self.name), "version", self.name, version))
        except ModelError as error:
            raise RegistryUnavailable(str(error)) from error  # it was there a moment ago; it may not be ready yet
        artifact = fetched(found, self.registry, self.cache)
        loaded: list[Loaded] = []
        try:
            for model, served in zip(self.models, self._served, strict=True):
                loaded.append(model.build(artifact, self.settings, self.metrics))
                check_compatible(served, loaded[-1].runtime.signature, model in self.closed)
                check_rows(loaded[-1], model.loaded.artifact)
        except BaseException:
            free(loaded)
            raise
        return found, loaded

    def _switch(self, loaded: list[Loaded], how: str, keep: bool = True) -> None:
        """Let other versions answer, all at once; the old ones are kept, those before them go."""
        before, after = self.standing.version, loaded[0].version
        old = [model.switch(each) for model, each in zip(self.models, loaded, strict=True)]
        if self.spare and self.spare is not loaded:
            self._let_go(self.spare)
        self.spare = old if keep and self.settings.registry_keep else []
        if not self.spare:
            self._let_go(old)
        self.standing = Standing(self.name, after, now(), self.spare[0].version if self.spare else None)
        self._live(before, 0)
        self._live(after, 1)
        self._swaps(how)
        log.info("%s: version %s answers now, before it %s", self.name, after, before)
        self.changed()

    def _let_go(self, loaded: list[Loaded]) -> None:
        """Free versions when the last request in them is done."""
        for each in loaded:
            idle = asyncio.Event()
            each.ended = idle.set
            if not each.users:
                idle.set()
            task = asyncio.create_task(self._free(idle, [each]))
            self._freeing.add(task)
            task.add_done_callback(self._freeing.discard)

    async def _free(self, idle: asyncio.Event, box: list[Loaded]) -> None:
        await idle.wait()
        await self.lane.run(partial(free, box))

    async def _accepted(self, version: ModelVersion) -> None:
        """Note a version for a restart without registry, and take an older refusal off it."""

        def note() -> None:
            self.cache.remember(self.registry.uri, uri_of(self.name), version)
            if REFUSED in self.registry.tags(self.name, version.version):
                self.registry.delete_tag(self.name, version.version, REFUSED)

        try:
            await self.lane.run(note)
        except (UsageError, OSError) as error:
            log.warning("%s version %s: %s", self.name, version.version, error)

    async def _refuse(self, version: str, error: Exception) -> None:
        """Stay with the old version, and say why everywhere."""
        self.standing.refused = await self._refusal(version, error)
        self.changed()

    async def _refusal(self, version: str, error: Exception) -> Refused:
        reason = str(error) if isinstance(error, ModelError | UsageError) else f"{type(error).__name__}: {error}"
        log.error("%s: version %s is refused: %s", self.name, version, reason)
        since, where = now(), f"{socket.gethostname()} {os.getpid()}"
        text = json.dumps({"reason": reason[:1000], "when": since, "by": where})
        told = True
        try:
            await self.lane.run(partial(self.registry.set_tag, self.name, version, REFUSED, text))
        except UsageError as fault:
            told = False
            log.warning("%s: the registry is not told of it: %s", self.name, fault)
        self._swaps("refused")
        return Refused(version, reason, since, told)

    # --- what is told ---

    def _tell(self, registry: str) -> None:
        """Say how it is with the registry, when it is not as it was."""
        if registry != self.standing.registry:
            self.standing.registry = registry
            if registry == OK:
                log.info("%s: the registry answers again", self.name)
            else:
                log.warning("%s: %s; version %s answers on", self.name, registry, self.standing.version)
            self.changed()

    def _polls(self, outcome: str) -> None:
        self.metrics.counter(
            "hansang_registry_polls_total", "Polls of the registry.", model=self.name, outcome=outcome
        ).add()

    def _swaps(self, outcome: str, count: float = 1) -> None:
        text = "Changes of the version that answers."
        self.metrics.counter("hansang_model_swaps_total", text, model=self.name, outcome=outcome).add(count)

    def _rollouts(self, outcome: str) -> None:
        text = "Rollouts that began, and that ended, in a worker."
        self.metrics.counter("hansang_rollout_changes_total", text, model=self.name, outcome=outcome).add()

    def _live(self, version: str, workers: int) -> None:
        text = "Workers in which a version answers."
        self.metrics.gauge("hansang_model_live", text, model=self.name, version=version).set(workers)


def check_rows(loaded: Loaded, served: Artifact | None) -> None:
    """Ask a version the input example of the one that answers: the rows that clients send."""
    rows = (served.example if served else None) or []
    try:
        outcomes = loaded.batcher.predict(Batch(rows)).rows if rows else []
    except Exception as error:
        raise ModelError(
            f"it does not answer the rows of the version before: {type(error).__name__}: {error}"
        ) from error
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise ModelError(f"it does not answer a row of the version before: {outcome}") from outcome


class Following:
    """The followers of all managed models of a service, in this process, while it is entered."""

    def __init__(
        self,
        models: Sequence[Model],
        settings: Settings,
        metrics: Metrics,
        closed: Collection[Model] = (),
        changed: Callable[[], None] = lambda: None,
        stages: Mapping[str, Sequence[Stage]] = MappingProxyType({}),
    ) -> None:
        names: dict[str, list[Model]] = {}
        for model in models:
            if model.managed:
                names.setdefault(model.managed, []).append(model)
        registry = open_registry(settings.registry) if names else None
        self.followers = {
            name: Follower(
                name, same, registry, settings, metrics, closed, changed=changed, stages=stages.get(name, ())
            )
            for name, same in names.items()
            if registry is not None
        }
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Following:
        for follower in self.followers.values():
            await self._stack.enter_async_context(follower)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    def hint(self, name: str = "") -> bool:
        """Let the follower of a model poll now, all of them without a name; says whether there is one."""
        found = [follower for known, follower in self.followers.items() if name in ("", known)]
        for follower in found:
            follower.hint()
        return bool(found)

    def standings(self) -> list[dict[str, Any]]:
        """Give what this process has."""
        return [
            {**follower.standing.facts(), "rollout": follower.beside.facts()} for follower in self.followers.values()
        ]
