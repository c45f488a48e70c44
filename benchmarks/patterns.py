"""What each pattern costs on the request path, and whether settled rows wait for others.

`measure` serves each graph beside the plain model and loads the two in turns, so that a machine whose speed drifts
weighs on both alike; what a pattern adds is the median of the differences between neighbouring turns. The first row
compares the plain model with itself: what it "adds" is the noise of the method.
"""

import asyncio
import random
import statistics
from dataclasses import asdict
from pathlib import Path

import environments
import models
import openloop
import shadow
from catalog import BOTH, MODELS, named
from load import Loaded
from load import measure as load
from server import Server, free_port

SERVICE = Path(__file__).with_name("patterns_service.py")
PATTERNS = ("plain", "chain", "switch", "split", "fallback", "cache miss", "cache hit", "parallel", "shadow")
PREPARED = 1024
CONNECTIONS = 64
HIT = (5.1, 3.5, 1.4, 0.2)
SLOW_SECONDS = 0.05


def serve(pattern: str, side: str = "") -> Server:
    """Return the server of one pattern, not yet entered."""
    program = str(environments.python_of("project").with_name("hansang"))
    port = free_port()
    return Server(
        [program, "serve", str(SERVICE), "--host", "127.0.0.1", "--port", str(port)],
        port=port,
        folder=environments.BENCH / "run" / f"pattern-{pattern.replace(' ', '-')}{side}",
        environment={
            "BENCH_PATTERN": pattern,
            "BENCH_SLOW_SECONDS": str(SLOW_SECONDS),
            "BENCH_MLFLOW_MODEL": str(MODELS / f"logreg-{BOTH[1]}"),
        },
        answers=lambda server: server.get_ok("/readyz"),
    )


def run(server: Server, seconds: float) -> Loaded:
    """Load one server at 64 connections."""
    bodies = [named(row) for row in models.rows(PREPARED).tolist()]
    return load(server, "/predict", bodies, connections=CONNECTIONS, seconds=seconds, warm=1)


def beside_plain(pattern: str, seconds: float, turns: int) -> dict:
    """Return the row of one pattern: its median turn, and what it adds to the plain model's turns beside it."""
    mine: list[Loaded] = []
    plain: list[Loaded] = []
    with serve("plain", "-beside") as without, serve(pattern) as within:
        order = [(without, plain), (within, mine)]
        for server, _ in order:
            run(server, seconds)
        for _ in range(turns):
            for server, kept in order:
                kept.append(run(server, seconds))
            order.reverse()
    added = [its.cpu_us - bare.cpu_us for its, bare in zip(mine, plain, strict=True)]
    middle = sorted(mine, key=lambda each: each.cpu_us)[turns // 2]
    return {
        "pattern": pattern,
        **asdict(middle),
        "plain_us": round(statistics.median(each.cpu_us for each in plain), 2),
        "added_us": round(statistics.median(added), 2),
        "added_low_us": round(sorted(added)[turns // 4], 2),
        "added_high_us": round(sorted(added)[-1 - turns // 4], 2),
        "turns": turns,
    }


def measure(seconds: float, turns: int) -> dict:
    """Return a row a pattern, what a slow model beside a cache does to the hits, and shadows to the live answers."""
    rows = [beside_plain(pattern, min(seconds, 2.0), turns) for pattern in PATTERNS]
    return {"rows": rows, "hits": hits(seconds), "shadows": shadow.measure(turns=min(turns, 6))}


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
