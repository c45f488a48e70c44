"""The same model alone and with shadows; every live call takes 2 ms on its thread."""

import time

from pydantic import BaseModel

from hansang import Batch, Model, Service, node, shadow

SECONDS = 0.002


class Row(BaseModel):
    x: float


def sleep(batch: Batch) -> list[float]:
    time.sleep(SECONDS)
    return [row.x for row in batch.rows]


def spin(batch: Batch) -> list[float]:
    until = time.thread_time() + SECONDS
    while time.thread_time() < until:
        pass
    return [row.x for row in batch.rows]


def sleep_long(batch: Batch) -> list[float]:
    time.sleep(5.0)
    return [row.x for row in batch.rows]


@node
def fail(batch: Batch) -> list[float]:
    raise RuntimeError("the candidate fails")


service = Service("shadows", Model(sleep, "alone"), input=Row, path="/alone")
CANDIDATES = {
    "same": Model(sleep, "candidate"),
    "spins": Model(spin, "spins"),
    "sleeps": node(sleep_long),
    "fails": fail,
}
for path, candidate in CANDIDATES.items():
    service.endpoint(f"/{path}", shadow(Model(sleep, f"live-{path}"), candidate, name=path), input=Row)
