"""What each pattern costs on the request path, and whether settled rows wait for others.

`measure` serves one graph after the other, the plain model before, between and after them, so that a machine whose
speed drifts is seen: a pattern is compared with the mean of the plain runs around it.
"""

import asyncio
import random
from dataclasses import asdict
from pathlib import Path

import environments
import models
import openloop
from catalog import BOTH, MODELS, named
from load import Loaded
from load import measure as load
from server import Server, free_port

SERVICE = Path(__file__).with_name("patterns_service.py")
PATTERNS = ("chain", "switch", "split", "fallback", "cache miss", "cache hit", "parallel", "shadow")
PREPARED = 1024
CONNECTIONS = 64
HIT = (5.1, 3.5, 1.4, 0.2)
SLOW_SECONDS = 0.05


def serve(pattern: str) -> Server:
    """Return the server of one pattern, not yet entered."""
    program = str(environments.python_of("project").with_name("hansang"))
    port = free_port()
    return Server(
        [program, "serve", str(SERVICE), "--host", "127.0.0.1", "--port", str(port)],
        port=port,
        folder=environments.BENCH / "run" / f"pattern-{pattern.replace(' ', '-')}",
        environment={
            "BENCH_PATTERN": pattern,
            "BENCH_SLOW_SECONDS": str(SLOW_SECONDS),
            "BENCH_MLFLOW_MODEL": str(MODELS / f"logreg-{BOTH[1]}"),
        },
        answers=lambda server: server.get_ok("/readyz"),
    )


def run(pattern: str, seconds: float, warm: float) -> Loaded:
    """Measure one pattern at 64 connections."""
    bodies = [named(row) for row in models.rows(PREPARED).tolist()]
    with serve(pattern) as server:
        return load(server, "/predict", bodies, connections=CONNECTIONS, seconds=seconds, warm=warm)


def measure(seconds: float, repeats: int = 3) -> dict:
    """Return a row a pattern, and what a slow model beside a cache does to the hits."""
    warm = min(seconds, 2.0)
    plain = [run("plain", seconds, warm)]
    rows = []
    for pattern in PATTERNS:
        tries = [run(pattern, seconds, warm) for _ in range(repeats)]
        plain.append(run("plain", seconds, warm))
        middle = sorted(tries, key=lambda each: each.cpu_us)[len(tries) // 2]
        beside = (plain[-2].cpu_us + plain[-1].cpu_us) / 2
        rows.append(
            {
                "pattern": pattern,
                **asdict(middle),
                "plain_us": round(beside, 2),
                "added_us": round(middle.cpu_us - beside, 2),
            }
        )
    return {"rows": rows, "plain": [asdict(each) for each in plain], "hits": hits(seconds)}


def hits(seconds: float) -> dict:
    """Return the p50 of cache hits alone, and beside misses that take 50 ms each."""
    with serve("cached slow") as server:
        alone = asyncio.run(answers(server.port, seconds, misses=False))
        beside = asyncio.run(answers(server.port, seconds, misses=True))
    return {"alone": alone, "beside": beside}


async def answers(port: int, seconds: float, misses: bool, hitters: int = 8, missers: int = 24) -> dict:
    """Ask for one known row on some connections, and for ever new ones on others; give the waits of the known one."""
    loop = asyncio.get_running_loop()
    pool, until, draw = openloop.Pool(port), loop.time() + seconds, random.Random(3)
    known = named(HIT).encode()
    await pool.post("/predict", known)
    waits: list[float] = []
    missed: list[float] = []

    async def hit() -> None:
        while loop.time() < until:
            started = loop.time()
            status, _ = await pool.post("/predict", known)
            assert status == 200
            waits.append(loop.time() - started)
            await asyncio.sleep(0.002)

    async def miss() -> None:
        while loop.time() < until:
            started = loop.time()
            status, _ = await pool.post("/predict", named([draw.uniform(0.1, 8.0) for _ in range(4)]).encode())
            assert status == 200
            missed.append(loop.time() - started)

    async with asyncio.TaskGroup() as group:
        for _ in range(hitters):
            group.create_task(hit())
        for _ in range(missers if misses else 0):
            group.create_task(miss())
    await pool.close()
    return {"hits": len(waits), "hit": quantiles(waits), "misses": len(missed), "miss": quantiles(missed)}


def quantiles(waits: list[float]) -> dict[str, float]:
    """Return p50 and p99 in milliseconds."""
    ordered = sorted(waits) or [float("nan")]
    return {
        f"p{share}_ms": round(ordered[min(len(ordered) - 1, len(ordered) * share // 100)] * 1e3, 3)
        for share in (50, 99)
    }
