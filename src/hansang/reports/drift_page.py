"""The part of the page that shows drift: a line for each field, its distribution then and now, its threshold."""

from __future__ import annotations

from collections.abc import Iterator

from hansang.reports.chart import Plot, figure, legend
from hansang.reports.drift import Feature
from hansang.reports.features import Binned
from hansang.reports.make import Report
from hansang.reports.markup import chance, count, number, percent, safe, table

MOST_PLOTS = 6
LONGEST = 18


def drift_section(report: Report) -> Iterator[str]:
    """Draw the drift of the input and of the output; the fields that moved most come first."""
    drift = report.drift
    yield "<h2 id=drift>Drift of input and output</h2>"
    if drift.note:
        yield f"<p>{safe(drift.note).capitalize()}.</p>"
        return
    yield f"<p class=soft>{rows_told(report)}</p>"
    features = sorted(drift.features, key=lambda each: -(each.measured.score if each.measured else -1.0))
    flagged = [each for each in features if found(report, each)]
    yield legend(("before", "reference"), ("now", "window"))
    head = ["field", "", "distribution", "PSI and threshold", "p", "middle, before → now", "missing", "out of range"]
    rows = [row(report, each) for each in features]
    yield table(head, rows, numbers=(4,), bad=[place for place, each in enumerate(features) if each in flagged])
    shown = [each for each in flagged or features if each.bins and each.measured][:MOST_PLOTS]
    if shown:
        yield f"<div class=plots>{''.join(distribution(each) for each in shown)}</div>"


def rows_told(report: Report) -> str:
    """Say how many rows were compared, and how the thresholds were made."""
    drift = report.drift
    told = [
        f"{count(drift.rows[side])} of {count(drift.total[side])} rows"
        if drift.rows[side] < drift.total[side]
        else f"all {count(drift.rows[side])} rows"
        for side in (0, 1)
    ]
    null = (
        "rows and by redrawing days"
        if drift.by_day
        else "rows; there are too few days in the reference to redraw those"
    )
    return (
        f"Compared: {told[1]} of the window with {told[0]} of the reference. A threshold is the 99.9 % quantile of "
        f"what PSI is when nothing changes, found for each field by redrawing {null}; "
        f"never below {report.floors.psi:g}."
    )


def found(report: Report, feature: Feature) -> list[str]:
    """Give the kinds of findings on a feature."""
    name = f"{feature.side} {feature.name}"
    return [
        each.kind
        for each in report.verdict.findings
        if each.subject == name and each.kind in ("drift", "missing", "range")
    ]


def row(report: Report, feature: Feature) -> list[str]:
    """Give the line of one field."""
    name = f"<b>{safe(feature.name)}</b><br><span class=remark>{feature.side}, {safe(feature.kind)}</span>"
    facts, measured = feature.facts, feature.measured
    missing = percent(facts["missing_now"])
    if abs(facts["missing_now"] - facts["missing_before"]) > 0.0005:
        missing = f"{percent(facts['missing_before'])} → {missing}"
    outside = percent(facts["out_of_range"]) if "out_of_range" in facts else "–"
    if measured is None or feature.bins is None:
        note = f"<span class='tag none'>{safe(feature.note)}</span>"
        return [name, note, "", "", "", middle(feature), missing, outside]
    kinds = found(report, feature)
    tags = (
        " ".join(f"<span class='tag bad'>{kind}</span>" for kind in kinds) or "<span class='tag good'>as before</span>"
    )
    limit = max(measured.threshold, report.floors.psi)
    bar = f"{bullet(measured.score, limit)}<span class=remark>{measured.score:.3g}, threshold {limit:.3g}</span>"
    p = chance(feature.adjusted.get("drift", 1.0))
    return [name, tags, spark(feature.bins), bar, p, middle(feature), missing, outside]


def middle(feature: Feature) -> str:
    """Say where the middle of a field was and is."""
    facts = feature.facts
    if "median_before" in facts:
        moved = (
            f"<br><span class=remark>moved {facts['moved']:.2g} SD</span>" if facts["moved"] == facts["moved"] else ""
        )
        return f"{number(facts['median_before'])} → {number(facts['median_now'])}{moved}"
    if "most_before" in facts:
        return f"{safe(facts['most_before'][:LONGEST])} → {safe(facts['most_now'][:LONGEST])}"
    return "–"


def shares(bins: Binned) -> tuple[list[float], list[float]]:
    """Give the share of each bin in the reference and in the window."""
    old, new = (counts / max(counts.sum(), 1) for counts in (bins.reference.sum(0), bins.current.sum(0)))
    return old.tolist(), new.tolist()


def spark(bins: Binned) -> str:
    """Draw both distributions small, side by side in each bin."""
    old, new = shares(bins)
    most = max(*old, *new)
    plot = Plot((0, len(old)), (0, most), width=132, height=34, left=0, right=0, top=1, bottom=1)
    for place, (before, now) in enumerate(zip(old, new, strict=True)):
        plot.box((place + 0.08, place + 0.5), (0, before), "before")
        plot.box((place + 0.5, place + 0.92), (0, now), "now")
    return plot.svg("distribution in the reference and in the window", "spark")


def bullet(score: float, limit: float) -> str:
    """Draw a score as a bar with a mark at its threshold, on a scale that ends at twice the threshold."""
    most = 2 * limit
    plot = Plot((0, most), (0, 1), width=120, height=16, left=0, right=2, top=3, bottom=3)
    plot.box((0, min(score, most)), (0.15, 0.85), "bad" if score > limit else "now", f"{score:.4g}")
    plot.box((limit - most * 0.006, limit + most * 0.006), (0, 1), "limit", f"threshold {limit:.4g}")
    return plot.svg(f"{score:.3g} of a threshold of {limit:.3g}", "bullet")


def distribution(feature: Feature) -> str:
    """Draw both distributions of a field with their bins named."""
    bins = feature.bins
    if bins is None:
        return ""
    old, new = shares(bins)
    labels = [*bins.labels, "missing"]
    kept = [place for place in range(len(labels)) if old[place] or new[place]]
    most = max(*old, *new)
    turned = any(len(labels[place]) > 7 for place in kept)
    plot = Plot((0, len(kept)), (0, most * 1.08 * 100), bottom=88.0 if turned else 34.0, height=268 if turned else 220)
    plot.axes("share of rows, %")
    for at, place in enumerate(kept):
        told = f"{labels[place]}: {old[place]:.2%} before, {new[place]:.2%} now"
        plot.box((at + 0.12, at + 0.5), (0, old[place] * 100), "before", told)
        plot.box((at + 0.5, at + 0.88), (0, new[place] * 100), "now", told)
        x, y = plot.at(at + 0.5, 0)
        name = safe(labels[place] if len(labels[place]) <= LONGEST else labels[place][: LONGEST - 1] + "…")
        turn = f' transform="rotate(-38 {x:.1f} {y + 14:.1f})" text-anchor="end"' if turned else ' text-anchor="middle"'
        plot.parts.append(f'<text x="{x:.1f}" y="{y + 14:.1f}"{turn}>{name}</text>')
    key = legend(("before", "reference"), ("now", "window"))
    return figure(
        f"{feature.side} {feature.name}", plot.svg(f"Distribution of {feature.name}, before and now"), key=key
    )
