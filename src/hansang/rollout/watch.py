"""The controller of rollouts: looks at the record and the registry in turn, rolls back, and takes the next step.

It runs in a process of its own, with low priority: `python -m hansang.rollout.watch`, which each server starts while a
model of it is rolled out and of which one works for each record, or `hansang rollout watch`.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from hansang.errors import HansangError, RecordError
from hansang.logs.config import configure_helper
from hansang.models.registry import Registry
from hansang.models.rollout import Rollout, read_rollout
from hansang.models.uri import open_registry
from hansang.record.compact import step_back
from hansang.rollout.control import ROLLED_BACK, abort, advance, refusal_of
from hansang.rollout.status import Status
from hansang.rollout.terms import judged
from hansang.settings import Settings, load_settings

Action = Literal["none", "hold", "step", "promote", "roll back"]

log = logging.getLogger("hansang")


@dataclass(frozen=True, slots=True)
class Decision:
    """What the controller makes of a rollout: what is to be done, why, and on what evidence."""

    action: Action
    why: str = ""
    rollout: Rollout | None = None
    status: Status | None = None
    evidence: dict[str, Any] = field(default_factory=dict)


def decide(registry: Registry, name: str, record: Path, now: Callable[[], float] = time.time) -> Decision:
    """Look once, and change nothing."""
    said = registry.registered(name)
    rollout = read_rollout(said.tags)
    if rollout is None or not rollout.holds(said):
        return Decision("none", "no rollout runs", rollout)
    refusal = refusal_of(registry, name, rollout.challenger)
    if refusal:
        why = f"version {rollout.challenger} is refused: {refusal}"
        return Decision("roll back", why, rollout, evidence={"refused": refusal[:1000]})
    try:
        status = judged(rollout, record)
    except RecordError as error:
        return Decision("hold", str(error), rollout)
    evidence = evidence_of(status)
    if status.failed:
        why = "; ".join(f"guard {finding.guard}: {finding.why}" for finding in status.failed)
        return Decision("roll back", why, rollout, status, evidence)
    waits = reasons_to_wait(rollout, status, now())
    if waits or not rollout.steps:
        return Decision("hold", "; ".join(waits), rollout, status, evidence)
    why = f"every guard has passed at {rollout.share:.4g}"
    last = rollout.steps[0] == 1.0 and rollout.mode == "split"
    return Decision("promote" if last else "step", why, rollout, status, evidence)


def reasons_to_wait(rollout: Rollout, status: Status, now: float) -> list[str]:
    """Say what keeps a rollout from its next step."""
    since = read_time(rollout.since)
    left = since + rollout.every + rollout.settle - now
    found = [f"{left:.0f} s are left"] if left > 0 else []
    found += [f"guard {each.guard}: {each.state}" for each in status.findings if each.state == "not enough"]
    found += [f"{verdict.metric} is worse" for verdict in status.verdicts if verdict.word == "worse"]
    return found + (["the arms are not as planned"] if status.ratio.mismatch else [])


def read_time(text: str) -> float:
    """Give a time of the registry in seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def evidence_of(status: Status) -> dict[str, Any]:
    """Give what a decision was made on, short enough for a tag."""
    guards = {finding.guard: {"state": finding.state, "why": finding.why} for finding in status.findings}
    return {"guards": guards, "verdicts": {verdict.metric: str(verdict) for verdict in status.verdicts}}


def act(registry: Registry, name: str, record: Path) -> Decision:
    """Look once, and do what follows; an operator who was faster has been right."""
    made = decide(registry, name, record)
    rollout = made.rollout
    if rollout is None or made.action in ("none", "hold"):
        return made
    facts: dict[str, Any] = {"why": made.why, "evidence": made.evidence}
    if made.action == "roll back":
        abort(registry, name, who="hansang", id=rollout.id, state=ROLLED_BACK, **facts)
        log.error("%s: rollout %s of version %s: rolled back: %s", name, rollout.id, rollout.challenger, made.why)
    else:
        after = advance(registry, name, rollout, **facts)
        log.info("%s: rollout %s: %s, now %s at %.4g", name, rollout.id, made.action, after.state, after.share)
    return made


def watch(registry: Registry, name: str, record: Path, pause: Callable[[float], bool]) -> None:
    """Look again and again, until `pause` says that it is over, or no rollout runs.

    `pause` gets the seconds that the look took: whoever waits as long at least has half of a core for it at the most.
    """
    said = ""
    while True:
        started = time.monotonic()
        try:
            made = act(registry, name, record)
            if made.action == "none":
                return
            trouble = made.why if made.status is None and made.action == "hold" else ""
        except HansangError as error:  # the registry is away, or an operator was faster: the next look tells
            trouble = str(error)
        if trouble and trouble != said:
            log.warning("%s: the rollout cannot be judged: %s", name, trouble)
        said = trouble
        if not pause(time.monotonic() - started):
            return


@contextmanager
def place(record: Path, name: str) -> Iterator[bool]:
    """Be the only controller of a model for a record; gives False where there is one."""
    record.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(
        record / f"rollout-{name.replace('/', '-')}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
    )
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def main(arguments: list[str]) -> int:
    """Watch the rollout of a model until it is over, or until standard input ends."""
    if len(arguments) != 3:
        print("usage: python -m hansang.rollout.watch DIR MODEL SECONDS", file=sys.stderr)
        return 2
    step_back()
    configure_helper("rollout")
    record, name, seconds = Path(arguments[0]), arguments[1], float(arguments[2])

    def pause(took: float) -> bool:
        ready, _, _ = select.select([0], [], [], max(seconds, took))
        return not ready

    with place(record, name) as alone:
        if alone:
            watch(open_registry(load_settings(Settings).registry), name, record, pause)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
