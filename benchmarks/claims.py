"""What Hansang says of itself, each judged from the figures of the run; nothing here is a result."""

from collections.abc import Iterator
from dataclasses import dataclass

OURS = "hansang/logreg/onnx"
P50_TOLERANCE = 1.1
FLAT = 1.1
SHADOWS = {"same": "the same model", "fails": "one that raises", "sleeps": "one that sleeps 5 s"}
RECORD_US = 6
FLAT_P99 = 1.25
READ_FAULTS = ("missing", "twice_at_end", "twice", "gone", "shrunk", "astray", "orphans")


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement, what was measured, and whether it holds; None where a figure is missing.

    A comparison states nothing: it stands beside a statement because a reader would ask for it.
    """

    says: str
    measured: str
    holds: bool | None
    comparison: bool = False

    @property
    def verdict(self) -> str:
        if self.comparison:
            return "for comparison"
        return {True: "holds", False: "**fails**", None: "not judged"}[self.holds]


def judge(results: dict) -> list[Claim]:
    online = results.get("online", {})
    return [
        *_cost(online),
        *_throughput(online),
        *_latency(online),
        *_forest(online),
        *_offline(results.get("offline", {}).get("rows", [])),
        *_open_loop(results.get("openloop", {}).get("rows", [])),
        *_patterns(results.get("patterns", {})),
        *_at_rest(results.get("idle", {})),
        *_record(results.get("record", {})),
        *_kills(results.get("kills", {})),
        *_warehouse(results.get("warehouse", {})),
        *_soak(results.get("soak", {})),
    ]


def figure(online: dict, key: str, name: str, run: str = "64") -> float | None:
    """Return one figure of one row; None where it was not measured."""
    value = online.get(key, {}).get("runs", {}).get(run, {}).get(name)
    return value or None


def _compare(says: str, ours: float | None, theirs: float | None, limit: float, unit: str, most: bool) -> Claim:
    """Judge `ours / theirs` against a limit: at most it, or at least it."""
    if ours is None or theirs is None:
        return Claim(says, "not measured", None)
    ratio = ours / theirs
    return Claim(says, _beside(ours, theirs, unit), ratio <= limit if most else ratio >= limit)


def _compared(says: str, ours: float | None, theirs: float | None, unit: str) -> Claim:
    """Put `ours / theirs` on the page without a limit."""
    measured = "not measured" if ours is None or theirs is None else _beside(ours, theirs, unit)
    return Claim(says, measured, None, comparison=True)


def _beside(ours: float, theirs: float, unit: str) -> str:
    return f"{ours / theirs:.2f} ({_short(ours)} against {_short(theirs)} {unit})"


def _cost(online: dict) -> Iterator[Claim]:
    ours = figure(online, OURS, "cpu_us")
    echo, fastapi = figure(online, "echo", "cpu_us"), figure(online, "fastapi-echo", "cpu_us")
    yield _compare("CPU a request at most 1.5 of the bare uvicorn echo", ours, echo, 1.5, "µs", most=True)
    yield _compare(
        "the same, each request with its own x-request-id",
        figure(online, OURS, "cpu_us", "64 ids"),
        figure(online, "echo", "cpu_us", "64 ids"),
        1.5,
        "µs",
        most=True,
    )
    yield _compare("CPU a request under 0.3 of the FastAPI echo", ours, fastapi, 0.3, "µs", most=True)


def _throughput(online: dict) -> Iterator[Claim]:
    """Judge requests/s. A predict function by hand is `def`, as FastAPI's pages show it; `async def` is beside it."""
    ours = figure(online, OURS, "per_second")
    against: tuple[tuple[str, str, float | None], ...] = (
        ("the FastAPI echo", "fastapi-echo", 4),
        ("FastAPI hand-written `def` predict, scikit-learn", "fastapi-sync/logreg/sklearn", 12),
        ("FastAPI hand-written `def` predict, ONNX", "fastapi-sync/logreg/onnx", 12),
        ("FastAPI hand-written `async def` predict, ONNX", "fastapi-async/logreg/onnx", None),
        ("BentoML, scikit-learn", "bentoml/logreg/sklearn", 50),
        ("BentoML, ONNX", "bentoml/logreg/onnx", 50),
        ("mosec, scikit-learn", "mosec/logreg/sklearn", 2),
        ("mosec, ONNX", "mosec/logreg/onnx", 2),
    )
    for name, key, least in against:
        theirs = figure(online, key, "per_second")
        if least is None:
            yield _compared(f"requests/s over {name}", ours, theirs, "/s")
        else:
            yield _compare(f"at least {least} times the requests/s of {name}", ours, theirs, least, "/s", most=False)


