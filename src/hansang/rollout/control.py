"""Starting, advancing and ending a rollout; its state is in the registry, with who did what, when and why."""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from uuid import uuid4

from hansang.errors import ModelError, UsageError
from hansang.models.moves import LONGEST, move_alias
from hansang.models.registry import CHAMPION, REFUSED, Reference, Registry
from hansang.models.rollout import CHALLENGER, RUNNING, STATE, Mode, Rollout, read_rollout
from hansang.models.standing import now
from hansang.nodes.rules.source import source
from hansang.rollout.claim import Claim, claimed

EVENTS = "hansang.rollout."  # and the id, on the challenger's version
HISTORY = "hansang.rollout.history"
MOST = 50
PROMOTED, ABORTED, ROLLED_BACK = "promoted", "aborted", "rolled back"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done to a rollout."""

    rollout: str
    version: str
    action: str
    share: float
    who: str
    when: str
    why: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wish:
    """What to roll out and how; see `Rollout` for the words."""

    challenger: str
    mode: Mode
    shares: Sequence[float]
    why: str
    who: str = ""
    by: str | None = None
    every: float = 0.0
    guards: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    settle: float = 0.0

    def __post_init__(self) -> None:
        if not self.shares or not all(0.0 < share <= 1.0 for share in self.shares):
            raise UsageError("a share is above 0 and at most 100 percent")
        if list(self.shares) != sorted(set(self.shares)):
            raise UsageError("steps grow; give each share once, the smallest first")
        if self.mode == "split" and self.shares[0] == 1.0:
            raise UsageError("a split begins below 100 percent; to give everything to a version, promote it")
        if self.every <= 0.0 and len(self.shares) > 1:
            raise UsageError("steps need every=, the time between two of them")
        if self.by is not None and source(self.by, "a rollout").kind == "time":
            raise UsageError(f"rows cannot be kept together by {self.by!r}; give a field, 'header:NAME' or 'key'")


def running(registry: Registry, name: str) -> Rollout | None:
    """Give the rollout that runs, None when none does; one whose aliases were moved since does not."""
    said = registry.registered(name)
    found = read_rollout(said.tags)
    return found if found is not None and found.holds(said) else None


def start(registry: Registry, name: str, wish: Wish) -> Rollout:
    """Let a version challenge the champion; raises `ModelError` when a rollout runs or the version is no good."""
    with claimed(registry, name) as claim:
        champion, last = claim.said.aliases.get(CHAMPION), read_rollout(claim.said.tags)
        if last is not None and last.holds(claim.said):
            raise ModelError(f"rollout {last.id} of {name!r} runs since {last.started}; promote or abort it first")
        if champion is None:
            raise ModelError(f"{name!r} has no alias {CHAMPION!r}; set it first, so that there is something to beat")
        if champion == wish.challenger:
            raise ModelError(f"version {champion} of {name!r} is the champion already")
        registry.find(Reference(f"models:/{name}/{wish.challenger}", "version", name, wish.challenger))
        refusal = refusal_of(registry, name, wish.challenger)
        if refusal:
            cure = f"remove its tag {REFUSED} to try it again"
            raise ModelError(f"version {wish.challenger} of {name!r} was refused: {refusal}; {cure}")
        if last is not None and last.state == RUNNING:
            noted(registry, name, replace(last, state=ABORTED), "abort", who=wish.who, why="its aliases were moved")
        rollout = wished(wish, champion)
        before, who, why = claim.said.aliases.get(CHALLENGER), rollout.who, rollout.why
        claim.check()
        move_alias(registry, name, wish.challenger, alias=CHALLENGER, expected=before, who=who, why=why, action="start")
        remember(registry, name, claim, rollout)
        write(registry, name, claim, rollout, "start", why=why)
        return rollout


def wished(wish: Wish, champion: str) -> Rollout:
    """Make a rollout of a wish, with an id of its own."""
    when = now()
    return Rollout(
        uuid4().hex[:8],
        champion,
        wish.challenger,
        wish.mode,
        wish.shares[0],
        wish.who or getpass.getuser(),
        wish.why,
        when,
        when,
        wish.by,
        tuple(wish.shares[1:]),
        wish.every,
        dict(wish.guards),
        dict(wish.metrics),
        settle=wish.settle,
    )


def advance(registry: Registry, name: str, seen: Rollout, *, why: str, evidence: Mapping[str, Any]) -> Rollout:
    """Take the next step, which may be the promotion; raises `ModelError` when the rollout is not as it was seen."""
    with claimed(registry, name) as claim:
        rollout = expected(claim, name, seen.id)
        if rollout != seen or not rollout.steps:
            raise ModelError(f"rollout {rollout.id} of {name!r} is at {rollout.share:.4%}: somebody took the step")
        if rollout.steps[0] == 1.0 and rollout.mode == "split":
            return promoted(registry, name, claim, rollout, "hansang", why, evidence)
        after = replace(rollout, share=rollout.steps[0], steps=rollout.steps[1:], since=now())
        write(registry, name, claim, after, "step", who="hansang", why=why, evidence=evidence)
        return after


def promote(
    registry: Registry, name: str, *, why: str, who: str = "", id: str = "", evidence: Mapping[str, Any] | None = None
) -> Rollout:
    """Make the challenger the champion; raises `ModelError` when no rollout runs, or another than `id`."""
    with claimed(registry, name) as claim:
        return promoted(registry, name, claim, expected(claim, name, id), who, why, evidence or {})


def promoted(  # each is a fact of the move
    registry: Registry, name: str, claim: Claim, rollout: Rollout, who: str, why: str, evidence: Mapping[str, Any]
) -> Rollout:
    """Move the champion, then write the state, then take the challenger's alias away.

    A process that dies in between leaves a rollout whose aliases are not where it put them, so one that is over.
    """
    who = who or getpass.getuser()
    claim.check()
    move_alias(registry, name, rollout.challenger, why=why, who=who, evidence=evidence, expected=rollout.champion)
    after = replace(rollout, state=PROMOTED)
    write(registry, name, claim, after, "promote", who=who, why=why, evidence=evidence)
    registry.delete_alias(name, CHALLENGER)
    return after


def abort(  # each is a fact of the move
    registry: Registry,
    name: str,
    *,
    why: str,
    who: str = "",
    id: str = "",
    evidence: Mapping[str, Any] | None = None,
    state: str = ABORTED,
) -> Rollout:
    """Take the challenger out; raises `ModelError` when no rollout runs, or another than `id`.

    The state is written first: from then on no server asks the challenger.
    """
    with claimed(registry, name) as claim:
        rollout = expected(claim, name, id)
        after = replace(rollout, state=state)
        action = "abort" if state == ABORTED else "roll back"
        who = who or getpass.getuser()
        write(registry, name, claim, after, action, who=who, why=why, evidence=evidence or {})
        move_alias(registry, name, None, alias=CHALLENGER, why=why, who=who, action=action, expected=rollout.challenger)
        return after


def refusal_of(registry: Registry, name: str, version: str) -> str:
    """Give the reason for which servers refuse a version; empty when they do not."""
    text = registry.tags(name, version).get(REFUSED, "")
    with suppress(ValueError, TypeError, KeyError):
        return str(json.loads(text)["reason"])
    return text


def expected(claim: Claim, name: str, id: str) -> Rollout:
    """Give the rollout that runs, which must be the one that the caller saw."""
    rollout = read_rollout(claim.said.tags)
    if rollout is None or not rollout.holds(claim.said):
        over = "" if rollout is None else f"; the last one, {rollout.id}, {over_words(rollout)}"
        raise ModelError(f"no rollout of {name!r} runs{over}")
    if id and rollout.id != id:
        raise ModelError(f"rollout {rollout.id} of {name!r} runs, not {id}: somebody started it; look again")
    return rollout


def over_words(rollout: Rollout) -> str:
    """Say how a rollout ended."""
    return "ended when an alias was moved" if rollout.state == RUNNING else f"was {rollout.state}"


def write(registry: Registry, name: str, claim: Claim, rollout: Rollout, action: str, **facts: Any) -> None:
    """Write the reason, then the state: a process that dies in between leaves a reason without a change."""
    claim.check()
    noted(registry, name, rollout, action, **facts)
    registry.set_tag(name, None, STATE, rollout.text())


def noted(
    registry: Registry,
    name: str,
    rollout: Rollout,
    action: str,
    *,
    why: str,
    who: str = "",
    evidence: Mapping[str, Any] | None = None,
) -> None:
    """Add an event to the tag of the challenger's version; evidence that is too long for a tag goes, oldest first."""
    events = events_of(registry, name, rollout.id, rollout.challenger)
    who = who or rollout.who
    events.append(Event(rollout.id, rollout.challenger, action, rollout.share, who, now(), why[:1000], evidence or {}))
    for place in range(len(events)):
        if len(text_of(events)) <= LONGEST:
            break
        events[place] = replace(events[place], evidence={})
    while len(text_of(events)) > LONGEST and len(events) > 2:  # the start and the newest are kept
        del events[1]
    registry.set_tag(name, rollout.challenger, EVENTS + rollout.id, text_of(events))


