"""OpenTelemetry spans: one for each request and one for each node's batch, linked across processes.

Nothing here imports OpenTelemetry before it is switched on. A span is handed along with the `Call`, never in a global;
only what runs inside a node finds that node's span in its context, so that spans of the user's own are its children.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from hansang.batch import Batch
from hansang.call import TRACEPARENT
from hansang.errors import status_of
from hansang.extras import require

MOST_LINKS = 32

Attributes = Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class Around:
    """The span of the node that runs, and the requests whose rows it has."""

    tracing: Tracing
    span: Any
    requests: Sequence[Any]

    def holds(self, tracing: Tracing, requests: Sequence[Any]) -> bool:
        """Say whether rows of these requests are here because of this node.

        A task outlives the node that it was started in, and then works for other requests; and a service can be called
        from a node of another one.
        """
        known = set(map(id, self.requests))
        return tracing is self.tracing and all(id(request) in known for request in requests)


enclosing: ContextVar[Around | None] = ContextVar("hansang_node_span", default=None)


class Tracing:
    """Makes spans with a tracer of OpenTelemetry; `provider` is its SDK's."""

    def __init__(self, provider: Any) -> None:
        need = "HANSANG_OTEL"
        self.api: Any = require("opentelemetry.trace", "otel", need)
        self.contexts: Any = require("opentelemetry.context", "otel", need)
        propagation: Any = require("opentelemetry.trace.propagation.tracecontext", "otel", need)
        self.propagator = propagation.TraceContextTextMapPropagator()
        self.tracer = provider.get_tracer("hansang")
        self.nothing = self.contexts.Context()

    # --- requests ---

    def request(self, name: str, headers: Mapping[str, str], attributes: Attributes) -> Any:
        """Start the span of a request; it continues the trace of what called it here, or that its header names."""
        context, kind, caller = self.nothing, self.api.SpanKind.SERVER, self.api.get_current_span()
        if caller.get_span_context().is_valid:  # FastAPI or middleware has a span of the request already
            context, kind = self.api.set_span_in_context(caller, self.nothing), self.api.SpanKind.INTERNAL
        elif "traceparent" in headers:
            context = self.propagator.extract(headers, context=self.nothing)
        return self.tracer.start_span(name, context, kind, attributes)

    def end_request(self, span: Any, status: int, attributes: Attributes) -> None:
        """End the span of a request with the status of its answer."""
        if span.is_recording():
            span.set_attribute("http.response.status_code", status)
            span.set_attributes(attributes)
            if status >= 500:
                span.set_status(self.api.StatusCode.ERROR)
        span.end()

    # --- nodes ---

    def node(self, label: str, endpoint: str, batch: Batch) -> Any:
        """Start the span of a node for one batch; `None` when no request of the batch is traced.

        It is a child of the node around it; else of the request, when all rows are of one; else the root of a trace of
        its own, linked with the requests both ways.
        """
        requests = spans_of(batch)
        if not requests:
            return None
        around = self.around(requests)
        name = f"node {label}"
        attributes = {"hansang.node": label, "hansang.endpoint": endpoint, "hansang.rows": batch.size}
        if around is not None or len(requests) == 1:
            parent = around if around is not None else requests[0]
            return self.tracer.start_span(
                name, self.api.set_span_in_context(parent, self.nothing), attributes=attributes
            )
        sampled = [span for span in requests if span.get_span_context().trace_flags.sampled]
        if not sampled:
            return None
        attributes["hansang.requests"] = len(requests)
        links = [self.api.Link(span.get_span_context()) for span in sampled[:MOST_LINKS]]
        span = self.tracer.start_span(name, self.nothing, attributes=attributes, links=links)
        for request in sampled:
            if request.is_recording():  # the request of a shadow's row may be answered already
                request.add_link(span.get_span_context())
        return span

    def around(self, requests: Sequence[Any]) -> Any:
        """Give the span of the node that has sent the rows of these requests here; `None` when there is none."""
        around = enclosing.get()
        return around.span if around is not None and around.holds(self, requests) else None

    def enter(self, span: Any, batch: Batch) -> tuple[Any, Any]:
        """Make a node's span the one that what runs inside is a child of; gives what `leave` needs."""
        before = enclosing.get(), self.contexts.get_current()
        enclosing.set(Around(self, span, spans_of(batch)))
        self.contexts.attach(self.api.set_span_in_context(span))
        return before

    def leave(self, before: tuple[Any, Any]) -> None:
        """Bring back what was before a node ran."""
        enclosing.set(before[0])
        self.contexts.attach(before[1])

    def end_node(self, span: Any, batch: Batch, steps: int, answers: Batch) -> None:
        """End the span of a node: what the model did, as the trails say beyond their first steps, and who failed."""
        if span.is_recording():
            step = next((c.trail[-1] for c in batch.calls if len(c.trail) > steps and c.trail[-1].model), None)
            if step is not None:
                span.set_attributes(
                    {
                        "hansang.model": step.model,
                        "hansang.model_version": step.version,
                        "hansang.model_rows": step.rows,
                        "hansang.queue_seconds": step.queue,
                    }
                )
            if answers.failed:
                span.set_attribute("hansang.failed_rows", answers.failed)
                failures = [row for row in answers.rows if isinstance(row, Exception)]
                if any(status_of(failure) >= 500 for failure in failures):
                    span.set_status(self.api.StatusCode.ERROR, type(failures[0]).__name__)
        span.end()

    def break_off(self, span: Any, error: BaseException) -> None:
        """End the span of a node that raised, or was cancelled."""
        if span.is_recording():
            span.record_exception(error)
            span.set_status(self.api.StatusCode.ERROR, type(error).__name__)
        span.end()

    # --- other processes ---

    def headers(self, batch: Batch) -> dict[str, str]:
        """Give the header fields that continue the trace of the node that runs, or of the only request, elsewhere."""
        requests = spans_of(batch)
        span = self.around(requests) or (requests[0] if len(requests) == 1 else None)
        fields: dict[str, str] = {}
        if span is not None:
            self.propagator.inject(fields, self.api.set_span_in_context(span, self.nothing))
        return fields


@dataclass(frozen=True, slots=True)
class Spans:
    """What makes the spans of one node of an endpoint."""

    tracing: Tracing
    label: str
    endpoint: str

    def begin(self, batch: Batch) -> Any:
        """Start a span for a batch; `None` when no request of it is traced."""
        return self.tracing.node(self.label, self.endpoint, batch)


def spans_of(batch: Batch) -> list[Any]:
    """Give the spans of the requests that a batch's rows belong to, each once."""
    if not batch.has_calls:
        return []
    calls = batch.calls
    first = calls[0].span if calls else None
    if all(call.span is first for call in calls):
        return [] if first is None else [first]
    return list({id(call.span): call.span for call in calls if call.span is not None}.values())


def handed_on(batch: Batch) -> dict[str, str]:
    """Give the trace header of the requests themselves, for a process that makes no spans; none when they differ."""
    if not batch.has_calls or not batch.size:
        return {}
    headers = [call.headers for call in batch.calls]
    parent = headers[0].get("traceparent", "")
    if not TRACEPARENT.fullmatch(parent) or any(each.get("traceparent") != parent for each in headers):
        return {}
    state = headers[0].get("tracestate")
    return {"traceparent": parent} if state is None else {"traceparent": parent, "tracestate": state}
