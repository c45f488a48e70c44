"""One operator at a time: a claim on a registered model, made of tags, since MLflow has no compare-and-set.

Whoever wants to change a rollout first writes a tag of its own, then reads all tags, which is one call. Of two that do
this at once, whoever reads last sees the other's tag, so never do both find themselves alone (Dijkstra 1965, flags
before the look). Whoever is not alone takes its tag away and says so. The tag of a process that died is void after
`LIFE` seconds, and nobody writes under a claim that is older than `SAFE`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import uuid4

from hansang.errors import ModelError, UsageError
from hansang.models.registry import Registered, Registry

CLAIM = "hansang.rollout.claim."
LIFE = 60.0
SAFE = 20.0
OLD = 3600.0
TRIES = 8
PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim that is held; `said` is the registered model as it was when it was won."""

    said: Registered
    won: float

    def check(self) -> None:
        """Raise a `ModelError` when the claim is too old to write under it."""
        if time.monotonic() - self.won > SAFE:
            raise ModelError(f"the registry took longer than {SAFE:g} s; nothing more is changed, look again")


@contextmanager
def claimed(registry: Registry, name: str) -> Iterator[Claim]:
    """Hold the claim on a registered model; a `ModelError` after some tries says that somebody else has it."""
    key = CLAIM + uuid4().hex[:12]
    for attempt in range(TRIES):
        won = time.monotonic()
        registry.set_tag(name, None, key, f"{time.time():.3f}")
        try:
            said = registry.registered(name)
            if not others(said, key):
                sweep(registry, said)
                yield Claim(said, won)
                return
        finally:
            with suppress(UsageError):  # a registry that is gone: the tag is void in a minute
                registry.delete_tag(name, None, key)
        time.sleep(PAUSE * (attempt + 1) * (0.5 + random.random()))  # so that two do not step back for ever
    raise ModelError(f"somebody else is changing the rollout of {name!r} now; look again")


def sweep(registry: Registry, said: Registered) -> None:
    """Take away what processes that died long ago have left."""
    for key, value in said.tags.items():
        with suppress(ValueError, UsageError):
            if key.startswith(CLAIM) and time.time() - float(value) > OLD:
                registry.delete_tag(said.name, None, key)


def others(said: Registered, own: str) -> list[str]:
    """Give the claims of others that are alive."""
    found = []
    for key, value in said.tags.items():
        if key.startswith(CLAIM) and key != own:
            with suppress(ValueError):
                if abs(time.time() - float(value)) < LIFE:
                    found.append(key)
    return found
