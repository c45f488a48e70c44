"""A sink that goes down under load and comes back; and a spool that is full: what is lost, doubled or slowed by it.

The sink is PostgreSQL where POSTGRES_URL (or the usual address) answers, behind a gate that throws everybody out; else
a folder in whose place stands a file. Arrays make the volume that the sink has to take; the latency is that of single
rows beside them, in an open loop. Phases with the sink up and down alternate.
"""

import asyncio
import contextlib
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import environments
from feedback import SERVICE
from openloop import HEAD
from server import Server, free_port

sys.path.append(str(environments.ROOT))
from hansang.record.read import connect, query  # after the path is set
from hansang.record.sinks.lag import lags
from tests.record.sinks.gate import Gate  # a folder of the checkout, as this one

ARRAY, ARRAYS, SINGLES = 50, 80, 200  # rows of an array; arrays and single rows a second
MANY = json.dumps([{"n": n} for n in range(ARRAY)]).encode()
DRAINED_SECONDS = 90
POSTGRES = "postgresql://postgres@127.0.0.1:5432/test"
NAMES = "SELECT count(*) AS rows, count(DISTINCT (id, row)) AS names FROM predictions"


@dataclass
class Sink:
    """The other end of a sink: its address, what opens and shuts it, and the names of the rows that it has."""

    kind: str
    url: str
    up: Any
    down: Any
    names: Any


@contextlib.contextmanager
def postgres(url: str) -> Iterator[Sink]:
    """Deliver into a schema of our own in a real server, through a gate."""
    import psycopg

    with psycopg.connect(url, autocommit=True, connect_timeout=3) as connection:
        schema, gate = f"bench_{os.getpid()}", Gate(connection.info.port)
        far = f"postgresql://{connection.info.user}@127.0.0.1:{gate.port}/{connection.info.dbname}"

        def names() -> list[tuple[str, int]]:
            return connection.execute(f"SELECT id, row FROM {schema}.predictions").fetchall()

        try:
            yield Sink("PostgreSQL", f"{far}?table={schema}.predictions", gate.open, gate.shut, names)
        finally:
            gate.close()
            connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


@contextlib.contextmanager
def folder() -> Iterator[Sink]:
    """Deliver into a folder; down, a file stands in its place."""
    place = environments.BENCH / "run" / "outage-sink"
    aside = place.with_name("outage-aside")

    def down() -> None:
        with contextlib.suppress(FileNotFoundError):
            place.rename(aside)
        place.write_text("not a folder")

    def up() -> None:
        if place.is_file():
            place.unlink()
        if aside.is_dir():
            aside.rename(place)

    def names() -> list[tuple[str, int]]:
        import pyarrow.parquet as pq

        tables = [pq.read_table(path, columns=["id", "row"], partitioning=None) for path in place.rglob("*.parquet")]
        return [pair for table in tables for pair in zip(*(table[n].to_pylist() for n in ("id", "row")), strict=True)]

    yield Sink("a folder", f"file://{place}/rows", up, down, names)


@contextlib.contextmanager
def some_sink() -> Iterator[Sink]:
    """Take PostgreSQL where it is."""
    with contextlib.ExitStack() as stack:
        try:
            sink = stack.enter_context(postgres(os.environ.get("POSTGRES_URL", POSTGRES)))
        except Exception:
            sink = stack.enter_context(folder())
        yield sink


