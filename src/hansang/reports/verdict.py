"""The verdict: all tests of a report adjusted together, and what is both improbable and large enough to matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hansang.reports.drift import Drift
from hansang.reports.quality import Quality
from hansang.reports.statistics import holm
from hansang.reports.traffic import Traffic

Status = Literal["fine", "degraded", "drift", "unknown"]


@dataclass(frozen=True, slots=True)
class Floors:
    """How large a change must be to be told, however certain it is.

    `psi` is the stability index of a feature, `loss` the share by which the loss has grown, `share` by how many rows
    in one more fail, are missing or are out of range.
    """

    psi: float = 0.1
    loss: float = 0.1
    share: float = 0.01


FLOORS = Floors()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: its kind, what it is about, what happened, and the adjusted p-value."""

    kind: Literal["quality", "errors", "drift", "missing", "range"]
    subject: str
    text: str
    p: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a report comes to. `tests` is how many p-values were adjusted together at `alpha`."""

    status: Status
    findings: list[Finding]
    tests: int
    alpha: float

    @property
    def exit_status(self) -> int:
        """0 when nothing was found, else 1."""
        return 1 if self.findings else 0


def decide(traffic: Traffic, quality: Quality, drift: Drift, alpha: float, floors: Floors) -> Verdict:
    """Adjust all p-values by Holm's method and tell what passes and is large enough.

    With nothing changed, the chance of any finding is at most `alpha`, whatever depends on whatever.
    """
    places = [(feature.adjusted, kind, p) for feature in drift.features for kind, p in feature.tests.items()]
    groups = [group for target in quality.targets for group in target.groups if group.p is not None]
    values = [p for _, _, p in places] + [float(group.p or 0.0) for group in groups]
    values += [traffic.p] if traffic.p is not None else []
    adjusted = holm(values)
    for (into, kind, _), value in zip(places, adjusted, strict=False):
        into[kind] = value
    for group, value in zip(groups, adjusted[len(places) :], strict=False):
        group.adjusted = value
    findings = [*of_quality(quality, alpha, floors)]
    findings += of_errors(traffic, adjusted[-1] if traffic.p is not None else 1.0, alpha, floors)
    findings += of_drift(drift, alpha, floors)
    kinds = {finding.kind for finding in findings}
    status: Status = "degraded" if kinds & {"quality", "errors"} else "drift" if kinds else "fine"
    if not values:
        status = "unknown"
    return Verdict(status, findings, len(values), alpha)


def of_quality(quality: Quality, alpha: float, floors: Floors) -> list[Finding]:
    """Tell which groups have become worse."""
    found = []
    for target in quality.targets:
        for group in target.groups:
            grown = group.worse_by
            small = group.adjusted is None or group.adjusted > alpha or (grown is not None and grown < floors.loss)
            if small or group.now is None or group.before is None:
                continue
            who = group.subject(target.target)
            more = f", {grown:+.0%}" if grown is not None else ""
            text = f"{target.loss} {group.before.loss:.4g} before, {group.now.loss:.4g} now{more}"
            found.append(Finding("quality", who, text, float(group.adjusted or 0.0)))
    return found


def of_errors(traffic: Traffic, p: float, alpha: float, floors: Floors) -> list[Finding]:
    """Tell when more rows fail."""
    if traffic.before is None or p > alpha:
        return []
    before, now = (each.failed / each.rows for each in (traffic.before, traffic.now))
    if now - before < floors.share:
        return []
    return [Finding("errors", "failed rows", f"{before:.2%} before, {now:.2%} now", p)]


def of_drift(drift: Drift, alpha: float, floors: Floors) -> list[Finding]:
    """Tell which features do not look like the reference any more, the furthest first."""
    found = []
    for feature in sorted(drift.features, key=lambda each: -(each.measured.score if each.measured else 0.0)):
        measured, facts, name = feature.measured, feature.facts, f"{feature.side} {feature.name}"
        passed = {kind for kind, p in feature.adjusted.items() if p <= alpha}
        if "missing" in passed and facts["missing_now"] - facts["missing_before"] >= floors.share:
            text = f"missing in {facts['missing_before']:.1%} of rows before, {facts['missing_now']:.1%} now"
            found.append(Finding("missing", name, text, feature.adjusted["missing"]))
        if "range" in passed and facts["out_of_range"] >= floors.share:
            low, high = facts["range_before"]
            text = f"{facts['out_of_range']:.1%} of values are outside of {low:.4g} to {high:.4g}"
            found.append(Finding("range", name, text, feature.adjusted["range"]))
        if "drift" in passed and measured and measured.score >= floors.psi:
            limit = max(measured.threshold, floors.psi)
            text = f"PSI {measured.score:.2f}, threshold {limit:.2f}{moved(feature.facts)}"
            found.append(Finding("drift", name, text, feature.adjusted["drift"]))
    return found


def moved(facts: dict[str, object]) -> str:
    """Say where the middle was and is."""
    if "median_before" in facts:
        return f"; median {facts['median_before']:.4g} before, {facts['median_now']:.4g} now"
    if facts.get("most_before") != facts.get("most_now"):
        return f"; mostly {facts['most_before']} before, {facts['most_now']} now"
    return ""
