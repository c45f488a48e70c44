"""A service that uses what FastAPI users know: routers, dependencies, forms, files, settings, resources, middleware."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import (
    APIRouter,
    BackgroundTasks,
    Cookie,
    Depends,
    Form,
    Header,
    HTTPException,
    Query,
    Request,
    Response,
)
from fastapi import (
    Path as InPath,
)
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from hansang import Batch, Model, Service, node
from hansang.types import File

HERE = Path(__file__).parent


class Mine(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SHOP_", env_file=".env", extra="ignore")
    factor: float = 2.0


Number = Annotated[float, Field(ge=-1e300, le=1e300)]


class Row(BaseModel):
    """One thing to price."""

    x: Number = Field(description="How much of it.", examples=[1.5])


class Price(BaseModel):
    price: float = Field(description="What it costs.")


class Refund(Price):
    secret: str = "not for clients"


class Everywhere(BaseModel):
    """Fields from all over the request."""

    shop: Annotated[str, InPath()]
    x: Annotated[float, Query(ge=0)]
    color: Annotated[Literal["red", "blue"], Query()] = "red"
    x_user: Annotated[str | None, Header()] = None
    visits: Annotated[int, Cookie()] = 0
    amount: int = 1
    note: str = ""


class Upload(BaseModel):
    data: File
    label: str = ""
    weight: float = 1.0


class Gone(Exception):
    pass


events: list[str] = []


def resource(name: str) -> Any:
    @asynccontextmanager
    async def run() -> AsyncIterator[None]:
        print(f"enter {name}", flush=True)
        yield
        print(f"leave {name}", flush=True)

    return run


def price(batch: Batch) -> list[Any]:
    return [Refund(price=service.settings.factor * row.x) for row in batch.rows]


@node.each
def describe(row: Everywhere) -> dict[str, Any]:
    return row.model_dump()


@node.each
def total(row: dict[str, Any]) -> dict[str, Any]:
    return {"price": row["x"] + row["y"]}


@node.each
def size(row: Upload) -> dict[str, Any]:
    if row.label == "broken":
        raise Gone
    return {"bytes": len(row.data), "label": row.label, "weight": row.weight}


async def from_form(x: Annotated[Number, Form()], y: Annotated[Number, Form()] = 0.5) -> dict[str, float]:
    return {"x": x, "y": y}


async def many_of(x: Annotated[list[Number], Query()]) -> list[Row]:
    return [Row(x=value) for value in x]


def check(key: Annotated[str | None, Depends(APIKeyHeader(name="x-key", auto_error=False))]) -> None:
    if key != "open sesame":
        raise HTTPException(401, "the key is wrong", {"www-authenticate": "Key"})


service = Service(
    "shop",
    Model(price),
    input=Row,
    output=Price,
    settings=Mine,
    resources=[resource("first"), resource("second")],
    description="Prices things.",
    version="3",
    owner="the shop team",
)
service.endpoint("/shops/{shop}/describe", describe, input=Everywhere)
service.endpoint("/form", total, input=from_form, output=Price)
service.endpoint("/several", Model(price, "several"), input=many_of, output=Price)
service.endpoint("/files", size, input=Upload)
service.endpoint("/guarded", Model(price, "guarded"), input=Row, output=Price, dependencies=[Depends(check)])

router = APIRouter(prefix="/own")


def note(text: str) -> None:
    events.append(text)


@router.post("/background")
async def background(tasks: BackgroundTasks) -> dict[str, str]:
    tasks.add_task(note, "done")
    return {"events": ",".join(events)}


@router.get("/gone")
async def gone() -> None:
    raise Gone


@router.get("/typed")
async def typed(number: int) -> int:
    return number


async def on_gone(request: Request, error: Exception) -> Response:
    return JSONResponse({"gone": True}, 410)


service.app.include_router(router)
service.app.mount("/static", StaticFiles(directory=HERE), name="static")

if os.environ.get("WITH_MIDDLEWARE"):

    @service.app.middleware("http")
    async def stamp(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["x-stamp"] = request.url.path
        return response


if os.environ.get("WITH_HANDLER"):
    service.app.add_exception_handler(Gone, on_gone)
