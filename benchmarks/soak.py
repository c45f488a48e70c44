"""Minutes of mixed load on one server, to see whether its memory stays: `python benchmarks/soak.py --minutes 10`.

Good rows, rows the model fails on, bad bodies of several kinds, and callers who leave in the middle of an answer or of
their own body. Every answer must have the status its request asks for. Memory is sampled every five seconds.
"""

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import environments
import report
from openloop import HEAD
from server import Server, free_port
from usage import pss_mb

CALLERS = 24
SAMPLE_SECONDS = 5
SEED = 11
GOOD = b'{"x": %.4f, "fail": false}'


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of request: its share of the load, its body, and the statuses that are right for it."""

    name: str
    share: int
    body: bytes
    right: frozenset[int]


KINDS = (
    Kind("good", 70, GOOD, frozenset({200})),
    Kind("several rows", 6, b'[{"x": %.4f, "fail": false}, {"x": 2, "fail": false}]', frozenset({200})),
    Kind("model error", 6, b'{"x": %.4f, "fail": true}', frozenset({500})),
    Kind("wrong type", 4, b'{"x": "about %.4f", "fail": false}', frozenset({422})),
    Kind("missing field", 3, b'{"y": %.4f}', frozenset({422})),
    Kind("broken JSON", 3, b'{"x": %.4f', frozenset({400})),
    Kind("leaves before the answer", 5, GOOD, frozenset()),
    Kind("leaves inside its body", 3, GOOD, frozenset()),
)


@dataclass
class Soak:
    """What has been seen so far."""

    seen: Counter = field(default_factory=Counter)
    unexpected: Counter = field(default_factory=Counter)
    memory: list[tuple[float, float, float]] = field(default_factory=list)


async def caller(port: int, number: int, until: float, soak: Soak) -> None:
    """One caller: sends kinds by their share until the end, on a kept connection where it can."""
    draw = random.Random(SEED + number)
    weights = [kind.share for kind in KINDS]
    connection = None
    while time.monotonic() < until:
        (kind,) = draw.choices(KINDS, weights)
        body = kind.body % draw.uniform(0, 10)
        try:
            connection = connection or await asyncio.open_connection("127.0.0.1", port)
            if kind.right:
                async with asyncio.timeout(30):
                    status, keep = await _ask(*connection, body)
                soak.seen[kind.name, status] += 1
                if status not in kind.right:
                    soak.unexpected[kind.name, status] += 1
            else:
                keep = False
                await _leave(connection[1], kind, body, draw)
                soak.seen[kind.name, 0] += 1
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            soak.unexpected[kind.name, type(error).__name__] += 1
            keep = False
        if not keep and connection:
            connection[1].transport.abort()
            connection = None


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> tuple[int, bool]:
    writer.write(HEAD % (b"/predict", len(body)) + body)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
    return int(head.split(None, 2)[1]), b"connection: close" not in head


async def _leave(writer: asyncio.StreamWriter, kind: Kind, body: bytes, draw: random.Random) -> None:
    sent = body if kind.name == "leaves before the answer" else body[: len(body) // 2]
    writer.write(HEAD % (b"/predict", len(body)) + sent)
    await asyncio.sleep(draw.uniform(0, 0.004))


async def watch(server: Server, started: float, until: float, soak: Soak) -> None:
    while time.monotonic() < until:
        soak.memory.append(await asyncio.to_thread(sample, server, started))
        if len(soak.memory) % 12 == 1:
            answered = sum(soak.seen.values())
            at, own, everything = soak.memory[-1]
            text = f"{at:6.0f} s  {own:7.1f} MB, {everything:7.1f} MB with the compactor  {answered:,} requests"
            print(text, file=sys.stderr, flush=True)
        await asyncio.sleep(min(SAMPLE_SECONDS, max(0.05, until - time.monotonic())))


async def run(server: Server, minutes: float) -> Soak:
    soak, started = Soak(), time.monotonic()
    until = started + minutes * 60
    async with asyncio.TaskGroup() as group:
        group.create_task(watch(server, started, until, soak))
        for number in range(CALLERS):
            group.create_task(caller(server.port, number, until, soak))
    soak.memory.append(sample(server, started))
    return soak


def sample(server: Server, started: float) -> tuple[float, float, float]:
    """Give the time, the memory of the process that answers, and of all its processes, the compactor with them."""
    own, everything = pss_mb([server.process.pid]), server.memory_mb()
    return round(time.monotonic() - started, 1), round(own, 1), round(everything, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    minutes = parser.parse_args().minutes
    port = free_port()
    program = str(environments.python_of("project").with_name("hansang"))
    service = str(Path(__file__).with_name("soak_service.py"))
    with Server(
        [program, "serve", service, "--host", "127.0.0.1", "--port", str(port)],
        port=port,
        folder=environments.BENCH / "run" / "soak",
        answers=lambda server: server.get_ok("/readyz"),
    ) as server:
        soak = asyncio.run(run(server, minutes))
        alive = server.process.poll() is None and server.get_ok("/healthz")
    return _conclude(soak, minutes, alive)


def _conclude(soak: Soak, minutes: float, alive: bool) -> int:
    two, last = min(120.0, minutes * 60 / 5), soak.memory[-1][0]
    at_two, at_end = _around(soak, two, 1), _around(soak, last, 1)
    all_two, all_end = _around(soak, two, 2), _around(soak, last, 2)
    for (name, status), count in sorted(soak.seen.items(), key=lambda item: -item[1]):
        print(f"{count:>10,}  {name}: {status or 'no answer wanted'}")
    for (name, what), count in soak.unexpected.items():
        print(f"UNEXPECTED {count:,} of {name}: {what}")
    print(f"memory {at_two} MB at minute {min(2, minutes / 5):g}, {at_end} MB at the end: ratio {at_end / at_two:.3f}")
    print(f"with the compactor {all_two} MB and {all_end} MB")
    unexpected = sum(soak.unexpected.values())
    results = report.load_results()
    results["soak"] = {
        "minutes": minutes,
        "at_two_mb": at_two,
        "at_end_mb": at_end,
        "all_two_mb": all_two,
        "all_end_mb": all_end,
        "ratio": round(at_end / at_two, 4),
        "requests": sum(soak.seen.values()),
        "unexpected": unexpected,
        "memory": soak.memory,
    }
    report.save_results(results)
    if not alive:
        print("the server did not live to the end")
    return 0 if alive and not unexpected and at_end / at_two <= 1.05 else 1


def _around(soak: Soak, seconds: float, column: int) -> float:
    """Give the median memory of the samples within a quarter of a minute of this time."""
    return round(median(entry[column] for entry in soak.memory if abs(entry[0] - seconds) <= 15.0), 1)


if __name__ == "__main__":
    sys.exit(main())
