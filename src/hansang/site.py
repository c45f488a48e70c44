"""What a node may know of the service that it runs in."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from hansang.batch import Batch
from hansang.codec import encode_any
from hansang.dispatch import Dispatcher, spreads
from hansang.errors import problem
from hansang.graph import Chain, Node
from hansang.logs.whose import around
from hansang.metrics import Counter, Histogram, Metrics
from hansang.switches import Switches
from hansang.tracing import Spans, Tracing, handed_on

if TYPE_CHECKING:
    from hansang.jobs.store import JobStore


class Record(Protocol):
    """Keeps answers that were not sent, beside the live ones of the same id."""

    def __call__(self, rows: Batch, answers: Batch, seconds: float, role: str = "shadow") -> None:
        """Take the rows as they came, their answers, the seconds these took, and what they are for."""


@dataclass(frozen=True, slots=True)
class Site:
    """One endpoint of a running service, as its nodes see it.

    `record` keeps answers that were not sent. `switches` says which names an operator has switched off, `tracing` makes
    the spans where OpenTelemetry is on. `encode` writes a prediction and `problem` an error as far as they may be kept,
    `jobs` gives the store for what is answered later; these are the server's. Within `in_background` nothing may hold
    up the event loop. `managed` gives what stands for a managed model, whose champion may have a challenger beside it.
    A node that stands in a graph twice is bound once.
    """

    service: str = ""
    endpoint: str = ""
    metrics: Metrics = field(default_factory=Metrics)
    record: Record | None = None
    background: bool = False
    switches: Switches | None = None
    encode: Callable[[Any], bytes] = encode_any
    problem: Callable[[BaseException, str], dict[str, Any]] = problem
    jobs: Callable[[], JobStore] | None = None
    under: str = ""
    tracing: Tracing | None = None
    managed: Callable[[Any, Site], Node] | None = None
    bound: dict[int, tuple[Node, Node]] = field(default_factory=dict)

    def bind(self, node: Node, label: str = "") -> Node:
        """Give a node as it runs here.

        A node with a `label` goes by this name instead of its own, and is only ever called as a whole: its time is
        measured even where a dispatcher stands last.
        """
        known = self.bound.get(id(node))
        if known is None:
            inner = node.bind(self)
            timed = inner if spreads(inner) else self.timed(inner, node.label)
            known = self.bound[id(node)] = (node, timed)  # the node is kept, so that nobody else gets its id
        if not label:
            return known[1]
        return self.timed(known[1].node if isinstance(known[1], Timed) else known[1], label, label)

    def graph(self, node: Node) -> Node:
        """Give a whole graph as it runs here; its own time is the endpoint's, so it is not measured again.

        A lone node has a span all the same, for it may be a model.
        """
        if self.tracing is not None and not isinstance(node, Chain | Dispatcher):
            return self.bind(node)
        return node.bind(self)

    def timed(self, node: Node, label: str, name: str = "") -> Timed:
        """Give a node that is measured under a label, and traced where that is on; see `Timed` for its name."""
        histogram = self.seconds(label)
        if self.tracing is None:
            return Timed(node, histogram, name)
        return Traced(node, histogram, name, spans=Spans(self.tracing, self.under + label, self.endpoint))

    def in_background(self, name: str = "") -> Site:
        """Give the site of work that must never hold up a live answer; its nodes are measured as `name/label`."""
        return replace(self, background=True, under=f"{self.under}{name}/" if name else self.under, bound={})

    def trace_headers(self, batch: Batch) -> dict[str, str]:
        """Give the header fields with which a node hands the trace of its rows on to another process.

        They name the span of the node that runs; without spans of its own, the process hands the trace of the request
        on as it came, if all rows have the same.
        """
        return (self.tracing.headers(batch) if self.tracing is not None else {}) or handed_on(batch)

    def seconds(self, label: str) -> Histogram:
        """Give the histogram of a node's time."""
        return self.metrics.histogram(
            "hansang_node_seconds", "Time of a node for one batch.", endpoint=self.endpoint, node=self.under + label
        )

    def counter(self, name: str, text: str, **labels: str) -> Counter:
        """Give a counter of this endpoint."""
        return self.metrics.counter(name, text, endpoint=self.endpoint, **labels)

    def gauge(self, name: str, text: str, **labels: str) -> Counter:
        """Give a gauge of this endpoint; over the workers of a server gauges add up."""
        return self.metrics.gauge(name, text, endpoint=self.endpoint, **labels)


@dataclass(frozen=True, slots=True, eq=False)
class Timed(Node):
    """A node and the histogram of its time, in seconds a batch; `name` is what it goes by instead of its own name."""

    node: Node
    histogram: Histogram
    name: str = ""

    @property
    def label(self) -> str:
        """The name of the node."""
        return self.name or self.node.label

    def fingerprint(self) -> str:
        """Say what the node says: that it is measured changes no answer."""
        return self.node.fingerprint()

    def prompt(self, batch: Batch) -> bool:
        """Say whether the node would not wait."""
        return self.node.prompt(batch)

    async def __call__(self, batch: Batch) -> Batch:
        """Predict, and note how long it took."""
        before = around.set(batch)
        started = time.perf_counter()
        try:
            return await self.node(batch)
        finally:
            self.histogram.observe(time.perf_counter() - started)
            around.reset(before)


@dataclass(frozen=True, slots=True, eq=False)
class Traced(Timed):
    """A node with the histogram of its time and a span for each batch."""

    spans: Spans = field(kw_only=True)

    async def __call__(self, batch: Batch) -> Batch:
        """Predict, and tell of it."""
        spans = self.spans
        span = spans.begin(batch)
        if span is None:
            return await Timed.__call__(self, batch)
        steps, before = len(batch.calls[0].trail), spans.tracing.enter(span, batch)
        try:
            answers = await Timed.__call__(self, batch)
        except BaseException as error:
            spans.tracing.break_off(span, error)
            raise
        finally:
            spans.tracing.leave(before)
        spans.tracing.end_node(span, batch, steps, answers)
        return answers


def bound(node: Node, **options: Any) -> Node:
    """Bind a graph to a site of its own, as a service would: for tests and for trying a pattern out."""
    return Site(**options).graph(node)