@dataclass
class Told:
    """What the server acknowledged, and the waits of single rows in this phase, in seconds."""

    names: list[tuple[str, int]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    failed: int = 0


class Caller:
    """Keep-alive connections; notes what is acknowledged under which id."""

    def __init__(self, port: int, told: Told) -> None:
        self.port, self.told = port, told
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, due: float, rows: int) -> None:
        """Send one request when it is due."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(due - loop.time())
        body = b'{"n": 1}' if rows == 1 else MANY
        try:
            reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(HEAD % (b"/predict", len(body)) + body)
            head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).lower()
            await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            self.told.failed += 1
            return
        if b" 200 " not in head[:20]:
            self.told.failed += 1
            return
        if rows == 1:
            self.told.waits.append(loop.time() - due)
        id = head.partition(b"x-prediction-id: ")[2][:36].decode()
        self.told.names += [(id, row) for row in range(rows)]
        self.idle.append((reader, writer))

    async def phase(self, seconds: float, singles: float = SINGLES, arrays: float = ARRAYS) -> dict:
        """Load for so many seconds; gives the latency of the single rows in it."""
        loop, draw = asyncio.get_running_loop(), random.Random(5)
        self.told.waits = []
        start = loop.time() + 0.05
        async with asyncio.TaskGroup() as group:
            for rate, rows in ((singles, 1), (arrays, ARRAY)):
                at = 0.0
                while (at := at + draw.expovariate(rate)) < seconds:
                    group.create_task(self.send(start + at, rows))
        ordered = sorted(self.told.waits) or [float("nan")]
        p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e3 for share in (0.5, 0.99))
        return {"p50_ms": round(p50, 3), "p99_ms": round(p99, 3), "rows": len(ordered)}


def serve(name: str, **settings: str) -> Server:
    """Return a server of the echo service, not yet entered."""
    program = str(environments.python_of("project").with_name("hansang"))
    service = environments.BENCH / "run" / "echo_service.py"
    service.parent.mkdir(parents=True, exist_ok=True)
    service.write_text(SERVICE)
    port = free_port()
    return Server(
        [program, "serve", str(service), "--host", "127.0.0.1", "--port", str(port)],
        port=port,
        folder=environments.BENCH / "run" / name,
        environment={"HANSANG_RECORDS": str(environments.BENCH / "run" / f"{name}-records"), **settings},
        answers=lambda server: server.get_ok("/readyz"),
    )


def fresh(name: str) -> Path:
    """Give the empty folder of a record that survives the restarts of its server."""
    import shutil

    place = environments.BENCH / "run" / f"{name}-records"
    shutil.rmtree(place, ignore_errors=True)
    return place


def measure(quick: bool) -> dict:
    """Return p99 while the sink is up, down and back, and what arrived: nothing may be missing, nothing twice."""
    rounds, up, down = (1, 4.0, 5.0) if quick else (3, 10.0, 20.0)
    record, told = fresh("outage"), Told()
    with some_sink() as sink:
        phases = []
        sink.up()
        with serve("outage", HANSANG_RECORD_SINKS=sink.url) as server:
            phases = asyncio.run(alternate(Caller(server.port, told), sink, rounds, up, down))
        with serve(
            "outage", HANSANG_RECORD_SINKS=sink.url
        ):  # what the last segment held is delivered by the next start
            drained = drain(record)
        arrived = sink.names()
        with connect(record) as connection:
            kept = query(connection, NAMES).to_pylist()[0]
    waits = {
        name: statistics.median(p["p99_ms"] for p in phases if p["sink"] == name) for name in ("up", "down", "back")
    }
    return {
        "kind": sink.kind,
        "phases": phases,
        "seconds_down": rounds * down,
        "acknowledged": len(told.names),
        "failed": told.failed,
        "recorded": kept["rows"],
        "recorded_twice": kept["rows"] - kept["names"],
        "missing": len(set(told.names) - set(arrived)),
        "twice": len(arrived) - len(set(arrived)),
        "drained_seconds": drained,
        **{f"p99_{name}_ms": round(value, 3) for name, value in waits.items()},
    }


async def alternate(caller: Caller, sink: Sink, rounds: int, up: float, down: float) -> list[dict]:
    """Load with the sink up, down, and just back, in turns; the first load only warms up."""
    await caller.phase(2.0)
    found = []
    for _ in range(rounds):
        found.append({"sink": "up", **await caller.phase(up)})
        sink.down()
        found.append({"sink": "down", **await caller.phase(down)})
        sink.up()
        found.append({"sink": "back", **await caller.phase(up)})
    return found


def drain(record: Path) -> float | None:
    """Wait until the sink has every row; gives the seconds, None when it took too long."""
    started = time.monotonic()
    while time.monotonic() - started < DRAINED_SECONDS:
        found = lags(record)
        if found and all(lag.rows == 0 for lag in found):
            return round(time.monotonic() - started, 1)
        time.sleep(0.2)
    return None


def limit(seconds: float) -> dict:
    """Return what became of rows when a spool was full: each is in the record or counted as lost."""
    record, told = fresh("limit"), Told()
    with serve("limit", HANSANG_RECORD_SPOOL_LIMIT="65536") as server:
        asyncio.run(Caller(server.port, told).phase(seconds))
        text = server.request("GET", "/metrics")[1].decode()
        ready = json.loads(server.request("GET", "/readyz")[1])
    lost = sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("hansang_record_lost_rows_total{") and 'reason="spool limit"' in line
    )
    with connect(record) as connection:
        kept = query(connection, NAMES).to_pylist()[0]["rows"]
    return {
        "acknowledged": len(told.names),
        "failed": told.failed,
        "recorded": kept,
        "lost": round(lost),
        "said_by_readyz": f"{round(lost)} rows lost" in json.dumps(ready) or "spool limit" in json.dumps(ready),
    }