def _latency(online: dict) -> Iterator[Claim]:
    p99 = figure(online, OURS, "p99_ms")
    yield Claim("p99 at 64 connections under 5 ms", _ms(p99), None if p99 is None else p99 < 5)
    yield _compare(
        "at 1 connection, p50 not above FastAPI hand-written `async def` predict",
        figure(online, OURS, "p50_ms", "1"),
        figure(online, "fastapi-async/logreg/onnx", "p50_ms", "1"),
        1,
        "ms",
        most=True,
    )


def _forest(online: dict) -> Iterator[Claim]:
    """Judge the forest with scikit-learn on both sides; the pairs with ONNX stand beside it."""

    def speeds(ours: str, theirs: str) -> tuple[float | None, float | None]:
        return (
            figure(online, f"hansang/forest/{ours}", "per_second"),
            figure(online, f"flask-dev/forest/{theirs}", "per_second"),
        )

    flask = "the requests/s of Flask's development server"
    says = f"random forest, scikit-learn on both sides: at least 60 times {flask}"
    yield _compare(says, *speeds("sklearn", "sklearn"), 60, "/s", most=False)
    for ours, theirs in (("ONNX", "ONNX"), ("ONNX", "scikit-learn")):
        says = f"random forest, {ours}: requests/s over Flask's development server, {theirs}"
        keys = [{"ONNX": "onnx", "scikit-learn": "sklearn"}[name] for name in (ours, theirs)]
        yield _compared(says, *speeds(*keys), "/s")


def _offline(rows: list[dict]) -> Iterator[Claim]:
    for row in rows:
        name = f"offline, {row['model']} {row['runtime']}, {row['rows']:,} rows"
        ours = row.get("hansang_per_s")
        says = f"{name}: at least 0.7 of a fresh process that reads, calls the bare model once and writes"
        yield _compare(says, ours, row.get("bare_per_s"), 0.7, "rows/s", most=False)
        if row["model"] == "forest":
            says = f"{name}: once started, files and all, at least 0.7 of the bare call alone"
            yield _compare(says, row.get("steady_per_s"), row.get("call_per_s"), 0.7, "rows/s", most=False)
        yield from _flat(row)


def _flat(row: dict) -> Iterator[Claim]:
    """Judge the memory of one process; what the processes of all cores take together stands beside it."""
    name = f"offline, {row['model']} {row['runtime']}"
    says = f"{name}: memory flat (one process, the last quarter of a long run at most {FLAT} of its third)"
    if used := row.get("one_mb"):
        third, last = used
        measured = f"{last / third:.2f} ({third:.0f} MB, then {last:.0f} MB, over {row['one_rows']:,} rows)"
        yield Claim(says, measured, last / third <= FLAT)
    else:
        yield Claim(says, "not measured", None)
    if processes := row.get("processes"):
        short, long, more = row["peak_mb"], row["longer_peak_mb"], row["longer_processes"]
        first = f"{short:.0f} MB with {row['rows']:,} rows in {processes}"
        says = f"{name}: peak with as many processes as are worth their start, four times the rows over these"
        measured = f"{long / short:.2f} ({first}, {long:.0f} MB with four times as many in {more})"
        yield Claim(says, measured, None, comparison=True)


