"""A report as plain data, for schedulers and other programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from hansang.reports.drift import Feature
from hansang.reports.make import Report
from hansang.reports.metrics import Judged
from hansang.reports.quality import Group, TargetQuality
from hansang.reports.traffic import Totals
from hansang.reports.window import Window, moment

Data = dict[str, Any]


def document(report: Report) -> Data:
    """Give a report as data that JSON holds; times are ISO 8601 in UTC, shares are between 0 and 1."""
    verdict, drift, quality = report.verdict, report.drift, report.quality
    return {
        "service": report.service,
        "endpoint": report.endpoint,
        "window": span(report.window),
        "reference": span(report.reference) if isinstance(report.reference, Window) else str(report.reference),
        "status": verdict.status,
        "findings": [asdict(finding) for finding in verdict.findings],
        "tests": {"number": verdict.tests, "alpha": verdict.alpha, "adjusted": "Holm", "floors": asdict(report.floors)},
        "traffic": {
            "now": totals(report.traffic.now),
            "before": totals(report.traffic.before) if report.traffic.before else None,
            "versions": [totals(each) for each in report.traffic.versions],
            "errors": [{"status": s, "error": text, "rows": rows} for s, text, rows in report.traffic.errors],
        },
        "quality": {
            "note": quality.note,
            "told": dict(zip(("before", "now"), quality.told, strict=True)),
            "targets": [target_data(each) for each in quality.targets],
        },
        "drift": {
            "note": drift.note,
            "rows": dict(zip(("before", "now"), drift.rows, strict=True)),
            "by_day": drift.by_day,
            "features": [feature_data(each) for each in drift.features],
        },
        "made": moment(report.made),
    }


def span(window: Window) -> Data:
    """Give a window."""
    return {"start": moment(window.start), "end": moment(window.end)}


def totals(each: Totals) -> Data:
    """Give the totals of a group of rows."""
    data = asdict(each)
    data["latency_ms"] = dict(zip(("p50", "p95", "p99"), data.pop("latency"), strict=True))
    return data


def target_data(quality: TargetQuality) -> Data:
    """Give the quality of one target."""
    return {
        "name": quality.target.name,
        "task": quality.target.task,
        "loss": quality.loss,
        "groups": [group_data(each) for each in quality.groups],
        "pairs": {
            unit: [{**row, "start": row["start"].isoformat()} for row in rows] for unit, rows in quality.pairs.items()
        },
        "worst": [
            {
                **row,
                "time": f"{row['time'].isoformat()}Z",
                "input": parsed(row["input"]),
                "output": parsed(row["output"]),
            }
            for row in quality.worst
        ],
    }


def group_data(group: Group) -> Data:
    """Give one version or slice."""
    return {
        "dimension": group.dimension,
        "name": group.name,
        "now": judged(group.now),
        "before": judged(group.before),
        "p": group.adjusted,
    }


def judged(each: Judged | None) -> Data | None:
    """Give the metrics of a group with their intervals."""
    if each is None:
        return None
    metrics = {name: dict(zip(("value", "low", "high"), values, strict=True)) for name, values in each.metrics.items()}
    return {"rows": each.rows, "enough": each.enough, "metrics": metrics}


def feature_data(feature: Feature) -> Data:
    """Give what became of one field."""
    measured = feature.measured
    return {
        "name": feature.name,
        "side": feature.side,
        "kind": feature.kind,
        "note": feature.note,
        "psi": measured.score if measured else None,
        "threshold": measured.threshold if measured else None,
        "p": feature.adjusted,
        **feature.facts,
    }


def parsed(text: str | None) -> Any:
    """Read a body."""
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text
