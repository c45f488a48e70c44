"""Open-loop load: requests arrive when they arrive, whether or not earlier ones were answered.

Each request's time is counted from the moment it was due, not from when the client got round to sending it, so a
stalled server cannot hide its stall by stalling the client (coordinated omission).
"""

import asyncio
import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import environments
from server import Server, StartFailedError, free_port

FIXED_SECONDS, ROW_SECONDS = 0.050, 0.0005
RATES = (10, 60, 300)
SEED = 7
GIVE_UP_SECONDS = 10
HEAD = b"POST %s HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
REFUSED = {429, 503, 504}


@dataclass
class Tally:
    """What became of every request of one run."""

    waits: list[float] = field(default_factory=list)
    batch_rows: list[int] = field(default_factory=list)
    refused: int = 0
    gave_up: int = 0
    failed: int = 0
    late: float = 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """One open-loop run; times in milliseconds. `model_ms` is the model's time for its largest batch."""

    answered: int
    refused: int
    gave_up: int
    failed: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    mean_rows: float
    most_rows: int
    model_ms: float
    client_late_ms: float


class Pool:
    """Keep-alive connections, as many as are needed at once."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(HEAD % (path.encode(), len(body)) + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer.partition(b"content-length:")[2].partition(b"\r\n")[0])
            content = await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        if b"connection: close" in answer:
            writer.close()
        else:
            self.idle.append((reader, writer))
        return int(answer.split(None, 2)[1]), content

    async def close(self) -> None:
        for _, writer in self.idle:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in self.idle), return_exceptions=True)


def arrivals(rate: float, seconds: float, seed: int = SEED) -> list[float]:
    """Return the Poisson arrival times of a run, the same for every server."""
    draw = random.Random(seed)
    times, now = [], 0.0
    while (now := now + draw.expovariate(rate)) < seconds:
        times.append(now)
    return times


def best_waits(times: list[float], max_batch: int) -> list[float]:
    """Return the waits of a perfect server: costs nothing, and calls the model whenever that is free and rows wait."""
    free, at, waits = 0.0, 0, []
    while at < len(times):
        begin = max(free, times[at])
        end = at
        while end < len(times) and times[end] <= begin and end - at < max_batch:
            end += 1
        free = begin + FIXED_SECONDS + ROW_SECONDS * (end - at)
        waits += [free - time for time in times[at:end]]
        at = end
    return sorted(waits)


async def drive(port: int, rate: float, seconds: float, path: str = "/predict") -> Tally:
    """Send the arrivals of one rate and wait for every answer."""
    tally, pool, loop = Tally(), Pool(port), asyncio.get_running_loop()
    await pool.post(path, b'{"x": 0}')

    async def one(due: float) -> None:
        await asyncio.sleep(due - loop.time())
        tally.late = max(tally.late, loop.time() - due)
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                status, body = await pool.post(path, b'{"x": %.3f}' % due)
        except TimeoutError:
            tally.gave_up += 1
            return
        except (OSError, asyncio.IncompleteReadError):
            tally.failed += 1
            return
        if status == 200:
            tally.waits.append(loop.time() - due)
            tally.batch_rows.append(_batch_rows(body))
        elif status in REFUSED:
            tally.refused += 1
        else:
            tally.failed += 1

    start = loop.time() + 0.1
    async with asyncio.TaskGroup() as group:
        for at in arrivals(rate, seconds):
            group.create_task(one(start + at))
    await pool.close()
    return tally


def measure(seconds: float, rates: tuple[int, ...] = RATES) -> list[dict]:
    """Run each rate with and without batching, each on a fresh server."""
    found = []
    for rate in rates:
        for max_batch in (64, 1):
            about = {"rate": rate, "max_batch": max_batch}
            try:
                length = seconds * (2 if rate < 50 else 1)  # few requests: a longer run for a steady median
                best = best_waits(arrivals(rate, length), max_batch)
                about |= {"best_p50_ms": _at(best, 0.5), "best_p99_ms": _at(best, 0.99)}
                found.append({**about, **asdict(_one(rate, max_batch, length))})
            except (StartFailedError, OSError) as error:
                found.append({**about, "failed_to_run": str(error)})
    return found


def _one(rate: int, max_batch: int, seconds: float) -> Summary:
    program = str(environments.python_of("project").with_name("hansang"))
    service = str(Path(__file__).with_name("slow_service.py"))
    port = free_port()
    folder = environments.BENCH / "run" / f"slow-{rate}-{max_batch}"
    with Server(
        [program, "serve", service, "--host", "127.0.0.1", "--port", str(port)],
        port=port,
        folder=folder,
        environment={
            "BENCH_MAX_BATCH": str(max_batch),
            "BENCH_FIXED_SECONDS": str(FIXED_SECONDS),
            "BENCH_ROW_SECONDS": str(ROW_SECONDS),
        },
        answers=lambda server: server.get_ok("/readyz"),
    ):
        return summary(asyncio.run(drive(port, rate, seconds)))


def _at(waits: list[float], share: float) -> float:
    """Return a quantile of sorted seconds, in milliseconds."""
    return round(waits[min(len(waits) - 1, int(len(waits) * share))] * 1e3, 1)


def summary(tally: Tally) -> Summary:
    waits = sorted(tally.waits) or [float("nan")]
    rows = tally.batch_rows or [0]
    return Summary(
        answered=len(tally.waits),
        refused=tally.refused,
        gave_up=tally.gave_up,
        failed=tally.failed,
        p50_ms=_at(waits, 0.5),
        p99_ms=_at(waits, 0.99),
        max_ms=round(waits[-1] * 1e3, 1),
        mean_rows=round(len(rows) / sum(1 / max(count, 1) for count in rows), 2),
        most_rows=max(rows),
        model_ms=round((FIXED_SECONDS + ROW_SECONDS * max(rows)) * 1e3, 1),
        client_late_ms=round(tally.late * 1e3, 1),
    )


def _batch_rows(body: bytes) -> int:
    return next(_numbers(json.loads(body)), 0)


def _numbers(value: object) -> Iterator[int]:
    if isinstance(value, int) and not isinstance(value, bool):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _numbers(inner)
