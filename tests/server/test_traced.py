"""Every request has a span that continues its trace and tells how it was answered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

from hansang import Batch, Service, node
from hansang.errors import InvalidRow, RecordError
from hansang.server.serving import Serving
from hansang.server.traced import TracedTurn
from hansang.server.turn import Turn
from hansang.settings import Settings, load_settings
from hansang.testing import on_loop
from tests.server.test_turn import Waiter, answered

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Row(BaseModel):
    x: float


@node.each
def halve(row: Row) -> float:
    if row.x < 0:
        raise ValueError("below zero")
    if row.x > 100:
        raise InvalidRow("too large")
    return row.x / 2


@pytest.fixture(scope="module")
def memory() -> InMemorySpanExporter:
    """Set up OpenTelemetry as an application would, once in this process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(memory: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    memory.clear()
    yield memory
    memory.clear()


@asynccontextmanager
async def traced(graph: Any = halve) -> Any:
    service = Service("halves", graph, input=Row, version="3")
    async with Serving(service, load_settings(Settings, record=False, otel=True)).running() as serving:
        yield serving


def requests(spans: InMemorySpanExporter) -> list[ReadableSpan]:
    found = [span for span in spans.get_finished_spans() if span.name == "POST /predict"]
    return [span for span in found if span.instrumentation_scope and span.instrumentation_scope.name == "hansang"]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@on_loop
async def test_a_request_has_a_span_with_its_status_rows_and_prediction(spans: InMemorySpanExporter) -> None:
    async with traced() as serving:
        ask = Waiter(1.0)
        ask.calls[0].headers = {"traceparent": PARENT}
        ask.calls[0].request_id = "r-1"
        assert await answered(serving, ask) == [(200, b"0.5")]
    (span,) = requests(spans)
    assert span.context is not None and f"{span.context.trace_id:032x}" == PARENT[3:35]
    assert attributes(span) == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "url.path": "/predict",
        "hansang.endpoint": "predict",
        "hansang.rows": 1,
        "hansang.prediction_id": ask.id,
        "hansang.request_id": "r-1",
        "http.response.status_code": 200,
    }
    (child,) = [each for each in spans.get_finished_spans() if each.name == "node halve"]
    assert child.parent == span.context


@on_loop
async def test_each_request_of_a_turn_has_its_own_status(spans: InMemorySpanExporter) -> None:
    async with traced() as serving:
        asks = [Waiter(1.0), Waiter(-1.0), Waiter(1.0, 101.0), Waiter(101.0), Waiter(-1.0, 101.0)]
        got = await answered(serving, *asks)
    found = [attributes(span)["http.response.status_code"] for span in requests(spans)]
    assert found == [status for status, _ in got] == [200, 500, 207, 422, 500]
    codes = [span.status.status_code.name for span in requests(spans)]
    assert codes == ["UNSET", "ERROR", "UNSET", "UNSET", "ERROR"]
    assert attributes(requests(spans)[2])["hansang.rows"] == 2


@on_loop
async def test_a_request_that_never_enters_the_graph_has_a_span_too(spans: InMemorySpanExporter) -> None:
    async with traced() as serving:
        transport = httpx.ASGITransport(serving.service.app)
        serving.service.app.state.serving = serving
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.post("/predict", json={"x": "no"})).status_code == 422
            assert (await client.post("/predict", content=b"{")).status_code == 400
    assert [attributes(span)["http.response.status_code"] for span in requests(spans)] == [422, 400]


@on_loop
async def test_a_request_that_runs_out_of_time_ends_its_span_once(spans: InMemorySpanExporter) -> None:
    @node
    async def waits(batch: Batch) -> list[float]:
        await let_go.wait()
        return [1.0]

    let_go = asyncio.Event()
    async with traced(waits) as serving:
        late = Waiter(1.0, deadline=time.monotonic() + 0.01)
        assert (await answered(serving, late))[0][0] == 504
        let_go.set()
    (span,) = requests(spans)
    assert attributes(span)["http.response.status_code"] == 504


@on_loop
async def test_when_the_turn_itself_fails_its_spans_end(spans: InMemorySpanExporter) -> None:
    async with traced() as serving:
        turn = serving.turns["/predict"]

        def unwritable(*_: Any) -> None:
            raise ZeroDivisionError("a bug")

        turn._encode = unwritable
        assert (await answered(serving, Waiter(1.0)))[0][0] == 500
    assert [attributes(span)["http.response.status_code"] for span in requests(spans)] == [500]


@on_loop
async def test_what_could_not_be_recorded_is_an_error_in_the_span(spans: InMemorySpanExporter) -> None:
    class Full:
        def write(self, *_: Any) -> None:
            raise RecordError("the disk is full")

    async with traced() as serving:
        serving.turns["/predict"].recording = Full()
        assert (await answered(serving, Waiter(1.0)))[0][0] == 503
    assert [attributes(span)["http.response.status_code"] for span in requests(spans)] == [503]


@on_loop
async def test_middleware_of_the_users_own_that_traces_is_the_parent(spans: InMemorySpanExporter) -> None:
    async with traced() as serving:
        with trace.get_tracer("own").start_as_current_span("middleware") as outer:
            await answered(serving, Waiter(1.0))
    (span,) = requests(spans)
    assert span.parent == outer.get_span_context()


@on_loop
async def test_without_the_setting_nothing_is_traced(spans: InMemorySpanExporter) -> None:
    service = Service("halves", halve, input=Row)
    async with Serving(service, load_settings(Settings, record=False)).running() as serving:
        ask = Waiter(1.0)
        await answered(serving, ask)
        assert type(serving.turns["/predict"]) is Turn and not isinstance(serving.turns["/predict"], TracedTurn)
        assert ask.calls[0].span is None
    assert spans.get_finished_spans() == ()


@on_loop
async def test_a_log_line_of_a_failed_row_carries_request_and_trace(
    spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    async with traced() as serving:
        ask = Waiter(-1.0)
        ask.calls[0].headers = {"traceparent": PARENT}
        ask.calls[0].request_id = "r-2"
        with caplog.at_level(logging.ERROR, "hansang"):
            await answered(serving, ask)
    (record,) = caplog.records
    assert record.getMessage().startswith("row 0 at /predict failed: halve")
    assert vars(record)["trace_id"] == PARENT[3:35] and vars(record)["request_id"] == "r-2"


@on_loop
async def test_the_readiness_check_is_not_traced(spans: InMemorySpanExporter) -> None:
    async with traced() as serving:
        assert (await serving.turns["/predict"].graph(Batch([Row(x=1.0)]))).rows == [0.5]
    assert spans.get_finished_spans() == ()
