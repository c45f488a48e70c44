"""CPU that split and switch add to a row, in process: `python -m tests.nodes.bench`.

Batches of 30 rows of a pydantic model with their calls, as a turn at 64 connections makes them. `decision` is the
cutting alone (`parts`); `whole` adds running the parts and a second call of the nodes behind them, each compared with
the same batch through one node. In microseconds a row, on the loop that the server uses.
"""

from __future__ import annotations

import gc
import time
from typing import Any

import uvloop
from pydantic import BaseModel

from hansang import Batch, Call, split, switch
from hansang.dispatch import Dispatcher, flow
from hansang.graph import Node
from hansang.server.ids import new_ids
from hansang.site import bound
from tests.nodes.ways import side

ROWS, BATCHES = 30, 4000
A, B, C, D = map(side, "abcd")


class Row(BaseModel):
    user_id: str
    country: str
    hour: int


ROW = [Row(user_id=f"user-{n * 7919}", country=["kr", "jp", "us"][n % 3], hour=n % 24) for n in range(ROWS)]
HEADERS = [{"x-user": f"u{n}", "x-tier": "gold"} if n % 4 else {} for n in range(ROWS)]
IDS = new_ids(ROWS)

GRAPHS: dict[str, Node] = {
    "one node": A,
    "split, 2 sides, by field": split({A: 90, B: 10}, by="user_id"),
    "split, 2 sides, no key": split({A: 90, B: 10}),
    "split, 4 sides, by field": split({A: 40, B: 30, C: 20, D: 10}, by="user_id"),
    "split, header and overrides": split(
        {A: 90, B: 10}, by="header:x-user", overrides={"tester": "b"}, header="x-variant"
    ),
    "switch, field, 3 branches": switch("country", {"kr": A, "jp": B}, default=C),
    "switch, field, 1 branch": switch("hour", {99: B}, default=A),
    "switch, function": switch(lambda row: row.hour > 12, {True: A, False: B}, default=C),
    "switch, 2 conditions": switch({"hour < 6 or hour >= 22": A, "header['x-tier'] == 'gold'": B}, default=C),
}


def batches() -> list[Batch]:
    return [
        Batch(list(ROW), [Call(id, 0, None, headers) for id, headers in zip(IDS, HEADERS, strict=True)])
        for _ in range(BATCHES)
    ]


def typical(times: list[float]) -> float:
    """Give the time a row where nothing else disturbed: the quickest twentieth of the batches, in microseconds."""
    return sorted(times)[len(times) // 20] / ROWS * 1e6


def decision(graph: Dispatcher) -> float:
    times = []
    for batch in batches():
        started = time.process_time()
        list(graph.parts(batch))
        times.append(time.process_time() - started)
    return typical(times)


async def whole(graph: Node) -> float:
    times = []
    for batch in batches():
        started = time.process_time()
        await flow(graph, batch, range(ROWS), nobody)
        times.append(time.process_time() - started)
    return typical(times)


def nobody(at: Any, answers: Batch) -> None:
    """Take answers for nobody."""


async def main() -> None:
    gc.disable()
    base = await whole(bound(GRAPHS["one node"]))
    for name, declared in GRAPHS.items():
        graph = bound(declared)
        if isinstance(graph, Dispatcher):
            print(f"{name:28} decision {decision(graph):5.2f}   whole {await whole(graph) - base:5.2f}")
        gc.collect()


if __name__ == "__main__":
    uvloop.run(main())
