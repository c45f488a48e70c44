"""Traffic, errors and latency of a service, aggregated inside DuckDB over every row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from hansang.reports.metrics import DRAWS
from hansang.reports.source import BEFORE, NOW, Source
from hansang.reports.statistics import bootstrapped, p_value

STEPS = (60, 300, 900, 3600, 4 * 3600, 86400, 7 * 86400)  # seconds of a bar
MOST_BARS = 120
SUMMED = (
    "count(*), count(*) FILTER (status >= 500), count(*) FILTER (status BETWEEN 400 AND 499), count(*) FILTER (cached)"
)
QUANTILES = "quantile_cont(latency_ms, [0.5, 0.95, 0.99])"
FEWEST_BLOCKS = 7


@dataclass(frozen=True, slots=True)
class Totals:
    """What one window or one group of rows amounts to; latencies in milliseconds."""

    name: str
    rows: int
    failed: int
    refused: int
    cached: int
    latency: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Bar:
    """One step of time: totals from `start`, in UTC."""

    start: datetime
    totals: Totals


@dataclass(slots=True)
class Traffic:
    """Everything about traffic; `p` says how likely it is that failures have not become more."""

    now: Totals
    before: Totals | None
    bars: list[Bar]
    step: int
    versions: list[Totals]
    errors: list[tuple[int, str, int]]
    p: float | None


def measure_traffic(source: Source, seed: int = 0) -> Traffic:
    """Count the rows of the windows, by time and by version."""
    parts = {totals.name: totals for totals in grouped(source, "part")}
    step = next((step for step in STEPS if source.window.seconds / step <= MOST_BARS), STEPS[-1])
    place = f"(floor(epoch_us(time) / 1e6 / {step}) * {step})::BIGINT"
    bars = [
        Bar(datetime.fromtimestamp(int(totals.name), UTC), totals)
        for totals in grouped(source, place, f"part = '{NOW}'", order=place)
    ]
    versions = "concat_ws(' ', nullif(model::VARCHAR, ''), nullif(version::VARCHAR, ''), nullif(variant::VARCHAR, ''))"
    errors = source.all(
        f"SELECT status, coalesce(left(error, 200), ''), count(*) FROM rows WHERE part = '{NOW}' AND status >= 400 "
        f"GROUP BY ALL ORDER BY 3 DESC, 1, 2 LIMIT 8"
    )
    return Traffic(
        parts[NOW],
        parts.get(BEFORE),
        bars,
        step,
        grouped(source, versions, f"part = '{NOW}'", order="2 DESC, 1"),
        errors,
        failures_p(source, seed) if BEFORE in parts else None,
    )


def grouped(source: Source, expression: str, where: str = "true", order: str = "1") -> list[Totals]:
    """Give the totals of groups."""
    rows = source.all(
        f"SELECT {expression}, {SUMMED}, {QUANTILES} FROM rows WHERE {where} GROUP BY {expression} ORDER BY {order}"
    )
    return [
        Totals(str(name), total, failed, refused, cached, tuple(quantiles or (0.0, 0.0, 0.0)))
        for name, total, failed, refused, cached, quantiles in rows
    ]


def failures_p(source: Source, seed: int) -> float:
    """Give the p-value that the share of failures (status 500 and above) has not grown, from redrawn days.

    Where the reference has too few days, parts of its rows chosen by their ids take their place.
    """
    sums: dict[str, Any] = {}
    (days,) = source.all(f"SELECT count(DISTINCT time::DATE) FROM rows WHERE part = '{BEFORE}'")[0]
    block = "time::DATE" if days >= FEWEST_BLOCKS else "hash(id, row) % 40"
    for part, _, rows, failed in source.all(
        f"SELECT part, {block}, count(*), count(*) FILTER (status >= 500) FROM rows GROUP BY ALL ORDER BY ALL"
    ):
        sums.setdefault(part, []).append((rows, failed))
    old, new = (np.array(sums[part], np.float64) for part in (BEFORE, NOW))
    together = (old.sum(0) + new.sum(0))[1] / (old.sum(0) + new.sum(0))[0]
    random = np.random.default_rng((seed, 9))
    growth = new.sum(0)[1] / new.sum(0)[0] - old.sum(0)[1] / old.sum(0)[0]
    if growth <= 0:
        return 1.0
    by_row = [random.binomial(int(each.sum(0)[0]), together, DRAWS) / each.sum(0)[0] for each in (old, new)]
    blocks = [bootstrapped(old, DRAWS, (seed, 9, side)) for side in (0, 1)]
    shares = [each[:, 1] / np.maximum(each[:, 0], 1) for each in blocks]
    return max(p_value(growth, by_row[1] - by_row[0]), p_value(growth, shares[1] - shares[0]))
