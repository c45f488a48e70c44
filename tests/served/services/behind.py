"""A live node with every kind of candidate beside it, and a quick one before a slow one."""

import threading
import time
from typing import Any

from pydantic import BaseModel

from hansang import Batch, Model, Service, node, shadow, staged

SECRET = "the-secret-text"
gate = threading.Event()


class Order(BaseModel):
    x: float


class Dish(BaseModel):
    y: float


def double(batch: Batch) -> list[Any]:
    return [{"y": 2.0 * row.x} for row in batch.rows]


def triple(batch: Batch) -> list[Any]:
    return [{"y": 3.0 * row.x, "private": SECRET} for row in batch.rows]


@node
def sleeps(batch: Batch) -> list[Any]:
    time.sleep(5.0)
    return double(batch)


@node.each
def spins(order: Order) -> Any:
    until = time.thread_time() + 0.01
    while time.thread_time() < until:
        pass
    return {"y": 2.0 * order.x}


@node
def raises(batch: Batch) -> list[Any]:
    raise RuntimeError(SECRET)


@node.each
def exits(order: Order) -> Any:
    raise SystemExit(3)


@node
def few(batch: Batch) -> list[Any]:
    return double(batch)[1:]


@node
def changes(batch: Batch) -> list[Any]:
    for order in batch.rows:
        order.x += 1000.0
    return double(batch)


def hang(batch: Batch) -> list[Any]:
    threading.Event().wait()
    return []


def slow(batch: Batch) -> list[Any]:
    gate.wait(30)
    if any(row.x < 0 for row in batch.rows):
        raise RuntimeError(SECRET)
    return triple(batch)


CANDIDATES = {
    "agrees": Model(double, "agrees"),
    "sleeps": sleeps,
    "spins": spins,
    "raises": raises,
    "exits": exits,
    "few": few,
    "changes": changes,
    "hangs": Model(hang, "hangs"),
}

service = Service("behind", double, input=Order, output=Dish, example={"x": 1.0})
for name, candidate in CANDIDATES.items():
    graph = shadow(Model(double, f"live-{name}"), candidate, max_rows=64, timeout=0.5, name=name)
    service.endpoint(f"/{name}", graph, input=Order, output=Dish, example={"x": 1.0})
service.endpoint("/staged", staged(double, Model(slow, "slow")), input=Order, output=Dish, example={"x": 1.0})


@service.app.post("/open")
def open_gate() -> None:
    gate.set()


@service.app.post("/shut")
def shut_gate() -> None:
    gate.clear()
