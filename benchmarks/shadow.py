"""What a shadow costs the live answers: open-loop load on a model alone and with shadows at 100 %, in turns.

    python benchmarks/shadow.py [requests a second] [seconds a turn] [turns]

Of each kind: p50 of all its turns together, the median, lowest and highest p99 of its turns, in milliseconds. The
candidates answer as the live model does, raise, sleep for 5 s, or compute in pure Python, in the interpreter that all
share.
"""

import asyncio
import random
import statistics
import sys
import time
from pathlib import Path

import environments
from openloop import Pool
from server import Server, free_port

SERVICE = Path(__file__).with_name("shadow_service.py")
KINDS = ("alone", "same", "fails", "sleeps", "spins")
BODY = b'{"x":1.5}'


async def turn(port: int, path: str, rate: float, seconds: float) -> list[float]:
    """Send requests at random moments; each is timed from when it was due."""
    pool, waits, chance = Pool(port), [], random.Random(7)
    loop = asyncio.get_running_loop()

    async def one(due: float) -> None:
        status, body = await pool.post(path, BODY)
        assert (status, body) == (200, b"1.5"), (status, body)
        waits.append(loop.time() - due)

    tasks, due = [], loop.time() + 0.1
    end = due + seconds
    while due < end:
        await asyncio.sleep(max(due - loop.time(), 0.0))
        tasks.append(asyncio.create_task(one(due)))
        due += chance.expovariate(rate)
    await asyncio.gather(*tasks)
    await pool.close()
    return waits


def at(waits: list[float], share: float) -> float:
    return sorted(waits)[int(len(waits) * share)] * 1e3


def measure(rate: float = 150.0, seconds: float = 4.0, turns: int = 6) -> dict:
    """Return a row a kind of shadow; `added_ms` is the median of what its turns add to the p99 of those without one."""
    port = free_port()
    command = [str(environments.python_of("project").with_name("hansang")), "serve", str(SERVICE), "--port", str(port)]
    waits: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    folder = environments.BENCH / "run" / "shadow"
    with Server(command, port=port, folder=folder, answers=lambda it: it.get_ok("/readyz")):
        for kind in KINDS:
            asyncio.run(turn(port, f"/{kind}", rate, 1.0))
        for _ in range(turns):
            for kind in KINDS:
                waits[kind].append(asyncio.run(turn(port, f"/{kind}", rate, seconds)))
                time.sleep(0.5)
    p99 = {kind: [at(one, 0.99) for one in rounds] for kind, rounds in waits.items()}
    rows = [
        {
            "shadow": kind,
            "requests": sum(map(len, rounds)),
            "p50_ms": round(at([wait for one in rounds for wait in one], 0.5), 2),
            "p99_ms": round(statistics.median(p99[kind]), 2),
            "low_ms": round(min(p99[kind]), 2),
            "high_ms": round(max(p99[kind]), 2),
            "added_ms": round(statistics.median(a - b for a, b in zip(p99[kind], p99["alone"], strict=True)), 2),
        }
        for kind, rounds in waits.items()
    ]
    return {"rows": rows, "rate": rate, "seconds": seconds, "turns": turns}


def main(rate: float = 150.0, seconds: float = 4.0, turns: float = 6) -> None:
    measured = measure(rate, seconds, int(turns))
    print(f"{rate:g} requests/s, {turns:g} turns of {seconds:g} s each; live model 2 ms; milliseconds")
    for row in measured["rows"]:
        print(*(f"{name} {value}" for name, value in row.items()), sep="  ")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
