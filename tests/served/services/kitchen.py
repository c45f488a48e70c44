"""A service whose rows say what shall go wrong."""

import asyncio
import math
import os
import signal
import threading
import time
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from hansang import Batch, Model, Problem, Service

SECRET = "the-secret-text"


class Order(BaseModel):
    x: float
    do: str = ""


class Dish(BaseModel):
    y: float


class Flat(BaseModel):
    a: float
    b: float


class Teapot(Problem):
    status = 418
    title = "I am a teapot"


class Odd(Problem):
    status = 600


class Hidden(Problem):
    status = 507
    public = False


seen: list[float] = []
gate = threading.Event()


def fail(do: str) -> None:
    """Fail as the row says."""
    if do == "raise":
        raise RuntimeError(SECRET)
    if do == "memory":
        raise MemoryError(SECRET)
    if do == "leave":
        raise SystemExit(SECRET)
    if do == "teapot":
        raise Teapot("short and stout", headers={"x-pot": "tea"}, retry_after=7.0)
    if do == "odd":
        raise Odd(SECRET)
    if do == "hidden":
        raise Hidden(SECRET)


def take_time(do: str) -> None:
    """Take as long as the row says, or for ever."""
    if do == "wait":
        gate.wait(30)
    if do == "hang":
        threading.Event().wait()
    if do == "nap":
        time.sleep(0.05)
    if do == "exit":
        os._exit(7)
    if do == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


def row(order: Order) -> Any:
    seen.append(order.x)
    fail(order.do)
    take_time(order.do)
    if order.do == "large":
        return {"y": order.x, "big": "z" * 1_000_000}
    return {"y": math.nan if order.do == "nan" else 2.0 * order.x, "private": SECRET}


def cook(batch: Batch) -> list[Any]:
    orders = {order.do for order in batch.rows}
    dishes = [row(order) for order in batch.rows]
    if "few" in orders:
        return dishes[:-1]
    if "many" in orders:
        return [*dishes, dishes[0]]
    return dishes


service = Service("kitchen", Model(cook), input=Order, output=Dish, example={"x": 1.0})
service.endpoint("/flat", Model(lambda batch: [{"y": row.a} for row in batch.rows], "flat"), input=Flat, output=Dish)
service.endpoint("/large", Model(cook, "large"), input=Order)
service.endpoint("/impatient", Model(cook, "impatient"), input=Order, deadline=0.1)


@service.app.get("/seen")
def get_seen() -> list[float]:
    return seen


@service.app.post("/open")
def open_gate() -> None:
    gate.set()


@service.app.post("/shut")
def shut_gate() -> None:
    gate.clear()
    seen.clear()


@service.app.get("/slow")
async def slow() -> dict[str, bool]:
    await asyncio.sleep(0.2)
    return {"slow": True}


@service.app.post("/echo")
async def echo(request: Request) -> JSONResponse:
    body = await request.body()
    return JSONResponse({"bytes": len(body), "fields": [name for name, _ in request.headers.items()]})


@service.app.get("/pid")
async def pid() -> int:
    return os.getpid()


@service.app.get("/bug")
async def bug() -> None:
    raise RuntimeError(SECRET)