def _open_loop(rows: list[dict]) -> Iterator[Claim]:
    runs = {row["rate"]: row for row in rows if row["max_batch"] > 1 and "p50_ms" in row}
    if high := runs.get(300):
        complete = not (high["refused"] or high["gave_up"] or high["failed"])
        yield Claim(
            "open loop, 300 requests/s: p99 at most two model times, everybody answered",
            f"p99 {high['p99_ms']} ms, model {high['model_ms']} ms for {high['most_rows']} rows, "
            f"{high['answered']} answered, {high['refused'] + high['gave_up'] + high['failed']} not",
            complete and high["p99_ms"] <= 2 * high["model_ms"],
        )
    if low := runs.get(10):
        one = 50.5
        yield Claim(
            f"open loop, 10 requests/s: p50 is one model time (within {P50_TOLERANCE - 1:.0%})",
            f"p50 {low['p50_ms']} ms, model {one} ms, best possible with these arrivals {low['best_p50_ms']} ms",
            low["p50_ms"] <= P50_TOLERANCE * one,
        )


def _patterns(patterns: dict) -> Iterator[Claim]:
    rows = {row["pattern"]: row for row in patterns.get("rows", [])}
    for name in ("chain", "switch", "split", "cache miss"):
        if row := rows.get(name):
            added = f"{row['added_us']:+.2f} µs ({row['cpu_us']:.1f}, the plain model beside it {row['plain_us']:.1f})"
            yield Claim(f"{name}: adds at most 3 µs of CPU a request", added, row["added_us"] <= 3)
    if row := rows.get("cache hit"):
        says = f"{row['cpu_us']:.1f} µs, the plain prediction {row['plain_us']:.1f} µs"
        yield Claim("a memory cache hit is cheaper than the plain prediction", says, row["added_us"] < 0)
    if hits := patterns.get("hits"):
        alone, beside = hits["alone"]["hit"]["p50_ms"], hits["beside"]["hit"]["p50_ms"]
        miss = hits["beside"]["miss"]["p50_ms"]
        says = f"p50 {beside} ms beside misses of {miss} ms, {alone} ms alone"
        yield Claim("a cache hit beside slow misses keeps its own p50", says, beside < 0.2 * miss)
    yield from _shadows(patterns.get("shadows", {}).get("rows", []))


def _shadows(rows: list) -> Iterator[Claim]:
    """Judge shadows by the noise of the same run: by how far the turns without one lie apart."""
    by_kind = {row["shadow"]: row for row in rows}
    alone = by_kind.get("alone")
    for kind in ("same", "fails", "sleeps"):
        if alone is None or kind not in by_kind:
            continue
        row, noise = by_kind[kind], alone["high_ms"] - alone["low_ms"]
        says = (
            f"{row['added_ms']:+.2f} ms ({row['p99_ms']:.2f}; without {alone['low_ms']:.2f} to {alone['high_ms']:.2f})"
        )
        statement = f"a shadow at 100 % ({SHADOWS[kind]}) adds nothing to the live p99 beyond the spread without one"
        yield Claim(statement, says, row["added_ms"] <= noise)


def _at_rest(idle: dict) -> Iterator[Claim]:
    share, ready = idle.get("cpu_percent"), idle.get("ready_s")
    measured = "not measured" if share is None else f"{share:.2f} % over {idle['seconds']:g} s"
    yield Claim("idle CPU under 0.5 % of a core", measured, None if share is None else share < 0.5)
    if ready is None:
        yield Claim("ready in under 1.5 s plus the model's own load", "not measured", None)
        return
    load = idle["model_load_s"]
    yield Claim(
        "ready in under 1.5 s plus the model's own load",
        f"{ready:.2f} s, of which the model {load:.2f} s",
        ready - load < 1.5,
    )


