"""A replay as a page: tables for Markdown, HTML and the terminal, all from the same plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
th, td { border-bottom: 1px solid #8884; padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
td.number { font-variant-numeric: tabular-nums; text-align: right; }
:root { color-scheme: light dark; }
"""
SIDES = ("recorded", "new", "difference")
QUANTILES = ("p50", "p95", "p99")


@dataclass(frozen=True, slots=True)
class Part:
    """One table with its heading."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def parts(document: Mapping[str, Any]) -> Iterator[Part]:
    """Give the tables of a replay that hold something."""
    for part in (
        overview(document),
        left(document),
        failures(document),
        fields(document),
        *numbers(document),
        *confusions(document),
        quality(document),
        latency(document),
    ):
        if part.rows:
            yield part


def overview(document: Mapping[str, Any]) -> Part:
    """Say what was replayed, and how much of it changed."""
    rows = [
        ("service", f"{document['service']}, endpoint {document['endpoint']}"),
        ("recorded by version", listed(document["recorded_versions"])),
        ("answered now by", document.get("answered_by") or document.get("url", "")),
    ]
    if models := document.get("models"):
        named = (f"{name.partition(' ')[2]} {version}".strip() for name, version in models.items())
        rows.append(("models", ", ".join(named)))
    rows += [
        ("span", f"{document['first']} to {document['last']}"),
        ("rows replayed", f"{document['replayed']:,}"),
        ("rows that changed", f"{document['changed']:,}: {share(document)}"),
        ("failed only now", f"{document['newly_failed']:,}"),
        ("answered only now", f"{document['newly_answered']:,}"),
        ("failed both times", f"{document['failed_both_times']:,}"),
    ]
    if document["recorded_answer_unknown"]:
        rows.append(("recorded answer too large to compare", f"{document['recorded_answer_unknown']:,}"))
    if hidden := document["fields_not_compared"]:
        rows.append(("fields not compared", ", ".join(f"{name} ({how})" for name, how in hidden.items())))
    if "asked_rate" in document:
        rows += sending(document)
    else:
        speed = f"{document['rows_per_second']:,.0f} rows/s in {document['processes']} processes"
        rows.append(("speed", f"{document['seconds']:.1f} s, {speed}"))
    return Part("Replay", ("", ""), rows)


def sending(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say how a load went."""
    rates = (f"{document[f'{name}_rate']:,.1f} {name}" for name in ("asked", "sent", "answered"))
    return [
        ("requests", f"{document['requests']:,}"),
        ("arrays without all their rows", f"{document['arrays_without_all_rows']:,}"),
        ("requests a second", ", ".join(rates)),
        ("latest request", f"{document['late_seconds'] * 1e3:,.1f} ms after it was due"),
        ("waited for a place in flight", f"{document['held_back']:,}"),
        ("statuses", listed(document["statuses"])),
    ]


def left(document: Mapping[str, Any]) -> Part:
    """Say what could not be replayed, and why."""
    rows = [(why, f"{count:,}") for why, count in document["not_replayed"].items()]
    return Part("Not replayed", ("why", "rows"), rows)


def failures(document: Mapping[str, Any]) -> Part:
    """Say why rows fail now."""
    return Part("Errors now", ("error", "rows"), [(why, f"{count:,}") for why, count in document["errors"].items()])


def fields(document: Mapping[str, Any]) -> Part:
    """Say how much each field changed."""
    rows = []
    for name, found in document["fields"].items():
        apart = found.get("numbers", {}).get("difference", {})
        of = [number(apart.get(key)) for key in ("mean", "p05", "p50", "p95")]
        rows.append((name, f"{found['rows']:,}", share(found), *of))
    head = ("field", "rows", "changed", "mean difference", "5 %", "median", "95 %")
    return Part("Fields: the new answer minus the recorded one", head, rows)


