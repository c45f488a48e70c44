"""Real far sides for remote nodes: services, and servers that misbehave in one way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn

from hansang import Batch, Call, Service
from hansang.nodes.remote import Remote, remote
from hansang.server.run import Config, Server, bind
from hansang.settings import Settings
from hansang.site import Site

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(service: Service, folder: Path, **settings: Any) -> AsyncIterator[str]:
    """Serve a service on this event loop; gives where."""
    chosen = Settings(**{"records": folder / "records", "port": 0, "record": False, **settings})
    listener = bind(chosen)
    ready = asyncio.Event()
    service.app.state.settings = chosen
    server = Server(Config(service, chosen), ready.set)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.wait([asyncio.create_task(ready.wait()), running], return_when=asyncio.FIRST_COMPLETED)
        yield f"http://127.0.0.1:{chosen.port}"
    finally:
        server.should_exit = True
        await running
        listener.close()


@asynccontextmanager
async def served_app(app: Any) -> AsyncIterator[str]:
    """Serve any ASGI application; gives where."""
    listener = bind(Settings(port=0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
        listener.close()


@asynccontextmanager
async def misbehaving(handler: Handler, port: int = 0) -> AsyncIterator[str]:
    """Run a server that does what it wants with each connection; gives where."""
    tasks: set[asyncio.Task[Any]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            try:
                await handler(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()

    server = await asyncio.start_server(run, "127.0.0.1", port)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def whole(reader: asyncio.StreamReader) -> bytes:
    """Read one request; gives its body, or nothing when the client has closed."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return b""
    length = next(line for line in head.split("\r\n") if line.startswith("content-length: "))
    return await reader.readexactly(int(length.split()[1])) or b"{}"


def answer(status: str, body: bytes, *fields: str) -> bytes:
    """Write an answer."""
    return "\r\n".join([f"HTTP/1.1 {status}", *fields, f"content-length: {len(body)}", "", ""]).encode() + body


@asynccontextmanager
async def asking(url: str, site: Site | None = None, **options: Any) -> AsyncIterator[Remote]:
    """Enter a remote node, as a service does."""
    async with remote(url, **options).bind(site or Site()) as node:
        yield node


def batch(*rows: Any, **call: Any) -> Batch:
    """Make a batch with calls."""
    return Batch.of(list(rows), [Call(f"id-{n}", n, **call) for n in range(len(rows))])
