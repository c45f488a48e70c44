"""Four worker processes write while two processes read: every view must be consistent with the one before.

Each reader opens the record again and again, beside writers, the compactor and merges, and looks for rows that are
there twice, rows that it saw and that are gone, counts that went down, truths beside other rows, and truths that stand
beside no row although their prediction was acknowledged before them.
"""

import asyncio
import json
import multiprocessing
import time
from multiprocessing.connection import Connection
from pathlib import Path

import environments
import outage
import pyarrow as pa
from feedback import SERVICE
from openloop import HEAD
from server import Server, free_port

from hansang.record.read import connect, query

WORKERS, READERS, CALLERS = 4, 2, 4
ROWS = 200  # of an array
PAUSE = 0.04  # seconds between two arrays of a caller
LOOK = """
SELECT count(*) AS rows, count(*) - count(DISTINCT (id, row)) AS twice,
    (SELECT count(*) FROM before ANTI JOIN predictions USING (id, row)) AS gone
FROM predictions
"""
JOINED = """
SELECT count(*) AS rows, count(*) - count(DISTINCT (id, row)) AS twice, count(truth) AS told,
    count(*) FILTER (WHERE truth_value <> output_value * 2) AS astray,
    (SELECT count(*) FROM feedback ANTI JOIN predictions USING (id, row)) AS orphans
FROM outcomes
"""
NO_ROWS = pa.table({"id": pa.array([], pa.string()), "row": pa.array([], pa.int32())})
FAULTS = ("twice", "gone", "shrunk", "astray", "orphans")


def read(record: str, until: float, pipe: Connection) -> None:
    """Look at a record until a time; sends what was found."""
    found = dict.fromkeys(FAULTS, 0) | {"looks": 0, "rows": 0, "told": 0, "slowest_s": 0.0}
    before = NO_ROWS
    while time.time() < until:
        started = time.perf_counter()
        with connect(record) as connection:
            connection.register("before", before)
            seen = query(connection, LOOK).to_pylist()[0]
            joined = query(connection, JOINED).to_pylist()[0]
            before = query(connection, "SELECT id, row FROM predictions")
        found["twice"] += seen["twice"] + joined["twice"]
        found["gone"] += seen["gone"]
        found["shrunk"] += (
            seen["rows"] < found["rows"] or joined["told"] < found["told"] or joined["rows"] < seen["rows"]
        )
        found["astray"] += joined["astray"]
        found["orphans"] += joined["orphans"]
        found |= {"looks": found["looks"] + 1, "rows": seen["rows"], "told": joined["told"]}
        found["slowest_s"] = max(found["slowest_s"], round(time.perf_counter() - started, 2))
    pipe.send(found)


class Caller:
    """Predicts arrays and tells their truth, over one connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.names: list[tuple[str, int]] = []
        self.told = 0

    async def run(self, until: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        body = json.dumps([{"n": n} for n in range(ROWS)]).encode()
        truths = json.dumps([{"row": n, "truth": n} for n in range(0, ROWS, 10)]).encode()
        while time.time() < until:
            head = await self.ask(reader, writer, b"/predict", body)
            id = head.partition(b"x-prediction-id: ")[2][:36]
            self.names += [(id.decode(), row) for row in range(ROWS)]
            await self.ask(reader, writer, b"/feedback/" + id, truths)
            self.told += ROWS // 10
            await asyncio.sleep(PAUSE)
        writer.close()

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: bytes, body: bytes) -> bytes:
        writer.write(HEAD % (path, len(body)) + body)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
        if b" 200 " not in head[:20]:
            raise OSError(head[:200])
        return head


def serve(record: Path) -> Server:
    """Return a server with several workers, not yet entered."""
    program = str(environments.python_of("project").with_name("hansang"))
    service = environments.BENCH / "run" / "echo_service.py"
    service.parent.mkdir(parents=True, exist_ok=True)
    service.write_text(SERVICE)
    port = free_port()
    return Server(
        [program, "serve", str(service), "--port", str(port), "--workers", str(WORKERS)],
        port=port,
        folder=environments.BENCH / "run" / "readers",
        environment={"HANSANG_RECORDS": str(record)},
        answers=lambda server: server.get_ok("/readyz"),
    )


def measure(seconds: float) -> dict:
    """Return what the readers saw, and whether all that was acknowledged is there at the end."""
    record = outage.fresh("readers")
    with serve(record) as server:
        until = time.time() + seconds
        pipes = []
        for _ in range(READERS):
            near, far = multiprocessing.Pipe()
            process = multiprocessing.get_context("spawn").Process(target=read, args=(str(record), until, far))
            process.start()
            pipes.append((process, near))
        callers = asyncio.run(load(server.port, until))
        found = [near.recv() for _, near in pipes]
        for process, _ in pipes:
            process.join(30)
    names = {name for caller in callers for name in caller.names}
    with connect(record) as connection:
        kept = query(connection, "SELECT id, row FROM predictions")
    seen = list(zip(kept["id"].to_pylist(), kept["row"].to_pylist(), strict=True))
    return {
        "seconds": seconds,
        "workers": WORKERS,
        "acknowledged": len(names),
        "told": sum(caller.told for caller in callers),
        "missing": len(names - set(seen)),
        "twice_at_end": len(seen) - len(set(seen)),
        "looks": sum(each["looks"] for each in found),
        "slowest_s": max(each["slowest_s"] for each in found),
        **{name: sum(each[name] for each in found) for name in FAULTS},
    }


async def load(port: int, until: float) -> list[Caller]:
    callers = [Caller(port) for _ in range(CALLERS)]
    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(caller.run(until))
    return callers