def numbers(document: Mapping[str, Any]) -> Iterator[Part]:
    """Name the largest differences of numbers."""
    for name, found in document["fields"].items():
        rows = [
            (each["id"], str(each["row"]), *(number(each[side]) for side in SIDES))
            for each in found.get("numbers", {}).get("largest", ())
        ]
        yield Part(f"Largest differences of {name}", ("id", "row", *SIDES), rows)


def confusions(document: Mapping[str, Any]) -> Iterator[Part]:
    """Set recorded labels against new ones."""
    for name, found in document["fields"].items():
        cells = found.get("confusion", ())
        rows = [
            (each["recorded"], each["new"], f"{each['rows']:,}", f"{each['example']['id']} {each['example']['row']}")
            for each in cells
        ]
        yield Part(f"Labels of {name}", ("recorded", "new", "rows", "for example"), rows)


def quality(document: Mapping[str, Any]) -> Part:
    """Say which was nearer to the truth, with 95 % intervals."""
    rows = []
    for name, found in document["quality"].items():
        for metric, sides in found.items():
            if metric != "pairs":
                values = [ranged(sides[side]) for side in SIDES]
                rows.append((name, metric.replace("_", " "), f"{found['pairs']:,}", *values))
    head = ("field", "metric", "pairs", *SIDES)
    return Part("Quality where the truth is known; a difference below 0 is better", head, rows)


def latency(document: Mapping[str, Any]) -> Part:
    """Set the recorded latency beside the new one."""
    known = (
        ("recorded, over HTTP", "recorded_latency_ms"),
        ("one row at a time, without HTTP", "one_row_ms"),
        ("now, from when a request was due", "latency_ms"),
        ("now, from when it was sent", "latency_from_sending_ms"),
    )
    rows = [
        (says, *(number(document[key].get(name)) for name in QUANTILES))
        for says, key in known
        if document.get(key, {}).get("p50") is not None
    ]
    return Part("Latency in ms", ("", "median", "95 %", "99 %"), rows)


# --- words ---


def number(value: float | None) -> str:
    """Write a number."""
    return "" if value is None else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def ranged(found: Mapping[str, Any]) -> str:
    """Write a number with its interval."""
    interval = found["interval"]
    return number(found["mean"]) + (f" ({number(interval[0])} to {number(interval[1])})" if interval else "")


def share(found: Mapping[str, Any]) -> str:
    """Write a share with its interval."""
    if found["interval"] is None or found["share_changed"] is None:
        return "none"
    low, high = found["interval"]
    return f"{found['share_changed']:.2%} ({low:.2%} to {high:.2%})"


def listed(counts: Mapping[str, int]) -> str:
    """Write counts by name."""
    return ", ".join(f"{name or 'none'} ({count:,})" for name, count in counts.items())


# --- pages ---


def markdown(document: Mapping[str, Any]) -> str:
    """Write the page in Markdown."""

    def line(cells: Sequence[str]) -> str:
        safe = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
        return f"| {' | '.join(safe)} |"

    pieces = []
    for level, part in enumerate(parts(document)):
        table = [line(part.head), f"|{'---|' * len(part.head)}", *map(line, part.rows)]
        pieces.append(f"{'##' if level else '#'} {part.title}\n\n" + "\n".join(table) + "\n")
    return "\n".join(pieces)


def page(document: Mapping[str, Any]) -> str:
    """Write one HTML file that needs no other."""

    def cell(text: str) -> str:
        kind = ' class="number"' if text[:1].isdecimal() or text[:1] == "-" else ""
        return f"<td{kind}>{escape(text)}</td>"

    tables = []
    for level, part in enumerate(parts(document)):
        heading = "h2" if level else "h1"
        head = "".join(f"<th>{escape(name)}</th>" for name in part.head)
        rows = "\n".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in part.rows)
        tables.append(f"<{heading}>{escape(part.title)}</{heading}>\n<table>\n<tr>{head}</tr>\n{rows}\n</table>")
    title = f"Replay of {escape(document['service'])}"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n" + "\n".join(tables) + "\n</body>\n</html>\n"
    )
