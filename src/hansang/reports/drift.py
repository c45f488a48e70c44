"""Drift: which fields of the input and the output do not look like the reference any more."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hansang.record.views import quoted
from hansang.reports.features import Binned, Side, binned, is_free_text
from hansang.reports.fields import Field, find_fields
from hansang.reports.null import Measured, Null
from hansang.reports.source import BEFORE, NOW, Source
from hansang.reports.statistics import exceedance, wasserstein
from hansang.reports.window import Window

MOST_ROWS = 100_000
FEWEST_ROWS = 50
SIDES = ("input", "output")
CHUNK = 64  # fields that are read at once


@dataclass(slots=True)
class Feature:
    """What became of one field. `note` says why it is not compared; else the p-values are there, not yet adjusted.

    `tests` holds them by kind: `drift`, `missing`, `range`. `facts` are what a reader looks for: mean and median, or
    the most frequent value, then and now; shares of missing and of out-of-range values.
    """

    name: str
    side: str
    kind: str
    rows: tuple[int, int]
    note: str = ""
    measured: Measured | None = None
    bins: Binned | None = None
    tests: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    adjusted: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Drift:
    """All features; `rows` and `days` are those that were looked at in the reference and in the window."""

    features: list[Feature]
    rows: tuple[int, int]
    days: tuple[int, int]
    total: tuple[int, int]
    by_day: bool = False
    note: str = ""


def measure_drift(source: Source, alpha: float, others: int = 0, seed: int = 0) -> Drift:
    """Compare the bodies of the windows; of each at most 100,000 rows, chosen by their ids.

    `others` is the number of other tests that the report adjusts together with these.
    """
    total = sample(source)
    days = tuple(day_count(source, part) for part in (BEFORE, NOW))
    rows = tuple(source.all(f"SELECT count(*) FROM sampled WHERE part = '{part}'")[0][0] for part in (BEFORE, NOW))
    drift = Drift([], rows, days, total)  # type: ignore[arg-type]  # two parts each
    if min(rows) < FEWEST_ROWS:
        where = "the reference" if rows[0] < FEWEST_ROWS else "the window"
        drift.note = f"not enough rows: {min(rows)} in {where}, {FEWEST_ROWS} are needed"
        return drift
    known = "sampled" if isinstance(source.reference, Window) else f"(SELECT * FROM sampled WHERE part = '{NOW}')"
    fields = [each for side in SIDES for each in find_fields(source.connection, known, side)]
    sides = [pair for at in range(0, len(fields), CHUNK) for pair in read(source, fields[at : at + CHUNK])]
    null = Null(drift.days, 3 * len(fields) + others, alpha, seed)
    drift.by_day = null.by_day
    drift.features = [compare(each, old, new, null) for each, old, new in sides]
    return drift


def sample(source: Source) -> tuple[int, int]:
    """Make the table `sampled` of the answered rows that are looked at; give how many there are altogether."""
    counted = dict(source.all("SELECT part, count(*) FROM rows WHERE status = 200 GROUP BY part"))
    chosen = " OR ".join(
        f"(part = '{part}' AND hash(id, row) % 1000000 < {round(1e6 * min(1.0, MOST_ROWS / max(rows, 1)))})"
        for part, rows in counted.items()
    )
    body = "time::DATE AS day, part, input, output"
    query = f"SELECT {body} FROM rows WHERE status = 200 AND ({chosen or 'false'})"
    if not isinstance(source.reference, Window):
        query += f" UNION ALL {training(source)}"
    source.run(f"CREATE OR REPLACE TEMP TABLE sampled AS {query}")
    if not isinstance(source.reference, Window):
        counted[BEFORE] = source.all(f"SELECT count(*) FROM {file_relation(source)}")[0][0]
    return counted.get(BEFORE, 0), counted.get(NOW, 0)


def file_relation(source: Source) -> str:
    """Give how DuckDB reads the reference's file."""
    reader = "read_csv" if str(source.reference).lower().endswith(".csv") else "read_parquet"
    return f"{reader}({quoted(str(source.reference))})"


def training(source: Source) -> str:
    """Give the query for a file of training data as bodies of inputs, of one day; there are no outputs."""
    relation = file_relation(source)
    return (
        f"SELECT DATE '1970-01-01', '{BEFORE}', to_json(file)::VARCHAR, NULL "
        f"FROM (SELECT * FROM {relation} USING SAMPLE reservoir({MOST_ROWS} ROWS) REPEATABLE (1)) AS file"
    )


def day_count(source: Source, part: str) -> int:
    """Count the days of a window that have rows."""
    return int(source.all(f"SELECT count(DISTINCT day) FROM sampled WHERE part = '{part}'")[0][0])


