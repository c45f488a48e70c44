"""A report as one page of HTML that needs nothing else: no network, no script, plots as SVG."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from hansang.reports.drift_page import drift_section
from hansang.reports.make import Report
from hansang.reports.markup import chance, count, number, percent, safe
from hansang.reports.quality_page import quality_section
from hansang.reports.style import STYLE, icon
from hansang.reports.traffic_page import traffic_section

TITLES = {
    "fine": "Fine",
    "degraded": "Degraded",
    "drift": "Drifted",
    "unknown": "Not enough rows to judge",
}


def html(report: Report) -> str:
    """Draw a report."""
    title = f"{report.service}: {TITLES[report.verdict.status].lower()}"
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return "".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{safe(title)}</title><style>{STYLE}</style></head><body><main>\n",
            "\n".join(sections(report)),
            "\n</main></body></html>\n",
        ]
    )


def sections(report: Report) -> Iterator[str]:
    """Give the parts of the page from top to bottom."""
    yield f"<header><h1>{safe(report.service)}</h1>"
    yield f"<p class=soft>{safe(report.window)} (UTC), compared with {safe(report.reference)}</p></header>"
    yield verdict(report)
    yield f"<div class=cards>{''.join(cards(report))}</div>"
    if report.verdict.findings:
        yield f"<ul class=findings>{''.join(findings(report))}</ul>"
    yield from quality_section(report)
    yield from drift_section(report)
    yield from traffic_section(report)
    yield from method(report)


def verdict(report: Report) -> str:
    """Say in a sentence what the report comes to."""
    status, findings = report.verdict.status, report.verdict.findings
    kinds = {
        "quality": "quality is worse",
        "errors": "more rows fail",
        "drift": "fields have drifted",
        "missing": "more values are missing",
        "range": "values are out of range",
    }
    words = [text for kind, text in kinds.items() if any(finding.kind == kind for finding in findings)]
    told = f"{', '.join(words).capitalize()}." if words else "Nothing that is both improbable and large has changed."
    if status == "unknown":
        told = "Neither enough truths nor enough rows in the reference; nothing was tested."
    chances = f"a chance of at most {report.verdict.alpha:g} of any false finding"
    tested = f"{report.verdict.tests} tests, adjusted together by Holm: {chances}."
    return (
        f"<div class='verdict {status}'>{icon(status)}<div><b>{TITLES[status]}</b><p>{safe(told)}</p>"
        f"<p class=remark>{tested if report.verdict.tests else ''}</p></div></div>"
    )


def cards(report: Report) -> Iterator[str]:
    """Give the numbers that are looked at first."""
    now, before = report.traffic.now, report.traffic.before
    yield card("rows", count(now.rows), f"{count(before.rows)} before" if before else "no reference")
    failing = any(finding.kind == "errors" for finding in report.verdict.findings)
    earlier = f"{percent(before.failed / before.rows)} before" if before else "no reference"
    yield card("failed (5xx)", percent(now.failed / now.rows), earlier, bad=failing)
    then = f"p50 {now.latency[0]:,.1f} ms"
    yield card(
        "latency, p99", f"{now.latency[2]:,.1f} ms", then + (f", p99 {before.latency[2]:,.1f} before" if before else "")
    )
    for target in report.quality.targets[:2]:
        group = target.groups[0]
        if group.now:
            worse = any(
                each.kind == "quality" and each.subject == target.target.name for each in report.verdict.findings
            )
            earlier = f"{number(group.before.loss)} before" if group.before else "no truth before"
            yield card(f"{target.target.name}, {target.loss}", number(group.now.loss), earlier, bad=worse)
    compared = [feature for feature in report.drift.features if feature.measured]
    moved = {each.subject for each in report.verdict.findings if each.kind in ("drift", "missing", "range")}
    if compared:
        yield card("fields that changed", str(len(moved)), f"of {len(compared)} compared", bad=bool(moved))


def card(name: str, value: str, remark: str, *, bad: bool = False) -> str:
    """Give one number."""
    style = "card bad" if bad else "card"
    return (
        f"<div class='{style}'><span>{safe(name)}</span><strong>{safe(value)}</strong><span>{safe(remark)}</span></div>"
    )


def findings(report: Report) -> Iterator[str]:
    """Give what was found, one line each."""
    for each in report.verdict.findings:
        p = f"<span class=remark>adjusted p {chance(each.p)}</span>"
        yield (
            f"<li><span><span class='tag bad'>{each.kind}</span></span>"
            f"<span><b>{safe(each.subject)}</b>: {safe(each.text)} {p}</span></li>"
        )


def method(report: Report) -> Iterator[str]:
    """Say how it was measured."""
    floors = report.floors
    yield "<h2 id=method>How this was measured</h2>"
    yield (
        "<p>Every test asks whether the window could have come from the reference; all p-values of the report are "
        "adjusted together (Holm 1979). What is told passed its test and is large enough: "
        f"a PSI of {floors.psi:g}, a loss that grew by {floors.loss:.0%}, or {floors.share:.0%} of rows.</p>"
        "<p>Drift: the population stability index over bins of the reference, with a bin for missing values; its null "
        "is bootstrapped for each field by rows and, from seven days on, by whole days; the larger p-value counts. Out "
        "of range: the exact distribution of exceedances (Gumbel and von Schelling 1950). Quality: intervals of 95 % "
        "and one-sided tests from the bootstrap over days, or over parts of the rows where days are few; shares not "
        "narrower than Wilson's interval.</p>"
        "<p>Days are taken as exchangeable: seasons and weather that last for weeks are told as drift, because the "
        "model meets what its reference did not hold.</p>"
    )
    yield f"<p class=soft>Made {datetime.fromtimestamp(report.made, UTC):%Y-%m-%d %H:%M} UTC.</p>"
