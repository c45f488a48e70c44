"""A rollout as it stands in the registry: one tag of the registered model, read in the same call as the aliases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from hansang.models.registry import CHAMPION, Registered

CHALLENGER = "challenger"
STATE = "hansang.rollout.state"
RUNNING = "running"

Mode = Literal["shadow", "split"]


@dataclass(frozen=True, slots=True)
class Rollout:
    """One rollout: which version challenges which, for what share of the rows, and how it is guarded.

    `share` is the challenger's part now, from 0 to 1: of a shadow the rows that it gets too, of a split those that it
    answers. `by` is the split's key. `steps` are the shares to come, 1 for the promotion, each `every` seconds after
    the one before it, which began at `since`. `guards` and `metrics` are names with their limits and margins. `state`
    is `running`, `promoted`, `aborted` or `rolled back`.

    The id salts the assignment of keys; it stays while the share grows, so that keys only ever move to the challenger.
    """

    id: str
    champion: str
    challenger: str
    mode: Mode
    share: float
    who: str
    why: str
    started: str
    since: str
    by: str | None = None
    steps: tuple[float, ...] = ()
    every: float = 0.0
    guards: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    state: str = RUNNING
    settle: float = 0.0

    @property
    def node(self) -> str:
        """The name of its split or shadow, in metrics, trails and the record."""
        return f"rollout-{self.id}"

    def text(self) -> str:
        """Write it as JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    def facts(self) -> dict[str, Any]:
        """Give what `/metadata` shows."""
        return {name: getattr(self, name) for name in ("id", "mode", "champion", "challenger", "share", "by", "state")}

    def holds(self, said: Registered) -> bool:
        """Say whether it runs and both aliases are where it put them: who moves one of them ends the rollout."""
        placed = said.aliases.get(CHAMPION) == self.champion and said.aliases.get(CHALLENGER) == self.challenger
        return self.state == RUNNING and placed


def read_rollout(tags: Mapping[str, str]) -> Rollout | None:
    """Read the newest rollout from the tags of a registered model; None when there is none that can be read."""
    try:
        found = json.loads(tags[STATE])
        rollout = Rollout(**{**found, "steps": tuple(map(float, found["steps"]))})
    except (KeyError, ValueError, TypeError):
        return None
    return rollout if rollout.mode in ("shadow", "split") and 0.0 < rollout.share <= 1.0 else None
