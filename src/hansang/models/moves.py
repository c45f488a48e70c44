"""Moving an alias so that everybody sees who did it, when and why, and so that nobody undoes another's move unseen."""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hansang.errors import ModelError
from hansang.models.registry import CHAMPION, Reference, Registry
from hansang.models.standing import now

ROLLOUT = "hansang.rollout"
LONGEST = 4000


@dataclass(frozen=True, slots=True)
class Move:
    """One move of an alias, as it stands in the tag `hansang.rollout` of the registered model and of the version.

    `before` and `after` are version numbers, None where the alias was not, or is no more. `evidence` is what the move
    was decided on, as JSON values.
    """

    action: str
    alias: str
    before: str | None
    after: str | None
    who: str
    when: str
    why: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """Write it as JSON; evidence that is too long for a tag is left out."""
        text = json.dumps(asdict(self), sort_keys=True)
        return text if len(text) <= LONGEST else json.dumps({**asdict(self), "evidence": {}}, sort_keys=True)


def read_move(tags: Mapping[str, str]) -> Move | None:
    """Read the last move from the tags of a registered model, or of a version; None when there is none to read."""
    try:
        return Move(**json.loads(tags[ROLLOUT]))
    except (KeyError, ValueError, TypeError):
        return None


def move_alias(  # noqa: PLR0913  # each is a fact of the move
    registry: Registry,
    name: str,
    version: str | None,
    *,
    why: str,
    alias: str = CHAMPION,
    action: str = "promote",
    who: str = "",
    evidence: Mapping[str, Any] | None = None,
    expected: str | None = "",
) -> Move:
    """Let an alias point to a version (None: nowhere), and write down who did it and why.

    `expected` is where the caller saw it last, or None for nowhere; when it is elsewhere by now nothing is changed and
    a `ModelError` says so. MLflow has no compare-and-set: what is left is the time between two calls, so the alias is
    read again afterwards, and a move that somebody else made in between is a `ModelError` too. The tag on the version
    is written first: a process that dies half-way leaves a reason without a move, never a move without a reason.
    """
    before = registry.registered(name).aliases.get(alias)
    if expected not in ("", before):
        raise ModelError(f"{alias} of {name!r} is {said(before)}, not {said(expected)}; somebody moved it, look again")
    if version is not None:
        registry.find(Reference(f"models:/{name}/{version}", "version", name, version))
    move = Move(action, alias, before, version, who or getpass.getuser(), now(), why, evidence or {})
    about = version or before
    if about is not None:
        registry.set_tag(name, about, ROLLOUT, move.text())
    if version is not None:
        registry.set_alias(name, alias, version)
    elif before is not None:
        registry.delete_alias(name, alias)
    registry.set_tag(name, None, ROLLOUT, move.text())
    after = registry.registered(name).aliases.get(alias)
    if after != version:
        raise ModelError(f"{alias} of {name!r} is {said(after)} by now: somebody moved it at the same time; look again")
    return move


def said(version: str | None) -> str:
    """Name where an alias points."""
    return "nowhere" if version is None else f"version {version}"
