"""What the prediction record costs, and whether it keeps its promises: `python benchmarks/record.py [--quick]`.

`cost` serves one model with the record on beside the same with it off and loads the two in turns, as `patterns` does.
A turn's CPU is counted until that server's next turn begins, so that the compactor, which works after the rows came, is
in it; the totals after the last compaction stand beside the medians.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import environments
import feedback
import models
import outage
import patterns
import readers
import report
import usage
from catalog import BOTH, MODELS
from load import Loaded
from server import Server, free_port

WARM_SECONDS = 40
SETTLED_SECONDS = 20


def serve(recorded: bool) -> Server:
    """Return a server of the plain model with the record on or off, not yet entered."""
    program = str(environments.python_of("project").with_name("hansang"))
    port = free_port()
    return Server(
        [program, "serve", str(patterns.SERVICE), "--host", "127.0.0.1", "--port", str(port)],
        port=port,
        folder=environments.BENCH / "run" / f"record-{'on' if recorded else 'off'}",
        environment={
            "BENCH_PATTERN": "plain",
            "BENCH_MLFLOW_MODEL": str(MODELS / f"logreg-{BOTH[1]}"),
            "HANSANG_RECORD": "on" if recorded else "off",
        },
        answers=lambda server: server.get_ok("/readyz"),
    )


@dataclass
class Side:
    """One server's turns; `marks` are the CPU seconds at the beginning of each turn, and at the end."""

    server: Server
    runs: list[Loaded] = field(default_factory=list)
    marks: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def turn(self, seconds: float) -> None:
        """Load the server once; the warm-up inside counts too, for its CPU does."""
        before = answered(self.server)
        self.marks.append(self.server.cpu_seconds())
        self.runs.append(patterns.run(self.server, seconds))
        self.counts.append(answered(self.server) - before)

    def costs(self) -> list[float]:
        """Give each turn's microseconds a request, by the requests that the server itself counted."""
        spent = [after - before for before, after in zip(self.marks, self.marks[1:], strict=False)]
        return [1e6 * cpu / count for cpu, count in zip(spent, self.counts, strict=True)]


def answered(server: Server) -> int:
    """Give the rows that a server has answered, one a request here, by its own metrics."""
    text = server.request("GET", "/metrics")[1].decode()
    lines = [line for line in text.splitlines() if line.startswith("hansang_rows_total{")]
    return round(sum(float(line.rpartition(" ")[2]) for line in lines))


def compactor_seconds(server: Server) -> float:
    """Give the CPU time of a server's compactor alone."""
    mine = [pid for pid in server.pids() if b"hansang.record.compact" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return usage.cpu_seconds(mine)


def warm(server: Server, seconds: float) -> None:
    """Load a server until its compactor, which imports Arrow for it, has made a first file."""
    until = time.monotonic() + WARM_SECONDS
    while time.monotonic() < until:
        patterns.run(server, seconds)
        if any((server.folder / ".hansang" / "records").glob("predictions/*/*.parquet")):
            return


def settle(server: Server) -> None:
    """Wait until nothing is left to be compacted but the segment that is open."""
    until = time.monotonic() + SETTLED_SECONDS
    folder = server.folder / ".hansang" / "records"
    while any(folder.glob("spool/*.closed")) and time.monotonic() < until:
        time.sleep(0.1)


def cost(seconds: float, turns: int) -> dict:
    """Return what the record adds, in microseconds of CPU a request at 64 connections."""
    with serve(recorded=False) as without, serve(recorded=True) as within:
        off, on = Side(without), Side(within)
        order = [off, on]
        patterns.run(without, seconds)
        warm(within, seconds)
        before = compactor_seconds(within)
        for _ in range(turns):
            for side in order:
                side.turn(seconds)
            order.reverse()
        settle(within)
        compacting = compactor_seconds(within) - before
        for side in (off, on):
            side.marks.append(side.server.cpu_seconds())
        added = [its - bare for its, bare in zip(on.costs(), off.costs(), strict=True)]
        totals = [1e6 * (side.marks[-1] - side.marks[0]) / sum(side.counts) for side in (on, off)]
        rows = sum(
            path.stat().st_size for path in (within.folder / ".hansang" / "records").rglob("*") if path.is_file()
        )
    middle = statistics.median
    return {
        "on_us": round(middle(on.costs()), 2),
        "off_us": round(middle(off.costs()), 2),
        "added_us": round(middle(added), 2),
        "added_low_us": round(sorted(added)[turns // 4], 2),
        "added_high_us": round(sorted(added)[-1 - turns // 4], 2),
        "added_total_us": round(totals[0] - totals[1], 2),
        "compactor_us": round(1e6 * compacting / sum(on.counts), 2),
        "p99_on_ms": round(middle(run.p99_ms for run in on.runs), 2),
        "p99_off_ms": round(middle(run.p99_ms for run in off.runs), 2),
        "requests": sum(on.counts),
        "bytes_a_row": round(rows / max(sum(on.counts), 1), 1),
        "turns": turns,
    }


def parts(quick: bool) -> dict:
    """Return what is measured, by name."""
    return {
        "cost": lambda: cost(1.0 if quick else 2.0, 3 if quick else 9),
        "outage": lambda: outage.measure(quick),
        "limit": lambda: outage.limit(2.0 if quick else 5.0),
        "readers": lambda: readers.measure(6.0 if quick else 60.0),
        "feedback": lambda: feedback.quick(1.0 if quick else 4.0),
    }


def measure(quick: bool) -> dict:
    """Return the figures of the section; under five minutes, or under one with `quick`."""
    return {name: part() for name, part in parts(quick).items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--only", choices=[*parts(True)], help="one part, printed and not kept")
    given = parser.parse_args()
    models.ensure_models()
    started = time.monotonic()
    found = {name: part() for name, part in parts(given.quick).items() if given.only in {None, name}}
    print(json.dumps(found, indent=1))
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    if given.only is None:
        report.save_results({**report.load_results(), "record": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
