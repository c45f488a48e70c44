"""How far one request travels through the house."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hansang import Batch, Model, Service, node
from hansang.server.run import Config, Server, bind
from hansang.settings import Settings
from hansang.testing import on_loop
from tests.shape.tree import SOURCE

OWN = str(SOURCE / "hansang")
COMPREHENSIONS = ("<listcomp>", "<genexpr>")
BODY = b'{"x": 1.5}'
REQUEST = b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)


def half(batch: Batch) -> list[float]:
    return [row["x"] / 2 for row in batch.rows]


@node
def same(batch: Batch) -> list[Any]:
    return batch.rows


@dataclass
class Way:
    """The package's own part of one request: its calls by file, and how many frames stood on each other."""

    calls: Counter[str]
    depth: int

    @property
    def files(self) -> set[str]:
        """The files that it went through."""
        return {call.split()[0] for call in self.calls}


def stacked(frame: FrameType | None) -> int:
    own = 0
    while frame is not None:
        own += frame.f_code.co_filename.startswith(OWN)
        frame = frame.f_back
    return own


async def way_of_a_request(graph: Any, folder: Path) -> Way:
    """Serve a graph on a socket with everything on, let it get warm, and watch one request."""
    settings = Settings(records=folder / "records", port=0)
    service = Service("halves", graph, input=dict[str, float], output=float)
    listener = bind(settings)
    ready = asyncio.Event()
    service.app.state.settings = settings
    server = Server(Config(service, settings), ready.set)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    way = Way(Counter(), 0)

    def watch(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(OWN) and not code.co_qualname.endswith(COMPREHENSIONS):
            way.calls[f"{Path(code.co_filename).relative_to(OWN)} {code.co_qualname}"] += 1
            way.depth = max(way.depth, stacked(frame))

    try:
        await ready.wait()
        reader, writer = await asyncio.open_connection("127.0.0.1", settings.port)
        for number in range(20):
            if number == 19:
                sys.setprofile(watch)
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            sys.setprofile(None)
            assert head.startswith(b"HTTP/1.1 200"), head
            assert await reader.readexactly(4) == b"0.75"
        writer.close()
        await writer.wait_closed()
    finally:
        sys.setprofile(None)
        server.should_exit = True
        await running
        listener.close()
    return way


@on_loop
async def test_a_request_goes_through_few_files_and_makes_few_calls(tmp_path: Path) -> None:
    way = await way_of_a_request(Model(half, inline=True), tmp_path)
    assert len(way.files) <= 20, sorted(way.files)
    assert way.calls.total() <= 75, way.calls
    assert way.depth <= 14


@on_loop
async def test_one_more_node_is_no_further_file_and_few_calls(tmp_path: Path) -> None:
    model = Model(half, inline=True)
    bare = await way_of_a_request(model >> same, tmp_path)
    more = await way_of_a_request(model >> same >> same, tmp_path)
    assert more.files == bare.files
    assert more.calls.total() - bare.calls.total() <= 16
    assert more.depth == bare.depth
