"""A closed-loop client for machines without wrk: the same settings from the environment, the same line of figures.

Python is slower than the fastest servers here: with it requests/s are floors, and CPU a request is a ceiling, since
fewer requests arrive at once.
"""

import asyncio
import itertools
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

HEAD = "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"


@dataclass
class Run:
    port: int
    until: float
    heads: list[bytes]
    bodies: list[bytes]
    ids: bool
    waits: list[float] = field(default_factory=list)
    bytes: int = 0
    errors: int = 0
    wrong: int = 0

    def __post_init__(self) -> None:
        self.serial = itertools.count()

    def next_request(self) -> bytes:
        number = next(self.serial)
        at = number % len(self.bodies)
        own = b"X-Request-Id: bench-%d\r\n" % number if self.ids else b""
        return self.heads[at] + own + b"\r\n" + self.bodies[at]


async def caller(run: Run) -> None:
    """Send, wait for the whole answer, send again; a connection the server closes is opened anew."""
    writer = None
    while (sent := time.perf_counter()) < run.until:
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", run.port)
            writer.write(run.next_request())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
        except (OSError, ValueError, asyncio.IncompleteReadError):
            run.errors += 1
            writer = None
            continue
        run.waits.append(time.perf_counter() - sent)
        run.bytes += len(head) + length
        run.wrong += not (head.split(None, 2)[1] == b"200" and body)
        if b"connection: close" in head or head.startswith(b"http/1.0"):
            writer.close()
            writer = None


async def main(port: int, connections: int, seconds: float, bodies: list[bytes]) -> None:
    path = os.environ["BENCH_PATH"]
    heads = [HEAD.format(path=path, length=len(body)).encode() for body in bodies]
    started = time.perf_counter()
    run = Run(port, started + seconds, heads, bodies, os.environ.get("BENCH_IDS") == "1")
    await asyncio.gather(*(caller(run) for _ in range(connections)))
    waits = sorted(run.waits) or [0.0]
    figures = {
        "requests": len(run.waits),
        "seconds": time.perf_counter() - started,
        "bytes": run.bytes,
        "p50_ms": round(waits[len(waits) // 2] * 1e3, 4),
        "p99_ms": round(waits[int(len(waits) * 0.99)] * 1e3, 4),
        "max_ms": round(waits[-1] * 1e3, 4),
        "errors": run.errors + run.wrong,
        "wrong": run.wrong,
    }
    print("BENCH", json.dumps(figures))


if __name__ == "__main__":
    lines = Path(os.environ["BENCH_BODIES"]).read_bytes().splitlines()
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), lines))
