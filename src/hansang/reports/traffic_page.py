"""The part of the page that shows traffic, errors and latency."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC

from hansang.reports.chart import Plot, figure, legend, times
from hansang.reports.make import Report
from hansang.reports.markup import count, percent, safe, table
from hansang.reports.traffic import Bar, Totals

SPANS = {
    60: "minute",
    300: "5 minutes",
    900: "15 minutes",
    3600: "hour",
    14400: "4 hours",
    86400: "day",
    604800: "week",
}


def traffic_section(report: Report) -> Iterator[str]:
    """Draw rows, latency and shares over time; then versions and errors as tables."""
    traffic = report.traffic
    yield "<h2 id=traffic>Traffic, errors, latency</h2>"
    if len(report.endpoints) > 1:
        others = ", ".join(name for name in report.endpoints if name != report.endpoint)
        yield f"<p class=soft>Endpoint {safe(report.endpoint)}; not shown: {safe(others)}.</p>"
    yield f"<div class=plots>{rows_plot(report)}{latency_plot(report)}</div>"
    head = ["", "rows", "failed (5xx)", "refused (4xx)", "from cache", "p50 ms", "p95 ms", "p99 ms"]
    lines = [("now", traffic.now)] + ([("before", traffic.before)] if traffic.before else [])
    yield table(head, [totals_row(name, each) for name, each in lines], numbers=range(1, 8))
    if len(traffic.versions) > 1:
        yield "<h3>By model, version and variant</h3>"
        head[0] = "model"
        yield table(
            head, [totals_row(each.name or "(none)", each) for each in traffic.versions[:12]], numbers=range(1, 8)
        )
    if traffic.errors:
        yield "<h3>What went wrong most often</h3>"
        yield table(
            ["status", "error", "rows"],
            [[str(s), safe(text), count(rows)] for s, text, rows in traffic.errors],
            numbers=[2],
        )


def totals_row(name: str, totals: Totals) -> list[str]:
    """Give one line of the table."""
    shares = (
        percent(part / totals.rows if totals.rows else 0.0) for part in (totals.failed, totals.refused, totals.cached)
    )
    return [safe(name), count(totals.rows), *shares, *(f"{value:,.1f}" for value in totals.latency)]


def rows_plot(report: Report) -> str:
    """Draw how many rows there were, and how many of them were refused or failed."""
    bars, step = report.traffic.bars, report.traffic.step
    most = max(bar.totals.rows for bar in bars)
    plot = Plot((report.window.start, report.window.end), (0, most * 1.05))
    plot.axes(
        f"rows a {SPANS[step]}".replace("a 5", "in 5").replace("a 15", "in 15").replace("a 4", "in 4"),
        "UTC",
        times(*plot.x),
    )
    for bar in bars:
        start, each = begin(bar), bar.totals
        span = (max(start, plot.x[0]) + step * 0.06, min(start + step * 0.94, plot.x[1]))
        if span[1] <= span[0]:
            continue
        good = each.rows - each.failed - each.refused
        told = f"{bar.start:%Y-%m-%d %H:%M}: {each.rows:,} rows, {each.refused:,} refused, {each.failed:,} failed"
        plot.box(span, (0, good), "now", told)
        plot.box(span, (good, good + each.refused), "third", told)
        plot.box(span, (good + each.refused, each.rows), "bad", told)
    key = legend(("now", "answered"), ("third", "refused (4xx)"), ("bad", "failed (5xx)"))
    return figure("Rows", plot.svg(f"Rows over time, at most {most:,} a {SPANS[step]}"), key=key)


def latency_plot(report: Report) -> str:
    """Draw the quantiles of latency over time."""
    bars, step = report.traffic.bars, report.traffic.step
    most = max(bar.totals.latency[2] for bar in bars)
    plot = Plot((report.window.start, report.window.end), (0, most * 1.08 or 1.0))
    plot.axes("latency, ms", "UTC", times(*plot.x))
    for number, style in ((2, "bad"), (1, "third"), (0, "now")):
        points = [(min(max(begin(bar) + step / 2, plot.x[0]), plot.x[1]), bar.totals.latency[number]) for bar in bars]
        plot.line(points, style)
        if len(points) < 3:
            for x, y in points:
                plot.dot(x, y, style if style != "third" else "before")
    key = legend(("now", "p50"), ("third", "p95"), ("bad", "p99"))
    return figure("Latency", plot.svg("Quantiles of latency over time"), key=key)


def begin(bar: Bar) -> float:
    """Give when a bar begins, in seconds since the epoch."""
    return bar.start.replace(tzinfo=UTC).timestamp()
