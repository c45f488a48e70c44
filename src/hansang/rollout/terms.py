"""What a rollout is judged by: the experiment that its tag describes, its metrics and its guards by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from hansang.errors import UsageError
from hansang.models.registry import CHAMPION
from hansang.models.rollout import CHALLENGER, Rollout
from hansang.rollout.arms import Shadow, Split
from hansang.rollout.finding import Guard
from hansang.rollout.guards import Disagreement, Drift, Errors, Latency, Quality
from hansang.rollout.metric import Metric, absolute_error, accuracy, failures, latency, score
from hansang.rollout.status import Status, look

GUARDS: Mapping[str, Callable[[float], Guard]] = {
    "errors": lambda limit: Errors(more=limit),
    "latency": lambda limit: Latency(ratio=limit),
    "drift": lambda limit: Drift(limit=limit),
    "disagreement": lambda limit: Disagreement(limit=limit),
}
USUAL = {"errors": 0.01, "latency": 1.5, "drift": 0.25}
METRICS: Mapping[str, Callable[[float], Metric]] = {
    "accuracy": accuracy,
    "absolute_error": absolute_error,
    "score": score,
    "failures": failures,
    "latency": latency,
}
QUALITY = ("accuracy", "absolute_error", "score")
LIVE_ONLY = ("score", "latency")


def guards_of(words: list[str], mode: str) -> dict[str, float]:
    """Read `name=limit` and `name=off` over the usual guards."""
    found = dict(USUAL)
    for name, value in pairs(words, GUARDS, "guard", {}):
        if name == "disagreement" and mode != "shadow":
            raise UsageError("guard 'disagreement' needs pairs; use it with --shadow")
        if value is None:
            found.pop(name, None)
        else:
            found[name] = value
    return found


def metrics_of(words: list[str], mode: str) -> dict[str, float]:
    """Read `name` and `name=margin`; without any these are failures and, of a split, latency."""
    if not words:
        return {"failures": 0.01} | ({} if mode == "shadow" else {"latency": 0.1})
    found = {name: value for name, value in pairs(words, METRICS, "metric", {"latency": 0.1}) if value is not None}
    for name in found:
        if mode == "shadow" and name in LIVE_ONLY:
            raise UsageError(f"metric {name!r} says nothing of a shadow, whose answers nobody got; use it with a split")
    return found


def pairs(
    words: list[str], known: Mapping[str, object], what: str, usual: Mapping[str, float]
) -> list[tuple[str, float | None]]:
    """Read names with numbers; None is `off`."""
    found: list[tuple[str, float | None]] = []
    for word in words:
        name, _, text = word.partition("=")
        if name not in known:
            raise UsageError(f"no {what} {name!r}; there are: {', '.join(known)}")
        try:
            value = None if text == "off" else float(text) if text else usual.get(name, USUAL.get(name, 0.0))
        except ValueError as error:
            raise UsageError(f"{what} {word!r}: {text!r} is no number; write {name}=0.1 or {name}=off") from error
        found.append((name, value))
    return found


def experiment_of(rollout: Rollout) -> Split | Shadow:
    """Give the experiment that a rollout makes, as its records are read."""
    if rollout.mode == "shadow":
        return Shadow(rollout.champion, rollout.challenger, node=rollout.node)
    weights = {CHAMPION: 1.0 - rollout.share, CHALLENGER: rollout.share}
    return Split(CHAMPION, CHALLENGER, weights, name=rollout.node, node=rollout.node)


def since_of(rollout: Rollout) -> datetime:
    """Give the moment from which the rows of the present step count: when every server had heard of it."""
    moment = datetime.fromisoformat(rollout.since).astimezone(UTC).timestamp()
    return datetime.fromtimestamp(moment + (rollout.settle if rollout.since != rollout.started else 0.0), UTC)


def judged(rollout: Rollout, record: Path) -> Status:
    """Judge a rollout from the record; each quality of its metrics is a guard, too."""
    metrics = [METRICS[name](margin) for name, margin in rollout.metrics.items()]
    guards = [GUARDS[name](limit) for name, limit in rollout.guards.items()]
    qualities = [Quality(metric) for name, metric in zip(rollout.metrics, metrics, strict=True) if name in QUALITY]
    return look(record, experiment_of(rollout), metrics, [*guards, *qualities], since=since_of(rollout))
