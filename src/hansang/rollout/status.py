"""The state of a running experiment: verdicts, guards and the ratio of the arms, as values and as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from hansang.errors import UsageError
from hansang.record.moments import Moment
from hansang.rollout.arms import CHALLENGER, CHAMPION, Arms, Shadow, Split, read_arms
from hansang.rollout.evidence import log_mismatch
from hansang.rollout.finding import Finding, Guard
from hansang.rollout.metric import Metric, failures, latency
from hansang.rollout.verdict import Verdict, judge

MISMATCH = 0.001  # the chance that a sound split is ever called unsound
STYLES = {"better": "green", "no worse": "green", "worse": "red", "pass": "green", "fail": "red"}


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many units came to each arm, and whether that is what was planned (sample ratio mismatch).

    `planned` is the challenger's share, None when nobody says it. `crossed` units were seen on both sides.
    """

    rows: Mapping[str, int]
    units: Mapping[str, int]
    planned: float | None
    mismatch: bool
    log_evidence: float
    crossed: int


@dataclass(frozen=True, slots=True)
class Status:
    """An experiment as it is now.

    `alpha` is the chance that any word of any metric at any look is false; each guard has its own. While the ratio of
    the arms is not what was planned, every verdict is `undecided`: who is missing is not known.
    """

    paired: bool
    alpha: float
    ratio: Ratio
    verdicts: tuple[Verdict, ...]
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The guards that failed."""
        return tuple(finding for finding in self.findings if finding.state == "fail")

    @property
    def may_take_over(self) -> bool:
        """Whether every metric is better or no worse, no guard failed, and the arms are as planned."""
        good = all(verdict.word in ("better", "no worse") for verdict in self.verdicts)
        return bool(self.verdicts) and good and not self.failed and not self.ratio.mismatch

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain values; what is not finite is None."""
        found = asdict(self) | {"may_take_over": self.may_take_over}
        for verdict, said in zip(found["verdicts"], self.verdicts, strict=True):
            verdict["says"] = str(said)
        plain: dict[str, Any] = finite(found)
        return plain


def look(
    record: str | Path | duckdb.DuckDBPyConnection,
    experiment: Split | Shadow,
    metrics: Sequence[Metric] | None = None,
    guards: Sequence[Guard] = (),
    *,
    alpha: float = 0.05,
    since: Moment | None = None,
    until: Moment | None = None,
) -> Status:
    """Read an experiment from its record and judge it; may be done as often as one likes.

    Without `metrics` these are failures, no more than a point worse, and of a split latency, no more than ten percent
    worse.
    Choose metrics and guards before the experiment starts: the stated errors hold for these.
    """
    arms = read_arms(record, experiment, since, until)
    try:
        usual = (failures(margin=0.01), *(() if arms.paired else (latency(),)))
        return judged(arms, usual if metrics is None else metrics, guards, alpha)
    finally:
        if arms.connection is not record:
            arms.connection.close()


def judged(arms: Arms, metrics: Sequence[Metric], guards: Sequence[Guard] = (), alpha: float = 0.05) -> Status:
    """Judge arms that are read already; each of k metrics gets alpha/k."""
    names = [metric.name for metric in metrics]
    if len(set(names)) < len(names):
        raise UsageError(f"two metrics have one name in {', '.join(names)}; give each its own")
    ratio = ratio_of(arms)
    verdicts = []
    for metric in metrics:
        sums = arms.sums(metric)
        unit = "pairs" if arms.paired else "rows"
        if any(arm.units != arm.rows for arm in sums.values()):
            unit = "keys" if metric.unit is None else "groups"
        arm = sums[CHAMPION], sums[CHALLENGER], sums.get("difference")
        said = judge(metric, *arm, alpha=alpha / len(metrics), unit=unit)
        if ratio.mismatch:
            said = replace(said, word="undecided", more=None, why="the arms are not as planned")
        verdicts.append(said)
    return Status(arms.paired, alpha, ratio, tuple(verdicts), tuple(guard.check(arms) for guard in guards))


def ratio_of(arms: Arms) -> Ratio:
    """Count the arms, and test their ratio where one was planned: a sequential test of the units' first rows."""
    counts = arms.counts()
    units = {arm: each[1] for arm, each in counts.items()}
    strength = -math.inf
    if arms.share is not None and not arms.paired:
        seen = (units[CHAMPION], units[CHALLENGER])
        strength = float(log_mismatch(seen, (1 - arms.share, arms.share)))
    mismatch = strength >= -math.log(MISMATCH)
    rows = {arm: each[0] for arm, each in counts.items()}
    return Ratio(rows, units, arms.share, mismatch, strength, arms.crossed())


def table(status: Status) -> Group:
    """Give the state as tables for a rich console."""
    verdicts = Table(
        "metric", "champion", "challenger", "effect", "interval", "units", "verdict", title=heading(status)
    )
    for each in status.verdicts:
        interval = f"{each.low:+.4g} … {each.high:+.4g}" if math.isfinite(each.high - each.low) else "not yet"
        numbers = (f"{each.champion:.4g}", f"{each.challenger:.4g}", f"{each.effect:+.4g}", interval)
        word = str(each)
        units = f"{each.units:,} {each.unit}"
        verdicts.add_row(escape(each.metric), *numbers, units, f"[{STYLES.get(each.word, 'yellow')}]{escape(word)}[/]")
    parts: list[Any] = [verdicts]
    if status.findings:
        guards = Table("guard", "state", "why")
        for found in status.findings:
            state = f"[{STYLES.get(found.state, 'yellow')}]{found.state}[/]"
            guards.add_row(escape(found.guard), state, escape(found.why))
        parts.append(guards)
    return Group(*parts, escape(summary(status)))


def heading(status: Status) -> str:
    """Say what kind of experiment it is, and the error of its verdicts."""
    kind = "shadow, paired" if status.paired else "split, unpaired"
    return f"{kind}; false with at most {status.alpha:.0%} at all looks together"


def summary(status: Status) -> str:
    """Say in a sentence what the arms are, and what is the matter with them."""
    ratio = status.ratio
    rows, units = ratio.rows, ratio.units
    if status.paired:
        return f"{rows[CHALLENGER]:,} pairs"
    said = f"{rows[CHAMPION]:,} rows of the champion, {rows[CHALLENGER]:,} of the challenger"
    if ratio.planned is None:
        return f"{said}; no share is planned, so their ratio is not tested"
    part = units[CHALLENGER] / max(sum(units.values()), 1)
    said += f"; {part:.2%} of the units, planned {ratio.planned:.2%}"
    if ratio.mismatch:
        said += ": not by chance. Find out which rows are missing before anything else"
    return said + (f"; {ratio.crossed:,} keys are on both sides" if ratio.crossed else "")


def finite(value: Any) -> Any:
    """Replace numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