def read(source: Source, fields: list[Field]) -> list[tuple[Field, Side, Side]]:
    """Read the values of fields in the reference and in the window; of free texts their lengths."""
    old = columns(source, BEFORE, fields)
    free = [place for place, each in enumerate(fields) if each.kind == "text" and is_free_text(old[place].present)]
    if free:
        fields = [replace(each, kind="length") if place in free else each for place, each in enumerate(fields)]
        for place, each in zip(free, columns(source, BEFORE, [fields[place] for place in free]), strict=True):
            old[place] = each
    return list(zip(fields, old, columns(source, NOW, fields), strict=True))


def columns(source: Source, part: str, fields: list[Field]) -> list[Side]:
    """Read fields of one window; each body is parsed once."""
    texts, values = [], []
    for name in SIDES:
        own = [each for each in fields if each.side == name]
        texts.append(f"json_extract_string({name}, [{', '.join(quoted(each.json_path) for each in own)}]) AS {name}")
        values += [(fields.index(each), each.value(f"{name}[{number}]")) for number, each in enumerate(own, 1)]
    selected = "".join(f", {sql} AS f{place}" for place, sql in sorted(values))
    table = source.table(
        f"SELECT (dense_rank() OVER (ORDER BY day) - 1)::INTEGER AS day{selected} "
        f"FROM (SELECT day, {', '.join(texts)} FROM sampled WHERE part = '{part}')"
    )
    day = table.column("day").to_numpy().astype(np.int64)
    return [side(table.column(f"f{place}"), day, int(day.max()) + 1) for place in range(len(fields))]


def side(column: Any, day: NDArray[np.int64], days: int) -> Side:
    """Make an Arrow column a side: numbers that are not finite count as missing."""
    missing = column.is_null().to_numpy()
    if pa.types.is_floating(column.type):
        values = column.fill_null(0.0).to_numpy()
        finite = np.isfinite(values)
        return Side(np.where(finite, values, 0.0), missing | ~finite, day, days)
    return Side(column.fill_null("").to_numpy().astype(str), missing, day, days)


def compare(field: Field, old: Side, new: Side, null: Null) -> Feature:
    """Compare one field with its reference."""
    rows = len(old.present), len(new.present)
    kind = {"length": "length of text", "list": "length of list"}.get(field.kind, field.kind)
    feature = Feature(field.name, field.side, kind, rows, facts=facts(old, new))
    feature.note = obstacle(feature, old, new)
    if feature.note:
        return feature
    bins = feature.bins = binned(old, new)
    if bins.constant:
        feature.note = "constant"
        return feature
    measured = feature.measured = null.measure(bins.reference, bins.current)
    feature.tests["drift"] = measured.p
    if bins.current[:, -1].sum():
        feature.tests["missing"] = measured.missing_p
    if old.values.dtype.kind == "f" and rows[1]:
        feature.tests["range"] = range_p(old, new, null)
    return feature


def obstacle(feature: Feature, old: Side, new: Side) -> str:
    """Say why a field cannot be compared; empty when it can."""
    before, now = feature.rows
    if not before and not now:
        return "always missing"
    if not before:
        return "not in the reference"
    if before < FEWEST_ROWS and len(old.values) - before < FEWEST_ROWS:
        return f"not enough rows: {before} values in the reference"
    return f"not enough rows: {before} values in the reference" if before < FEWEST_ROWS and now < FEWEST_ROWS else ""


def range_p(old: Side, new: Side, null: Null) -> float:
    """Give how likely so many values, and so many days with some, are beyond the reference when nothing changed."""
    low, high = old.present.min(), old.present.max()
    smallest = 1.0
    for beyond in (~new.missing & (new.values < low), ~new.missing & (new.values > high)):
        p = exceedance(int(beyond.sum()), len(new.present), len(old.present))
        if null.by_day:
            p = max(p, exceedance(len(np.unique(new.day[beyond])), new.days, old.days))
        smallest = min(smallest, p)
    return min(1.0, 2 * smallest)


def facts(old: Side, new: Side) -> dict[str, Any]:
    """Give what a reader looks for, then and now."""
    told: dict[str, Any] = {
        "missing_before": share(old.missing),
        "missing_now": share(new.missing),
    }
    before, now = old.present, new.present
    if not len(before) or not len(now):
        return told
    if before.dtype.kind == "f":
        told |= {"mean_before": float(before.mean()), "mean_now": float(now.mean())}
        told |= {"median_before": float(np.median(before)), "median_now": float(np.median(now))}
        told["out_of_range"] = share((now < before.min()) | (now > before.max()))
        told["range_before"] = [float(before.min()), float(before.max())]
        told["moved"] = wasserstein(before, now)
    else:
        told |= {"most_before": most(before), "most_now": most(now)}
        told["out_of_range"] = share(~np.isin(now.astype(str), np.unique(before.astype(str))))
    return told


def share(flags: NDArray[np.bool_]) -> float:
    """Give the share of rows of which something holds."""
    return float(flags.mean()) if len(flags) else 0.0


def most(values: NDArray[Any]) -> str:
    """Give the most frequent text."""
    words, counts = np.unique(values.astype(str), return_counts=True)
    return str(words[counts.argmax()])
