"""Ten million records: how long the usual questions take.

    python benchmarks/warehouse.py [--rows 10000000] [--folder DIR]

Makes a record of one day, as a busy service would have left it (merged files, sorted by time, with their ids), asks
the questions of docs/record.md, and prints the best of five and the time of the first. A folder that is there is used
again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import report

from hansang.record.find import find
from hansang.record.ids import write_ids
from hansang.record.parquet import GROUP_ROWS, LAYOUTS, publish_views, writing
from hansang.record.read import connect, query
from hansang.record.table import SCHEMA

HOURS = 24
END = 1_795_003_200  # 2026-11-18T12:00:00Z
VARIANTS = np.array(["a", "b"])
HOT = """
SELECT variant, quantile_cont(latency_ms, 0.95) AS p95, avg(output_value) AS mean, count(*) AS rows
FROM {view} WHERE time >= make_timestamptz({since}::BIGINT) AND role = 'live' GROUP BY variant
"""


def ids_of(milliseconds: np.ndarray, random: np.random.Generator) -> bytes:
    """Make UUIDv7 ids of these times, one after the other."""
    count = len(milliseconds)
    halves = np.empty((count, 2), ">u8")
    halves[:, 0] = (milliseconds.astype(np.uint64) << np.uint64(16)) | np.uint64(0x7000)
    halves[:, 0] |= (np.arange(count, dtype=np.uint64) & np.uint64(0xFFF)).astype(">u8")
    halves[:, 1] = random.integers(0, 1 << 60, count, np.uint64) | np.uint64(0x8 << 60)
    text = np.frombuffer(halves.tobytes().hex().encode(), np.uint8).reshape(count, 32)
    out = np.full((count, 36), ord("-"), np.uint8)
    for source, target, size in ((0, 0, 8), (8, 9, 4), (12, 14, 4), (16, 19, 4), (20, 24, 12)):
        out[:, target : target + size] = text[:, source : source + size]
    return out.tobytes()


def make_table(start: float, seconds: float, rows: int, random: np.random.Generator) -> tuple[pa.Table, bytes]:
    """Make rows of one span of time, in order."""
    moments = np.sort(random.uniform(start, start + seconds, rows))
    ids = ids_of((moments * 1000).astype(np.int64), random)
    offsets = np.arange(0, 36 * rows + 1, 36, dtype=np.int32)
    values = np.round(random.normal(10, 3, rows), 2)
    inputs = pa.array([f'{{"km":{n % 997}.5,"city":"Seoul","hour":{n % 24},"weather":"clear"}}' for n in range(1000)])

    def word(text: str) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([text]))

    variant = pa.DictionaryArray.from_arrays(pa.array(random.integers(0, 2, rows, np.int32)), pa.array(VARIANTS))
    columns = {
        "id": pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(ids)),
        "row": pa.array(np.zeros(rows, np.int32)),
        "request_id": pa.nulls(rows, pa.string()),
        "time": pa.array((moments * 1e6).astype(np.int64)).cast(SCHEMA.field("time").type),
        **{name: word(name) for name in ("service", "endpoint", "node", "model")},
        "version": word("8"),
        "variant": variant,
        "role": word("live"),
        "key": pa.nulls(rows, pa.string()),
        "status": pa.array(np.full(rows, 200, np.int32)),
        "error": pa.nulls(rows, pa.string()),
        "latency_ms": pa.array(np.round(random.gamma(2.0, 2.0, rows), 3)),
        "queue_ms": pa.array(np.round(random.gamma(1.0, 0.3, rows), 3)),
        "batch_rows": pa.array(random.integers(1, 64, rows, np.int32)),
        "cached": pa.array(np.zeros(rows, np.bool_)),
        "input": inputs.take(pa.array(random.integers(0, 1000, rows))),
        "output": pa.array(values).cast(pa.string()),
        "output_value": pa.array(values),
        "tags": pa.nulls(rows, pa.string()),
    }
    return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA), ids


def generate(folder: Path, rows: int) -> None:
    """Write a day of predictions, a file an hour."""
    random = np.random.default_rng(7)
    for hour in range(HOURS):
        start = END - (HOURS - hour) * 3600
        table, ids = make_table(start, 3600, rows // HOURS, random)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(start))
        path = folder / "predictions" / time.strftime("dt=%Y-%m-%d", time.gmtime(start)) / f"{stamp}-0-made.parquet"
        write_ids(ids, path)
        with writing(path, "predictions") as writer:
            writer.write_table(table, GROUP_ROWS)
    publish_views(folder)
    truth(folder, table)


def truth(folder: Path, table: pa.Table) -> None:
    """Write the truth of the last hour."""
    schema = LAYOUTS["feedback"].schema
    rows = table.num_rows
    values = {
        "id": table["id"],
        "row": table["row"],
        "time": table["time"],
        "truth": table["output"],
        "truth_value": table["output_value"],
        "score": pa.nulls(rows, pa.float64()),
        "source": pa.nulls(rows, pa.string()),
        "received": table["time"],
        "key": pa.nulls(rows, pa.string()),
    }
    path = folder / "feedback" / "dt=2026-11-18" / "20261118T120000-0-made.parquet"
    write_ids("".join(table["id"].to_pylist()).encode(), path)
    with writing(path, "feedback") as writer:
        writer.write_table(pa.table([values[name] for name in schema.names], schema=schema), GROUP_ROWS)


def clocked(name: str, work: Callable[[], object], times: int = 5) -> float:
    """Print the first and the best time of some work; gives the best."""
    took = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    print(f"{name:58} first {took[0]:6.3f} s, best {min(took):6.3f} s")
    return min(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = given.folder or Path(place)
        if not any(folder.glob("predictions/*/*.parquet")):
            start = time.perf_counter()
            generate(folder, given.rows)
            print(f"{given.rows:,} rows made in {time.perf_counter() - start:.1f} s")
        size, ids = (sum(path.stat().st_size for path in folder.rglob(kind)) for kind in ("*.parquet", "*.ids"))
        print(f"{size / 1e9:.2f} GB of Parquet, {ids / 1e6:.0f} MB of ids")
        found = {"rows": given.rows, "seconds": ask(folder)}
        report.save_results({**report.load_results(), "warehouse": found})


def ask(folder: Path) -> dict[str, float]:
    """Ask the questions; gives the best times of those that are promised."""
    since = (END - 3600) * 1_000_000
    hot = HOT.format(view="predictions", since=since)
    joined = HOT.format(view="outcomes", since=since).replace(" AND role = 'live'", "")
    clocked("open the record", lambda: connect(folder))
    times = {}
    times["hot"] = clocked("p95 latency and mean output by variant, last hour", lambda: query(connect(folder), hot))
    clocked("the same of the joined view", lambda: query(connect(folder), joined), 2)
    clocked("the same, joined, opened with since", lambda: query(connect(folder, END - 3600), joined), 2)
    clocked("rows and mean by hour, the whole day", lambda: query(connect(folder), by_hour()), 2)
    some = query(connect(folder), "SELECT id FROM predictions USING SAMPLE 5 ROWS")["id"].to_pylist()
    for id in some[:3]:
        assert len(find(folder, id)[0]) == 1
        clocked("one id, in a process that runs", lambda id=id: find(folder, id))
    command = [str(Path(sys.executable).with_name("hansang")), "records", "show", some[3], "--dir", str(folder)]
    times["show"] = clocked(
        "hansang records show ID, the whole process", lambda: subprocess.run(command, check=True, capture_output=True)
    )
    nothing = [command[0], "--version"]
    clocked("hansang --version, for comparison", lambda: subprocess.run(nothing, check=True, capture_output=True))
    return times


def by_hour() -> str:
    return "SELECT date_trunc('hour', time) AS hour, count(*), avg(output_value) FROM predictions GROUP BY hour"


if __name__ == "__main__":
    main()
