"""What a shadow costs the live answers: open-loop load on a model alone and with shadows at 100 %, in turns.

    python benchmarks/shadow.py [requests a second] [seconds a turn] [turns]

Prints p50 and p99 in milliseconds of all turns of a kind together, and the lowest and highest p99 of its turns.
"""

import asyncio
import random
import sys
import time
from pathlib import Path

from openloop import Pool
from server import Server, free_port

HERE = Path(__file__).parent
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


def main(rate: float = 150.0, seconds: float = 5.0, turns: int = 4) -> None:
    port = free_port()
    hansang = Path(sys.executable).with_name("hansang")
    command = [str(hansang), "serve", str(HERE / "shadow_service.py"), "--port", str(port)]
    waits: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    folder, source = HERE.parent / ".bench/shadow", {"PYTHONPATH": str(HERE.parent / "src")}
    with Server(command, port=port, folder=folder, environment=source, answers=lambda it: it.get_ok("/readyz")):
        for _ in range(int(turns)):
            for kind in KINDS:
                waits[kind].append(asyncio.run(turn(port, f"/{kind}", rate, seconds)))
                time.sleep(0.5)
    print(f"{rate:g} requests/s, {turns:g} turns of {seconds:g} s each; live model 2 ms; milliseconds")
    for kind, rounds in waits.items():
        every, each = [wait for one in rounds for wait in one], [at(one, 0.99) for one in rounds]
        spread = f"({min(each):.2f} to {max(each):.2f})"
        print(f"{kind:8} n={len(every)} p50 {at(every, 0.5):6.2f}  p99 {at(every, 0.99):6.2f} {spread}")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
