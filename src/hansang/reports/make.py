"""A report: what a service did in a window, whether it was right, and whether its world is still the same."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hansang.errors import UsageError
from hansang.record.moments import Moment
from hansang.reports.drift import Drift, measure_drift
from hansang.reports.quality import Quality, measure_quality
from hansang.reports.source import open_source
from hansang.reports.traffic import Traffic, measure_traffic
from hansang.reports.verdict import FLOORS, Floors, Verdict, decide
from hansang.reports.window import Window, read_reference, read_window


@dataclass(slots=True)
class Report:
    """Everything that a report says; `hansang.reports.page.html` draws it, `document` gives it as plain data."""

    service: str
    endpoint: str
    endpoints: list[str]
    window: Window
    reference: Window | Path
    traffic: Traffic
    quality: Quality
    drift: Drift
    verdict: Verdict
    floors: Floors
    made: float


def report(  # noqa: PLR0913  # each says which part, or how strict
    service: str,
    folder: str | Path = ".hansang/records",
    *,
    since: Moment = "7d",
    until: Moment | None = None,
    reference: str = "28d",
    by: Sequence[str] = (),
    endpoint: str | None = None,
    alpha: float = 0.01,
    floors: Floors = FLOORS,
    seed: int = 0,
) -> Report:
    """Compare what a service did in a window with a reference, from its record.

    `reference` is a span before the window (`28d`), `FROM..TO`, or a .parquet or .csv file with the training data,
    whose columns are the fields of the input. `by` names fields of the input to slice the quality by. `alpha` is the
    chance that anything at all is found although nothing has changed. The same record and `seed` give the same report.

    Raises `UsageError` for an unknown service, endpoint or field, and for a window without rows.
    """
    if not 0 < alpha < 1:
        raise UsageError(f"alpha: {alpha} is no chance between 0 and 1")
    now = time.time()
    window = read_window(since, until, now)
    against = read_reference(reference, window)
    source = open_source(Path(folder), service, endpoint, window, against)
    with source.connection:
        traffic = measure_traffic(source, seed)
        quality = measure_quality(source, by, seed)
        judged = sum(len(target.groups) for target in quality.targets)
        drift = measure_drift(source, alpha, judged + 1, seed)
    verdict = decide(traffic, quality, drift, alpha, floors)
    return Report(
        service, source.endpoint, source.endpoints, window, against, traffic, quality, drift, verdict, floors, now
    )
