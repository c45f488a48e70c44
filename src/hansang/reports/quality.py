"""Quality where the truth is known: by version and by slice, now and before, and the worst predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hansang.errors import UsageError
from hansang.record.views import quoted
from hansang.reports.features import FEW_VALUES
from hansang.reports.fields import Field, find_fields
from hansang.reports.metrics import TASKS, Judged, judge, worse
from hansang.reports.source import BEFORE, NOW, Source
from hansang.reports.targets import Target, find_targets
from hansang.reports.window import Window

MOST_TRUTHS = 2_000_000
MOST_GROUPS = 12
DAYS_ENOUGH, PARTS = 8, 40
WORST = 10
SCATTERED = 600
ANSWERED_BY = ("version", "variant")


@dataclass(slots=True)
class Group:
    """Rows of one version or one slice, now and before; `p` says how likely its loss has not grown."""

    dimension: str
    name: str
    now: Judged | None = None
    before: Judged | None = None
    p: float | None = None
    adjusted: float | None = None

    @property
    def worse_by(self) -> float | None:
        """By which share the loss has grown."""
        if self.now is None or self.before is None or not self.before.loss > 0:
            return None
        return self.now.loss / self.before.loss - 1


@dataclass(slots=True)
class TargetQuality:
    """Everything about one target: `groups` begin with all rows; `pairs` are by `day` and by `week`."""

    target: Target
    loss: str
    groups: list[Group]
    pairs: dict[str, list[dict[str, Any]]]
    worst: list[dict[str, Any]]
    scatter: list[tuple[float, float]] = field(default_factory=list)
    confusion: list[tuple[str, str, int]] = field(default_factory=list)
    calibration: list[tuple[float, float, int]] = field(default_factory=list)


@dataclass(slots=True)
class Quality:
    """The quality of all targets; `told` counts the rows with a truth, before and now."""

    targets: list[TargetQuality]
    told: tuple[int, int]
    answered: tuple[int, int]
    note: str = ""


def measure_quality(source: Source, by: Sequence[str] = (), seed: int = 0) -> Quality:
    """Judge every target of the service by the truths that are known.

    `by` names fields of the input to slice by. Raises `UsageError` for one that is not there.
    """
    answered = dict(source.all("SELECT part, count(*) FROM rows WHERE status = 200 GROUP BY part"))
    slices = find_slices(source, by)
    gather(source, slices, max(answered.values(), default=0))
    told = dict(source.all("SELECT part, count(*) FROM told GROUP BY part"))
    quality = Quality([], (told.get(BEFORE, 0), told.get(NOW, 0)), (answered.get(BEFORE, 0), answered.get(NOW, 0)))
    if not quality.told[1]:
        quality.note = "no truth is known of the window"
        return quality
    for number, target in enumerate(find_targets(source.connection, "told")):
        quality.targets.append(judge_target(source, target, [name for name, _ in slices], (seed, number)))
    if not quality.targets:
        quality.note = "truths and answers have nothing in common that can be compared: no field of one name or kind"
    return quality


def find_slices(source: Source, by: Sequence[str]) -> list[tuple[str, str]]:
    """Give the names of the slices and their expressions."""
    found = {
        each.name: each
        for each in find_fields(source.connection, f"(SELECT * FROM rows WHERE part = '{NOW}')", "input")
    }
    slices = []
    for name in by:
        if name not in found:
            raise UsageError(f"no field {name!r} in the input to slice by; there are: {', '.join(found) or 'none'}")
        slices.append((name, cut(source, found[name])))
    return slices


def cut(source: Source, field: Field) -> str:
    """Give the expression for the slice of a field: its value, or the quarter of a number with many."""
    if field.kind in ("number", "list"):
        values = f"SELECT {field.sql} AS v FROM rows WHERE status = 200 LIMIT 100000"
        different, quarters = source.all(
            f"SELECT count(DISTINCT v), quantile_cont(v, [0.25, 0.5, 0.75]) FROM ({values})"
        )[0]
        if different > FEW_VALUES:
            a, b, c = (f"{value:.4g}" for value in quarters)
            return (
                f"CASE WHEN {field.sql} < {a} THEN 'below {a}' WHEN {field.sql} < {b} THEN '{a} to {b}' "
                f"WHEN {field.sql} < {c} THEN '{b} to {c}' WHEN {field.sql} >= {c} THEN 'from {c}' END"
            )
        return f"format('{{:g}}', {field.sql})"
    return f"left({field.sql}, 40)"


def gather(source: Source, slices: list[tuple[str, str]], answered: int) -> None:
    """Make the table `told` of the answers whose truth is known, at most two millions a window, chosen by their ids."""
    some = "" if answered <= MOST_TRUTHS else f" AND hash(id, row) % 1000000 < {round(1e6 * MOST_TRUTHS / answered)}"
    before = f" WHEN {source.reference.sql} THEN '{BEFORE}'" if isinstance(source.reference, Window) else ""
    expressions = "".join(f", {sql} AS s{number}" for number, (_, sql) in enumerate(slices))
    source.run(
        f"CREATE OR REPLACE TEMP TABLE told_rows AS SELECT * FROM ("
        f"SELECT id, row, time, time::DATE AS day, version::VARCHAR AS version, variant::VARCHAR AS variant, "
        f"output, output_value, truth, truth_value, "
        f"CASE WHEN {source.window.sql} THEN '{NOW}'{before} END AS part{expressions} "
        f"FROM outcomes WHERE service = {quoted(source.service)} AND endpoint = {quoted(source.endpoint)} "
        f"AND status = 200 AND truth IS NOT NULL{some}) WHERE part IS NOT NULL"
    )
    days = source.all("SELECT part FROM told_rows GROUP BY part HAVING count(DISTINCT day) >= " + str(DAYS_ENOUGH))
    by_day = ", ".join(quoted(part) for (part,) in days) or "''"
    source.run(
        f"CREATE OR REPLACE TEMP VIEW told AS SELECT *, CASE WHEN part IN ({by_day}) "
        f"THEN (day - DATE '1970-01-01')::INTEGER ELSE (hash(id, row) % {PARTS})::INTEGER END AS block FROM told_rows"
    )


def judge_target(source: Source, target: Target, slices: list[str], seed: tuple[int, ...]) -> TargetQuality:
    """Judge one target."""
    predicted, truth = target.columns
    finite = "" if target.task == "labels" else " AND isfinite(p) AND isfinite(t)"
    source.run(
        f"CREATE OR REPLACE TEMP VIEW judged AS SELECT * FROM (SELECT *, {predicted} AS p, {truth} AS t FROM told) "
        f"WHERE p IS NOT NULL AND t IS NOT NULL{finite}"
    )
    metrics = TASKS[target.task]
    dimensions = [("all rows", "''")] + [(name, name) for name in ANSWERED_BY]
    dimensions += [(name, f"s{number}") for number, name in enumerate(slices)]
    groups = []
    for number, (name, expression) in enumerate(dimensions):
        found = judge_groups(source, target, name, expression, seed)
        if number == 0 or name in slices or len(found) > 1:
            groups += found
    quality = TargetQuality(target, metrics.loss, groups, {}, worst_of(source, target))
    for unit in ("day", "week"):
        quality.pairs[unit] = pairs_by(source, target, unit)
    details(source, quality)
    return quality


def judge_groups(source: Source, target: Target, dimension: str, expression: str, seed: tuple[int, ...]) -> list[Group]:
    """Judge the groups of one dimension, the largest first."""
    metrics = TASKS[target.task]
    rows = source.all(
        f"SELECT coalesce({expression}, '(missing)') AS name, part, block, {', '.join(metrics.sums)} "
        f"FROM judged GROUP BY ALL ORDER BY ALL"
    )
    sums: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for name, part, _, *values in rows:
        sums.setdefault((name, part), []).append(tuple(values))
    judged = {
        key: judge(metrics, np.array(blocks, np.float64), (*seed, int(key[1] == NOW))) for key, blocks in sums.items()
    }
    names = sorted(
        {name for name, _ in judged}, key=lambda name: -sum(j.rows for (n, _), j in judged.items() if n == name)
    )
    groups = []
    for name in names[:MOST_GROUPS]:
        group = Group(dimension, name, judged.get((name, NOW)), judged.get((name, BEFORE)))
        if group.now and group.before and group.now.enough and group.before.enough:
            group.p = worse(group.before, group.now)
        groups.append(group)
    return groups


def worst_of(source: Source, target: Target) -> list[dict[str, Any]]:
    """Give the worst predictions of the window with their inputs: the largest errors, or the newest wrong labels."""
    order = "time DESC" if target.task == "labels" else "abs(p - t) DESC"
    where = " AND p <> t" if target.task == "labels" else ""
    chosen = f"SELECT id, row, p, t FROM judged WHERE part = '{NOW}'{where} ORDER BY {order}, id, row LIMIT {WORST}"
    found = source.all(f"WITH worst AS ({chosen}) SELECT * FROM worst")
    if not found:
        return []
    ids = ", ".join(quoted(row[0]) for row in found)
    bodies = {
        (id, row): body
        for id, row, *body in source.all(
            f"SELECT id, row, time::TIMESTAMP, version, input, output FROM rows WHERE id IN ({ids})"
        )
    }
    names = ("time", "version", "input", "output")
    return [
        {"id": id, "row": row, "predicted": p, "truth": t, **dict(zip(names, bodies[id, row], strict=True))}
        for id, row, p, t in found
        if (id, row) in bodies
    ]


def pairs_by(source: Source, target: Target, unit: str) -> list[dict[str, Any]]:
    """Give the pairs of prediction and truth by day or week: how many, what they were on average, how far apart."""
    if target.task == "labels":
        values = "avg((p = t)::INTEGER) AS accuracy"
        names = ["start", "part", "pairs", "accuracy"]
    else:
        error = "avg(abs(p - t))" if target.task == "regression" else "avg((p - t) * (p - t))"
        values = f"avg(p), avg(t), {error}"
        names = ["start", "part", "pairs", "predicted", "truth", TASKS[target.task].loss]
    rows = source.all(
        f"SELECT date_trunc('{unit}', day)::DATE AS start, part, count(*), {values} "
        f"FROM judged GROUP BY ALL ORDER BY 1, 2"
    )
    return [dict(zip(names, row, strict=True)) for row in rows]


def details(source: Source, quality: TargetQuality) -> None:
    """Add what a plot of this kind of target needs."""
    now = f"FROM judged WHERE part = '{NOW}'"
    if quality.target.task == "labels":
        quality.confusion = source.all(f"SELECT t, p, count(*) {now} GROUP BY ALL ORDER BY 3 DESC, 1, 2 LIMIT 1000")
    else:
        quality.scatter = source.all(f"SELECT p, t {now} ORDER BY hash(id, row) LIMIT {SCATTERED}")
    if quality.target.task == "binary":
        quality.calibration = source.all(
            f"SELECT avg(p), avg(t), count(*) {now} GROUP BY least(floor(p * 10), 9) ORDER BY 1"
        )
