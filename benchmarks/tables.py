"""The tables of a report as plain rows of text, for the terminal and for the document alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from claims import Claim, figure

ORDER = "requests/s, CPU and latencies at 64 connections; the columns marked 1 at one connection"


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    says: str = ""

    def markdown(self) -> str:
        lines = [f"| {' | '.join(self.head)} |", f"|{'---|' * len(self.head)}"]
        lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in self.rows]
        return "\n".join(lines)


def all_tables(results: dict, claims: Sequence[Claim]) -> list[Table]:
    """Return every table for which there are figures."""
    online = results.get("online", {})
    tables = [
        _peers(results, "logreg", "Logistic regression"),
        _peers(results, "forest", "Random forest of 100 trees"),
        _identical(online),
        _parts(online),
        _patterns(results.get("patterns", {})),
        _shadows(results.get("patterns", {}).get("shadows", {})),
        _offline(results.get("offline", {})),
        _open_loop(results.get("openloop", {})),
        _at_rest(results.get("idle", {})),
        _record(results.get("record", {})),
        _claims(claims),
    ]
    return [table for table in tables if table.rows]


def _peers(results: dict, model: str, title: str) -> Table:
    online = results.get("online", {})
    echo = {name: figure(online, "echo", name) for name in ("per_second", "cpu_us")}
    chosen = [row for row in online.values() if row["model"] in {"", model}]
    chosen.sort(key=lambda row: -row.get("runs", {}).get("64", {}).get("per_second", 0))
    head = ("server", "runtime", "requests/s", "of echo", "CPU µs", "of echo", "p50 ms", "p99 ms")
    more = ("p50 ms, 1", "requests/s, 1", "CPU µs, 1", "memory MB", "first answer s", "measured")
    rows = [_peer(row, echo, results.get("at", "")) for row in chosen]
    return Table(title, (*head, *more), rows, ORDER)


def _peer(row: dict, echo: dict, latest: str) -> tuple[str, ...]:
    name, runtime = row["peer"], row["runtime"] or "none"
    when = "this run" if row.get("run") == latest else f"kept, {row.get('at', '')}"
    if "failed" in row:
        return (name, runtime, f"not measured: {row['failed']}", *[""] * 10, when)
    many, one = row["runs"]["64"], row["runs"]["1"]
    errors = many["errors"] + one["errors"]
    return (
        name,
        runtime,
        f"{many['per_second']:,.0f}" + (f" ({errors} errors)" if errors else ""),
        _ratio(many["per_second"], echo["per_second"]),
        f"{many['cpu_us']:,.1f}",
        _ratio(many["cpu_us"], echo["cpu_us"]),
        f"{many['p50_ms']:.2f}",
        f"{many['p99_ms']:.2f}",
        f"{one['p50_ms']:.3f}",
        f"{one['per_second']:,.0f}",
        f"{one['cpu_us']:,.1f}",
        f"{row['memory_mb']:,.0f}",
        f"{row['first_answer_s']:.2f}",
        when,
    )


def _identical(online: dict) -> Table:
    rows = []
    for key, row in online.items():
        runs = row.get("runs", {})
        if "64 ids" in runs:
            same, own = runs["64"], runs["64 ids"]
            cells = [f"{run[name]:,.1f}" for name in ("per_second", "cpu_us") for run in (same, own)]
            rows.append((key, *cells, _ratio(own["cpu_us"], same["cpu_us"])))
    head = (
        "server",
        "requests/s, same headers",
        "requests/s, own ids",
        "CPU µs, same headers",
        "CPU µs, own ids",
        "ratio",
    )
    says = "64 connections; `own ids`: each request carries an x-request-id of its own, so no two headers are alike"
    return Table("A request id in each request", head, rows, says)


def _parts(online: dict) -> Table:
    whole = figure(online, "hansang/logreg/onnx", "cpu_us")
    keys = (
        ("everything on", "hansang/logreg/onnx"),
        ("record off", "hansang-norecord/logreg/onnx"),
        ("a service file with the user's own pydantic model", "hansang-typed/logreg/onnx"),
        ("scikit-learn instead of ONNX Runtime", "hansang/logreg/sklearn"),
        ("bare uvicorn echo", "echo"),
    )
    rows = []
    for says, key in keys:
        cost = figure(online, key, "cpu_us")
        if cost and whole:
            rows.append((says, f"{cost:.1f}", f"{cost - whole:+.1f}"))
    return Table("What each part costs", ("Hansang, logistic regression", "CPU µs a request", "difference"), rows)


def _patterns(patterns: dict) -> Table:
    rows = [
        (
            row["pattern"],
            f"{row['cpu_us']:.1f}",
            f"{row['plain_us']:.1f}",
            f"{row['added_us']:+.2f} ({row['added_low_us']:+.2f} to {row['added_high_us']:+.2f})",
            f"{row['p99_ms']:.1f}",
        )
        for row in patterns.get("rows", [])
    ]
    head = ("pattern", "CPU µs a request", "plain model beside it", "added (middle half)", "p99 ms")
    says = (
        "64 connections, logistic regression in ONNX; each pattern and the plain model are loaded in turns, and what "
        "is added is the median of the differences. `plain` against itself is the noise of the method."
    )
    return Table("What each pattern costs", head, rows, says)


def _shadows(shadows: dict) -> Table:
    names = ("shadow", "requests", "p50_ms", "p99_ms", "low_ms", "high_ms", "added_ms")
    rows = [tuple(str(row[name]) for name in names) for row in shadows.get("rows", [])]
    head = ("shadow", "requests", "p50 ms", "p99 ms", "lowest turn", "highest turn", "added to p99")
    says = "open loop at {rate:g} requests/s, {turns} turns of {seconds:g} s; the live model takes 2 ms".format_map(
        {"rate": 0, "turns": 0, "seconds": 0, **shadows}
    )
    return Table("What a shadow costs the live answers", head, rows, says)


def _offline(offline: dict) -> Table:
    rows = []
    for row in offline.get("rows", []):
        name = (row["model"], row["runtime"], f"{row['rows']:,}")
        if "failed" in row:
            rows.append((*name, f"not measured: {row['failed']}", *[""] * 8))
            continue
        speeds = [f"{row[key]:,}" for key in ("hansang_per_s", "bare_per_s")]
        same = row["same_labels"]
        rows.append(
            (
                *name,
                *speeds,
                _ratio(row["hansang_per_s"], row["bare_per_s"]),
                f"{row['call_per_s']:,}",
                f"{row['steady_per_s']:,}",
                _ratio(row["steady_per_s"], row["call_per_s"]),
                f"{row['peak_mb']:.0f} / {row['bare_peak_mb']:.0f}",
                _growth(row),
                "not compared" if same is None else f"{same:.3%}",
            )
        )
    head = (
        "model",
        "runtime",
        "rows",
        "`hansang score` rows/s",
        "bare job rows/s",
        "ratio",
        "bare call rows/s",
        "ours once started",
        "ratio",
    )
    says = (
        "`bare job`: a fresh process reads the file, calls the model once on the whole array and writes the labels; "
        "`bare call`: that one call alone; ours once started: what three million rows more take, files and all. "
        "Growth: memory of one process in the last quarter of a run of 24 times the rows over that in its third: "
        "before that the queues are not full yet"
    )
    return Table("Offline", (*head, "peak MB, ours / bare", "growth", "same labels"), rows, says)


def _growth(row: dict) -> str:
    peaks = row.get("one_mb")
    return f"{peaks[1] / peaks[0]:.2f}" if peaks else "not measured"


def _open_loop(openloop: dict) -> Table:
    rows = []
    for row in openloop.get("rows", []):
        if "failed_to_run" in row:
            rows.append((str(row["rate"]), "", f"not measured: {row['failed_to_run']}", *[""] * 10))
            continue
        names = ("p50_ms", "best_p50_ms", "p99_ms", "best_p99_ms", "max_ms")
        waits = [f"{row[name]:,.1f}" for name in names]
        counts = [str(row[name]) for name in ("answered", "refused", "gave_up", "failed")]
        batching = f"up to {row['max_batch']}" if row["max_batch"] > 1 else "off"
        sizes = (f"{row['mean_rows']:.1f}", str(row["most_rows"]))
        rows.append((str(row["rate"]), batching, *waits, *counts, *sizes))
    head = (
        "requests/s",
        "batching",
        "p50 ms",
        "best",
        "p99 ms",
        "best",
        "max ms",
        "answered",
        "refused",
        "gave up",
        "failed",
        "mean rows",
        "most rows",
    )
    says = (
        "A model of 50 ms and 0.5 ms a row; Poisson arrivals, one seed; waits counted from when a request was due, "
        "and a caller gives up after 10 s. `best`: a server that costs nothing, calls the model whenever it is free, "
        "and whose callers never give up"
    )
    return Table("Open loop", head, rows, says)


def _at_rest(idle: dict) -> Table:
    if "failed" in idle or not idle:
        rows = [("not measured", idle["failed"])] if idle else []
        return Table("At rest", ("what", "measured"), rows)
    rows = [
        ("CPU while idle", f"{idle['cpu_percent']:.2f} % of a core over {idle['seconds']:g} s"),
        ("memory", f"{idle['memory_mb']:.0f} MB"),
        ("time to ready", f"{idle['ready_s']:.2f} s"),
        ("of which the model's own load", f"{idle['model_load_s']:.2f} s"),
    ]
    return Table("At rest", ("what", "measured"), rows)


def _record(record: dict) -> Table:
    rows = [
        (str(number), f"sink {phase['sink']}", f"{phase['p50_ms']:.2f}", f"{phase['p99_ms']:.2f}", f"{phase['rows']:,}")
        for number, phase in enumerate(record.get("outage", {}).get("phases", ()), 1)
    ]
    if cost := record.get("cost"):
        rows.append(("", "record off, 64 connections", "", f"{cost['p99_off_ms']:.2f}", ""))
        rows.append(("", "record on, 64 connections", "", f"{cost['p99_on_ms']:.2f}", f"{cost['requests']:,}"))
    says = (
        "single rows in an open loop, beside arrays that make 4,000 rows a second for the sink to take; the last lines "
        "are the turns of the record's cost"
    )
    return Table("The record while a sink comes and goes", ("phase", "", "p50 ms", "p99 ms", "rows"), rows, says)


def _claims(claims: Sequence[Claim]) -> Table:
    rows = [(claim.says, claim.measured, claim.verdict) for claim in claims]
    return Table("Must show", ("statement", "measured", "verdict"), rows)


def _ratio(value: float | None, other: float | None) -> str:
    if not (value and other):
        return ""
    return f"{value / other:.2f}" if value >= other / 10 else f"{value / other:.2g}"