def _record(record: dict) -> Iterator[Claim]:
    if cost := record.get("cost"):
        says = f"record on: at most {RECORD_US} µs of CPU a request over record off, compactor included"
        measured = (
            f"{cost['added_us']:+.2f} µs ({cost['on_us']:.1f} against {cost['off_us']:.1f}; middle half of the turns "
            f"{cost['added_low_us']:+.2f} to {cost['added_high_us']:+.2f}; all together {cost['added_total_us']:+.2f}, "
            f"of which the compactor {cost['compactor_us']:.2f})"
        )
        yield Claim(says, measured, max(cost["added_us"], cost["added_total_us"]) <= RECORD_US)
    if outage := record.get("outage"):
        yield from _outage(outage)
    if limit := record.get("limit"):
        measured = (
            f"{limit['acknowledged']:,} answered, {limit['recorded']:,} recorded, {limit['lost']:,} counted as lost, "
            f"{'said' if limit['said_by_readyz'] else 'not said'} by `/readyz`"
        )
        complete = limit["recorded"] + limit["lost"] == limit["acknowledged"] and not limit["failed"]
        holds = complete and bool(limit["lost"]) and limit["said_by_readyz"]
        yield Claim("spool limit reached: every row is recorded or counted as lost", measured, holds)
    if readers := record.get("readers"):
        faults = ", ".join(f"{name.replace('_', ' ')} {readers[name]}" for name in READ_FAULTS)
        span = f"for {readers['seconds']:g} s"
        says = f"{readers['workers']} workers write and two processes read {span}: consistent views"
        measured = f"{readers['acknowledged']:,} rows, {readers['looks']} looks; {faults}"
        yield Claim(says, measured, not any(readers[name] for name in READ_FAULTS))
    if told := record.get("feedback"):
        slowest = min(told["singles_per_s"], told["arrays_per_s"])
        measured = f"{told['singles_per_s']:,} single, {told['arrays_per_s']:,} in arrays of 100; {told['lost']} lost"
        yield Claim("feedback: at least 5,000 rows a second", measured, slowest >= 5000 and not told["lost"])


def _outage(outage: dict) -> Iterator[Claim]:
    down = f"a sink ({outage['kind']}) down for {outage['seconds_down']:g} s under load and back"
    lost, twice = outage["missing"], outage["twice"] + outage["recorded_twice"]
    measured = f"{outage['acknowledged']:,} rows acknowledged, {lost} missing there, {twice} twice"
    whole = not (lost or twice or outage["failed"]) and outage["drained_seconds"] is not None
    yield Claim(f"{down}: nothing lost, nothing twice", measured, whole)
    for name in ("down", "back"):
        says = f"p99 of single rows while that sink is {name} at most {FLAT_P99} of the p99 while it is up"
        yield _compare(says, outage[f"p99_{name}_ms"], outage["p99_up_ms"], FLAT_P99, "ms", most=True)


def _kills(kills: dict) -> Iterator[Claim]:
    if kills:
        fault = kills.get("fault")
        says = f"{kills['rounds']} rounds of load with `kill -9`: nothing acknowledged is missing, nothing twice"
        yield Claim(says, fault or f"{kills['predictions']:,} predictions, {kills['truths']:,} truths", not fault)


def _warehouse(warehouse: dict) -> Iterator[Claim]:
    if not warehouse:
        return
    rows, times = warehouse["rows"], warehouse["seconds"]
    for key, says, most in (
        ("hot", "p95 latency and mean output by variant for the last hour", 1.0),
        ("show", "`hansang records show ID`", 0.3),
    ):
        if key in times:
            yield Claim(f"{rows:,} records: {says} under {most:g} s", f"{times[key]:.3f} s", times[key] < most)


def _soak(soak: dict) -> Iterator[Claim]:
    ratio = soak.get("ratio")
    if ratio is None:
        return
    yield Claim(
        f"soak, {soak['minutes']:g} minutes of mixed load: memory at the end within 5 % of minute two",
        f"{ratio:.3f} ({soak['at_two_mb']} MB, then {soak['at_end_mb']} MB; "
        f"with the compactor {soak['all_two_mb']} MB, then {soak['all_end_mb']} MB)",
        ratio <= 1.05 if soak["minutes"] > 2 else None,
    )
    yield Claim(
        "soak: every answer had an expected status", f"{soak['unexpected']} unexpected", soak["unexpected"] == 0
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _ms(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f} ms"
