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
from hansang.reports.metrics import TASKS, Judged, Metrics, judge, macro_f1, worse
from hansang.reports.source import BEFORE, NOW, Source
from hansang.reports.statistics import Floats
from hansang.reports.targets import Target, find_targets
from hansang.reports.window import Window

MOST_TRUTHS = 2_000_000
MOST_GROUPS = 12
MOST_CLASSES = 30  # of which a mean F1 score is told
DAYS_ENOUGH, PARTS = 8, 40
WORST = 10
ALL = "all rows"
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

    def subject(self, target: Target) -> str:
        """Say which target this is about, and which of its rows."""
        return target.name + (f", {self.dimension} {self.name}" if self.dimension != ALL else "")

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
        judged = judge_target(source, target, [name for name, _ in slices], (seed, number))
        quality.targets += [judged] if judged.groups else []
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
    dimensions = [(ALL, "''")] + [(name, name) for name in ANSWERED_BY]
    dimensions += [(name, f"s{number}") for number, name in enumerate(slices)]
    groups = []
    for number, (name, expression) in enumerate(dimensions):
        found = judge_groups(source, target, name, expression, seed)
        if number == 0 or name in slices or len(found) > 1:
            groups += found
    quality = TargetQuality(target, metrics.loss, groups, {}, worst_of(source, target))
    for unit in ("day", "week"):
        quality.pairs[unit] = pairs_by(source, target, unit)
    details(source, quality, seed)
    return quality


def judge_groups(source: Source, target: Target, dimension: str, expression: str, seed: tuple[int, ...]) -> list[Group]:
    """Judge the groups of one dimension, the twelve largest, the largest first."""
    name = f"coalesce({expression}, '(missing)')"
    largest = source.all(f"SELECT {name} FROM judged GROUP BY ALL ORDER BY count(*) DESC, 1 LIMIT {MOST_GROUPS}")
    metrics = TASKS[target.task]
    sums = sum_groups(source, metrics, f"SELECT *, {name} AS name FROM judged", [each for (each,) in largest])
    groups = []
    for (each,) in largest:
        sides = (sums.get((each, part)) for part in (NOW, BEFORE))
        judged = [None if of is None else judge(metrics, of, (*seed, side)) for side, of in enumerate(sides)]
        group = Group(dimension, each, judged[0], judged[1])
        if group.now and group.before and group.now.enough and group.before.enough:
            group.p = worse(group.before, group.now)
        groups.append(group)
    return groups


def sum_groups(source: Source, metrics: Metrics, rows: str, names: list[str]) -> dict[tuple[str, str], Floats]:
    """Sum up what the metrics need, by group and window; one row a block."""
    chosen = f"FROM ({rows}) WHERE name IN ({', '.join(map(quoted, names)) or 'NULL'}) GROUP BY ALL ORDER BY ALL"
    summed: dict[tuple[str, str], dict[int, list[float]]] = {}
    for name, part, block, *values in source.all(f"SELECT name, part, block, {', '.join(metrics.sums)} {chosen}"):
        summed.setdefault((name, part), {})[block] = [*values, *[0.0] * metrics.bins]
    if metrics.bins:
        for name, part, block, place, count in source.all(
            f"SELECT name, part, block, {metrics.bin} AS place, count(*) {chosen}"
        ):
            summed[name, part][block][len(metrics.sums) + place] = count
    return {key: np.array(list(blocks.values()), np.float64) for key, blocks in summed.items()}


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


def details(source: Source, quality: TargetQuality, seed: tuple[int, ...]) -> None:
    """Add what a plot of this kind of target needs."""
    now = f"FROM judged WHERE part = '{NOW}'"
    if quality.target.task == "labels":
        quality.confusion = source.all(f"SELECT t, p, count(*) {now} GROUP BY ALL ORDER BY 3 DESC, 1, 2 LIMIT 1000")
        for group in quality.groups[:1]:
            add_f1(source, group, seed)
    else:
        quality.scatter = source.all(f"SELECT p, t {now} ORDER BY hash(id, row) LIMIT {SCATTERED}")
    if quality.target.task == "binary":
        quality.calibration = source.all(
            f"SELECT avg(p), avg(t), count(*) {now} GROUP BY least(floor(p * 10), 9) ORDER BY 1"
        )


def add_f1(source: Source, group: Group, seed: tuple[int, ...]) -> None:
    """Add the mean F1 score to the metrics of all rows, where the classes are not too many."""
    for part, judged in ((NOW, group.now), (BEFORE, group.before)):
        rows = source.all(f"SELECT block, t, p, count(*) FROM judged WHERE part = '{part}' GROUP BY ALL ORDER BY ALL")
        names = sorted({name for _, truth, predicted, _ in rows for name in (truth, predicted)})
        if judged is None or not judged.enough or len(names) > MOST_CLASSES:
            continue
        places = {name: place for place, name in enumerate(names)}
        blocks = {block: place for place, block in enumerate(sorted({row[0] for row in rows}))}
        confusions = np.zeros((len(blocks), len(names), len(names)))
        for block, truth, predicted, count in rows:
            confusions[blocks[block], places[truth], places[predicted]] = count
        judged.metrics["macro F1"] = macro_f1(confusions, (*seed, int(part == NOW)))
