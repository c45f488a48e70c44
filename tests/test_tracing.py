"""A span for each node's batch: child of its one request, or linked with all of them; handed on to other processes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from hansang import Batch, Call, Model, Node, node
from hansang.dispatch import Dispatcher, Part
from hansang.errors import InvalidRow
from hansang.server.export import FollowingSampler
from hansang.site import Site
from hansang.testing import on_loop
from hansang.tracing import MOST_LINKS, Tracing, handed_on

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


class Kept:
    """Spans in memory."""

    def __init__(self, sampler: Any = None) -> None:
        self.exporter = InMemorySpanExporter()
        provider: Any = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        provider.sampler = FollowingSampler(provider.sampler)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(provider)

    def calls(self, *parents: str | None) -> list[Call]:
        """Give a call of one traced request for each header."""
        calls = []
        for row, parent in enumerate(parents):
            headers = {"traceparent": parent} if parent is not None else {}
            calls.append(Call(row=row, headers=headers, span=self.tracing.request("POST /predict", headers, {})))
        return calls

    def end(self, calls: Iterable[Call]) -> None:
        for span in {id(call.span): call.span for call in calls}.values():
            self.tracing.end_request(span, 200, {})

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def one(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def bound(self, graph: Node) -> Node:
        return Site("digits", "predict", tracing=self.tracing).graph(graph)


def context(span: ReadableSpan) -> Any:
    assert span.context is not None
    return span.context


@node.each
def double(row: int) -> int:
    if row < 0:
        raise ValueError("below zero")
    return row * 2


@node.each
def checked(row: int) -> int:
    if row > 3:
        raise InvalidRow("too large")
    return row


@node
async def broken(batch: Batch) -> list[int]:
    raise RuntimeError("no")


@on_loop
async def test_a_node_of_one_request_is_a_child_of_its_span_and_goes_on_with_its_trace() -> None:
    kept = Kept()
    calls = kept.calls(PARENT)
    answers = await kept.bound(double)(Batch([3], calls))
    kept.end(calls)
    request, child = kept.one("POST /predict"), kept.one("node double")
    assert answers.rows == [6]
    assert child.parent == request.context
    assert f"{context(child).trace_id:032x}" == PARENT[3:35]
    assert request.parent is not None and f"{request.parent.span_id:016x}" == PARENT[36:52]
    assert request.kind is trace.SpanKind.SERVER
    assert child.attributes == {"hansang.node": "double", "hansang.endpoint": "predict", "hansang.rows": 1}


@on_loop
async def test_many_rows_of_one_request_are_one_request() -> None:
    kept = Kept()
    (call,) = kept.calls(PARENT)
    calls = [call, Call(row=1, span=call.span)]
    await kept.bound(double)(Batch([1, 2], calls))
    kept.end(calls)
    assert kept.one("node double").parent == kept.one("POST /predict").context


@on_loop
async def test_a_batch_of_many_requests_is_linked_with_each_both_ways() -> None:
    kept = Kept()
    calls = kept.calls(None, PARENT, None)
    await kept.bound(double)(Batch([1, 2, 3], calls))
    kept.end(calls)
    span = kept.one("node double")
    requests = [each for each in kept.spans if each.name == "POST /predict"]
    assert span.parent is None
    assert {link.context.span_id for link in span.links} == {context(each).span_id for each in requests}
    assert all([link.context.span_id for link in each.links] == [context(span).span_id] for each in requests)
    assert span.attributes is not None and span.attributes["hansang.requests"] == 3


@on_loop
async def test_the_links_of_a_large_batch_are_limited() -> None:
    kept = Kept()
    calls = kept.calls(*[None] * 50)
    await kept.bound(double)(Batch([1] * 50, calls))
    span = kept.one("node double")
    assert len(span.links) == MOST_LINKS and span.attributes is not None and span.attributes["hansang.requests"] == 50


@on_loop
async def test_the_span_of_a_model_tells_the_model_its_version_rows_and_queue() -> None:
    kept = Kept()
    calls = kept.calls(None, None)
    async with Model(lambda batch: [row + 1 for row in batch.rows], name="plus") as model:
        await kept.bound(double >> model)(Batch([1, 2], calls))
    attributes = kept.one("node plus").attributes
    assert attributes is not None
    assert attributes["hansang.model"] == "plus" and attributes["hansang.model_version"] == ""
    assert attributes["hansang.model_rows"] == 2
    assert isinstance(attributes["hansang.queue_seconds"], float)
    other = kept.one("node double").attributes
    assert other is not None and "hansang.model" not in other


@on_loop
async def test_a_lone_model_has_a_span_too() -> None:
    kept = Kept()
    calls = kept.calls(None)
    async with Model(lambda batch: batch.rows, name="same") as model:
        await kept.bound(model)(Batch([1], calls))
    assert kept.one("node same").parent == calls[0].span.get_span_context()


@dataclass(frozen=True, slots=True, eq=False)
class Outer(Node):
    inner: Node

    async def __call__(self, batch: Batch) -> Batch:
        return await asyncio.create_task(self.inner(batch))


@dataclass(frozen=True, slots=True, eq=False)
class Odd(Dispatcher):
    odd: Node
    even: Node

    def parts(self, batch: Batch) -> Iterable[Part]:
        for remainder, side in ((1, self.odd), (0, self.even)):
            at = [place for place, row in enumerate(batch.rows) if row % 2 == remainder]
            if at:
                yield Part(batch.take(at), side, at)


@on_loop
async def test_nodes_in_nodes_are_children_of_those_even_in_tasks_of_their_own() -> None:
    kept = Kept()
    calls = kept.calls(None, None)
    await kept.bound(checked >> Outer(double))(Batch([1, 2], calls))
    outer, inner = kept.one("node outer"), kept.one("node double")
    assert inner.parent == outer.context and inner.links == ()
    assert kept.one("node checked").parent is None


@on_loop
async def test_a_task_that_outlives_its_node_does_not_give_later_requests_to_the_first_one() -> None:
    kept = Kept()
    queue: asyncio.Queue[Batch] = asyncio.Queue()
    inner: list[Node] = []

    @node
    async def starts(batch: Batch) -> list[int]:
        if not tasks:
            tasks.append(asyncio.create_task(works_off()))
        queue.put_nowait(batch)
        return batch.rows

    async def works_off() -> None:
        for _ in range(2):
            await inner[0](await queue.get())

    tasks: list[asyncio.Task[None]] = []
    site = Site("digits", "predict", tracing=kept.tracing)
    inner.append(site.bind(double))
    graph = site.bind(starts)
    first, second = kept.calls(None, None)
    await graph(Batch([1], [first]))
    await graph(Batch([2], [second]))
    await tasks[0]
    parents = [span.parent for span in kept.spans if span.name == "node double"]
    starters = {span.parent.span_id: span.context for span in kept.spans if span.name == "node starts" and span.parent}
    assert parents == [starters[first.span.get_span_context().span_id], second.span.get_span_context()]


@on_loop
async def test_a_copy_that_outlives_its_request_is_still_of_its_trace() -> None:
    kept = Kept()
    calls = kept.calls(None, None)
    kept.end(calls)
    await kept.bound(double)(Batch([1, 2], [call.apart() for call in calls]))
    assert len(kept.one("node double").links) == 2


@on_loop
async def test_the_sides_of_a_dispatcher_belong_to_the_requests_of_their_rows() -> None:
    kept = Kept()
    calls = kept.calls(None, None)
    await kept.bound(Odd(double, checked))(Batch([1, 2], calls))
    assert kept.one("node double").parent == calls[0].span.get_span_context()
    assert kept.one("node checked").parent == calls[1].span.get_span_context()


@on_loop
async def test_what_ran_before_leaves_nothing_behind_in_the_context() -> None:
    kept = Kept()
    calls = kept.calls(None)
    before = trace.get_current_span()
    await kept.bound(double)(Batch([1], calls))
    assert trace.get_current_span() is before
    assert kept.tracing.headers(Batch([1])) == {}


@on_loop
async def test_spans_of_the_users_own_are_children_of_the_nodes() -> None:
    kept = Kept()

    @node.each
    async def asks(row: int) -> int:
        with kept.tracing.tracer.start_as_current_span("own"):
            return row

    await kept.bound(asks)(Batch([1], kept.calls(None)))
    assert kept.one("own").parent == kept.one("node asks").context


@on_loop
async def test_rows_that_failed_are_counted_and_only_the_servers_faults_are_errors() -> None:
    kept = Kept()
    await kept.bound(double)(Batch([1, -1], kept.calls(None, None)))
    failed = kept.one("node double")
    assert failed.attributes is not None and failed.attributes["hansang.failed_rows"] == 1
    assert failed.status.status_code is trace.StatusCode.ERROR and failed.status.description == "ModelFailed"
    await kept.bound(checked)(Batch([9], kept.calls(None)))
    assert kept.one("node checked").status.status_code is trace.StatusCode.UNSET


@on_loop
async def test_a_node_that_is_cancelled_ends_its_span() -> None:
    kept = Kept()

    @node
    async def waits(batch: Batch) -> list[int]:
        await asyncio.Event().wait()
        return []

    task = asyncio.create_task(kept.bound(waits)(Batch([1], kept.calls(None))))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    span = kept.one("node waits")
    assert span.status.description == "CancelledError" and span.events[0].name == "exception"


@on_loop
async def test_rows_without_a_request_have_no_spans() -> None:
    kept = Kept()
    await kept.bound(double)(Batch([1]))
    await kept.bound(double)(Batch([1], [Call()]))
    assert kept.spans == ()


# --- sampling ---


@on_loop
async def test_a_request_whose_parent_is_not_sampled_has_no_span_nor_has_its_batch() -> None:
    kept = Kept()
    await kept.bound(double)(Batch([1], kept.calls(UNSAMPLED)))
    await kept.bound(double)(Batch([1, 2], kept.calls(UNSAMPLED, UNSAMPLED)))
    assert kept.spans == ()


@on_loop
async def test_a_batch_is_sampled_when_one_of_its_requests_is_whatever_the_sampler_says_of_roots() -> None:
    kept = Kept(ParentBased(ALWAYS_OFF))
    calls = kept.calls(PARENT, None, UNSAMPLED)
    await kept.bound(double)(Batch([1, 2, 3], calls))
    kept.end(calls)
    assert [link.context.span_id for link in kept.one("node double").links] == [
        calls[0].span.get_span_context().span_id
    ]
    assert len(kept.spans) == 2


# --- other processes ---


@dataclass(frozen=True, slots=True, eq=False)
class Asking(Node):
    """A node that would ask another process."""

    seen: list[dict[str, str]]
    site: Site | None = None

    def bind(self, site: Site) -> Node:
        return Asking(self.seen, site)

    async def __call__(self, batch: Batch) -> Batch:
        assert self.site is not None
        self.seen.append(self.site.trace_headers(batch))
        return batch


@on_loop
async def test_another_process_goes_on_with_the_span_of_the_node_that_asks_it() -> None:
    kept = Kept()
    seen: list[dict[str, str]] = []
    calls = kept.calls(PARENT, None)
    await kept.bound(double >> Asking(seen))(Batch([1, 2], calls))
    span = context(kept.one("node asking"))
    assert seen == [{"traceparent": f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"}]


@on_loop
async def test_without_spans_the_trace_of_the_only_request_is_handed_on_as_it_came() -> None:
    seen: list[dict[str, str]] = []
    graph = Site().graph(Asking(seen))
    headers = {"traceparent": PARENT, "tracestate": "a=1"}
    await graph(Batch([1, 2], [Call(headers=headers), Call(headers=headers)]))
    await graph(Batch([1, 2], [Call(headers=headers), Call()]))
    await graph(Batch([1]))
    assert seen == [headers, {}, {}]


@pytest.mark.parametrize("parent", ["", "00-abc", "00-" + "0" * 32 + PARENT[35:], "ff" + PARENT[2:]])
def test_a_header_that_names_no_trace_is_not_handed_on(parent: str) -> None:
    assert handed_on(Batch([1], [Call(headers={"traceparent": parent})])) == {}
    assert Call(headers={"traceparent": parent}).trace_id == ""


def test_the_id_of_a_trace_comes_from_the_span_or_from_the_header() -> None:
    assert Call(headers={"traceparent": PARENT}).trace_id == PARENT[3:35]
    assert Kept().calls(PARENT)[0].trace_id == PARENT[3:35]
    assert len(Kept().calls(None)[0].trace_id) == 32
    assert Call().trace_id == ""
