"""Every line says whose request it is about: also those of the user's code, in batches, threads and tasks."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hansang import Batch, Call, Node, node
from hansang.call import Step
from hansang.graph import settle
from hansang.logs.lines import Json, Requests, Text
from hansang.logs.whose import MOST, around
from hansang.models.batcher import Batcher
from hansang.site import bound
from hansang.testing import on_loop

log = logging.getLogger("mine")
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class Lines(logging.Handler):
    """Keeps the lines of both formatters."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(Requests("worker-3"))
        self.json: list[dict[str, Any]] = []
        self.text: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.json.append(json.loads(Json().format(record)))
        self.text.append(Text("%(message)s").format(record))


@pytest.fixture
def lines() -> Iterator[Lines]:
    kept = Lines()
    log.addHandler(kept)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    yield kept
    log.removeHandler(kept)
    log.setLevel(logging.NOTSET)
    log.propagate = True


def calls(count: int) -> list[Call]:
    return [Call(f"id-{number}", request_id="mine-1" if number == 1 else None) for number in range(count)]


@node.each
def note(row: int) -> int:
    log.info("row %d", row)
    return row


@node.each
async def note_later(row: int) -> int:
    await asyncio.sleep(0)
    log.info("row %d", row)
    return row


@node
def note_all(batch: Batch) -> list[int]:
    log.info("rows")
    return batch.rows


class Own(Node):
    async def __call__(self, batch: Batch) -> Batch:
        log.info("own")
        return batch


@pytest.mark.parametrize("function", [note, note_later])
@on_loop
async def test_a_row_function_speaks_for_the_request_of_its_row(lines: Lines, function: Node) -> None:
    await settle(bound(function), Batch([0, 1, 2], calls(3)))
    assert [line["request_id"] for line in lines.json] == ["id-0", "mine-1", "id-2"]
    assert lines.text[1] == "row 1 request=mine-1"
    assert around.get() is None


@pytest.mark.parametrize("graph", [note_all, Own()])
@on_loop
async def test_a_node_speaks_for_the_requests_of_its_batch(lines: Lines, graph: Any) -> None:
    running = bound(graph >> note_all)
    await settle(running, Batch([0, 1], calls(2)))
    await settle(running, Batch([0], calls(1)))
    assert [line.get("request_ids") for line in lines.json] == [["id-0", "mine-1"]] * 2 + [None] * 2
    assert [line.get("requests") for line in lines.json] == [2, 2, None, None]
    assert [line.get("request_id") for line in lines.json] == [None, None, "id-0", "id-0"]
    assert lines.text[0].endswith("request=id-0,mine-1")


@on_loop
async def test_a_model_in_a_thread_speaks_for_the_rows_of_its_call_and_then_for_nobody(lines: Lines) -> None:
    def predict(batch: Batch) -> Batch:
        log.info("model")
        return batch

    batcher = Batcher(predict, step=Step("m"))
    await asyncio.gather(batcher(Batch([0], calls(1))), batcher(Batch([1], calls(2)[1:])))
    idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    batcher.lanes.submit(lambda: log.info("idle"), idle.set_result)
    await idle
    batcher.close()
    said = [line.get("request_id") or line.get("request_ids") for line in lines.json]
    assert said == ["id-0", "mine-1", None]


@on_loop
async def test_the_search_for_a_bad_row_names_the_requests_of_each_half(lines: Lines) -> None:
    @node
    def fragile(batch: Batch) -> list[int]:
        log.info("try")
        if 1 in batch.rows:
            raise RuntimeError("bad")
        return batch.rows

    await settle(bound(fragile), Batch([0, 1], calls(2)))
    assert [line.get("request_id") for line in lines.json] == [None, "mine-1", "id-0"]


@on_loop
async def test_rows_without_requests_name_none(lines: Lines) -> None:
    await settle(bound(note_all >> note), Batch.of([0]))
    assert all("request_id" not in line for line in lines.json)
    assert lines.text == ["rows", "row 0"]


def test_many_requests_are_counted_and_the_first_are_named(lines: Lines) -> None:
    around.set(Batch(list(range(40)), calls(40)))
    log.info("many")
    around.set(None)
    (line,) = lines.json
    assert (len(line["request_ids"]), line["requests"]) == (MOST, 40)
    assert lines.text[0].endswith(f"id-{MOST - 1} and 8 more")


def test_the_trace_is_named_and_what_a_line_says_itself_stands(lines: Lines) -> None:
    around.set(Call("id-0", headers={"traceparent": PARENT}))
    log.info("mine")
    log.info("said", extra={"request_id": "other", "trace_id": ""})
    around.set(None)
    assert lines.text == [f"mine request=id-0 trace={TRACE}", "said request=other"]
    assert [(line["request_id"], line.get("trace_id")) for line in lines.json] == [("id-0", TRACE), ("other", None)]


def test_json_keeps_one_line_whatever_is_logged(lines: Lines) -> None:
    class Loud:
        def __str__(self) -> str:
            raise RuntimeError("no")

        def __repr__(self) -> str:
            return "loud"

    log.info("two\nlines", extra={"path": Path("/x"), "number": float("nan"), "level": "mine"})
    log.info("loud", extra={"it": Loud()})
    try:
        raise ValueError("bad")
    except ValueError:
        log.exception("failed")
    first, second, third = lines.json
    assert (first["message"], first["path"], first["number"], first["level"]) == ("two\nlines", "/x", None, "INFO")
    lone = logging.makeLogRecord({"msg": "lone %s", "args": ("\ud800",)})  # not logged: pytest could not pass it on
    assert json.loads(Json().format(lone))["message"] == "lone \ud800"
    assert first["process"] == "worker-3"
    assert first["time"].endswith("Z") and len(first["time"]) == 24
    assert second["it"] == "loud"
    assert third["error"] == "ValueError"
    assert third["traceback"].endswith("ValueError: bad")
