"""Measure Hansang beside its peers: `python benchmarks/run.py [--quick] [--only hansang,echo,idle]`."""

import argparse
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import catalog
import claims
import idle
import machine
import models
import offline
import online
import openloop
import patterns
import record
import report
import tables

SECTIONS = ("patterns", "offline", "openloop", "idle", "record")


def main() -> int:
    given = _arguments()
    started = time.monotonic()
    models.ensure_models()
    results = report.load_results()
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    results.update(at=now, machine=machine.describe(), effort=_effort_text(given), arguments=_said(given))
    wanted = set(given.only.split(",")) if given.only else {*SECTIONS, *(peer.name for peer in catalog.PEER_LIST)}
    _measure_peers(results, wanted, given, now)
    _measure_sections(results, wanted, given, now)
    judged = claims.judge(results)
    made = tables.all_tables(results, judged)
    report.print_tables(made)
    report.write_document(results, made, given.out)
    print(f"{given.out} written after {(time.monotonic() - started) / 60:.1f} minutes")
    return 0


def _measure_peers(results: dict, wanted: set[str], given: argparse.Namespace, now: str) -> None:
    effort = online.Effort(given.seconds, repeats=1 if given.quick else 3)
    kept = results.setdefault("online", {})
    chosen = [
        (peer, model, runtime)
        for peer in catalog.PEER_LIST
        if peer.name in wanted
        for model, runtime in catalog.launches(peer)
        if not (given.quick and _is_extra(peer, model, runtime))
    ]
    for number, (peer, model, runtime) in enumerate(chosen, 1):
        key = "/".join(filter(None, (peer.name, model, runtime)))
        _say(f"[{number}/{len(chosen)}] {key}")
        row = online.measure_peer(peer, model, runtime, effort)
        kept[key] = {**row, "run": now, "at": now}
        _say(f"    {_short(row)}")
        report.save_results(results)


def _measure_sections(results: dict, wanted: set[str], given: argparse.Namespace, now: str) -> None:
    todo = {
        "patterns": lambda: patterns.measure(given.seconds, turns=1 if given.quick else 9),
        "idle": lambda: idle.measure(5 if given.quick else 20),
        "openloop": lambda: {"rows": openloop.measure(3 if given.quick else 15)},
        "record": lambda: record.measure(given.quick),
        "offline": lambda: {"rows": offline.measure(100_000 if given.quick else 1_000_000)},
    }
    for name, measure in todo.items():
        if name in wanted:
            _say(name)
            results[name] = {**measure(), "at": now}
            report.save_results(results)


def _is_extra(peer: catalog.Peer, model: str, runtime: str) -> bool:
    """Say whether a quick run leaves a form out: the second runtime, and the forest where no statement needs it."""
    if peer.name == "hansang" or not model:
        return False
    return runtime != peer.runtimes[0] or (model == "forest" and peer.name != "flask-dev")


def _short(row: dict) -> str:
    if "failed" in row:
        return f"not measured: {row['failed']}"
    run = row["runs"]["64"]
    return f"{run['per_second']:,.0f}/s, {run['cpu_us']:.1f} µs, p99 {run['p99_ms']:.1f} ms, {run['errors']} errors"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _said(given: argparse.Namespace) -> str:
    """Return the command's options as they were meant, without where the page goes."""
    only = f" --only {given.only}" if given.only else ""
    return f"{'--quick ' if given.quick else ''}--seconds {given.seconds:g}{only}"


def _effort_text(given: argparse.Namespace) -> str:
    busy = os.getloadavg()[0]
    return f"{given.seconds:g} s a run{', quick' if given.quick else ''}; load average at the start {busy:.1f}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter runs, fewer forms; under five minutes")
    parser.add_argument("--only", metavar="A,B", help=f"some of: {', '.join(SECTIONS)}, or names of servers")
    parser.add_argument("--seconds", type=float, help="length of a closed-loop run; default 5, or 1 with --quick")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks.md"))
    given = parser.parse_args()
    given.seconds = given.seconds or (1 if given.quick else 5)
    known = {*SECTIONS, *(peer.name for peer in catalog.PEER_LIST)}
    if given.only and (unknown := set(given.only.split(",")) - known):
        parser.error(f"no {', '.join(sorted(unknown))}; there are: {', '.join(sorted(known))}")
    return given


if __name__ == "__main__":
    sys.exit(main())