def text_of(events: Sequence[Event]) -> str:
    """Write events as JSON."""
    return json.dumps([asdict(event) for event in events])


def events_of(registry: Registry, name: str, id: str, version: str) -> list[Event]:
    """Read the events of one rollout, oldest first."""
    with suppress(ValueError, TypeError, KeyError):
        return [Event(**event) for event in json.loads(registry.tags(name, version)[EVENTS + id])]
    return []


def remember(registry: Registry, name: str, claim: Claim, rollout: Rollout) -> None:
    """Note on the registered model that there was such a rollout; the newest `MOST` are kept."""
    known = [*rollouts(claim.said.tags), (rollout.id, rollout.challenger)]
    registry.set_tag(name, None, HISTORY, json.dumps(known[-MOST:]))


def rollouts(tags: Mapping[str, str]) -> list[tuple[str, str]]:
    """Give the ids and the challengers of all rollouts, oldest first."""
    with suppress(ValueError, TypeError, KeyError):
        return [(str(id), str(version)) for id, version in json.loads(tags[HISTORY])]
    return []


def history(registry: Registry, name: str) -> list[Event]:
    """Give everything that was done to the rollouts of a model, oldest first."""
    known = rollouts(registry.registered(name).tags)
    return [event for id, version in known for event in events_of(registry, name, id, version)]
