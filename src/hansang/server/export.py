"""Where spans go: to an OTLP collector over HTTP, in the background; what is lost on the way is counted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from hansang.errors import SettingsError
from hansang.extras import require
from hansang.metrics import Counter, Metrics
from hansang.tracing import Tracing

log = logging.getLogger("hansang")

NEED = "HANSANG_OTEL"
OTLP = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
QUEUE = "OTEL_BSP_MAX_QUEUE_SIZE"
FLUSH_SECONDS, DEAD_SECONDS = 3.0, 0.5
SILENCE = 60.0


class CountedExporter:
    """An exporter that counts what it sends and what it loses; a loss is told once a minute."""

    def __init__(self, exporter: Any, metrics: Metrics) -> None:
        self.exporter = exporter
        self.success = require("opentelemetry.sdk.trace.export", "otel", NEED).SpanExportResult.SUCCESS
        self.sent = metrics.counter("hansang_otel_spans_total", "Spans sent to the collector.")
        self.lost = lost(metrics, "not sent")
        self.taken = 0
        self.failing = self.closed = False
        self.lock = threading.Lock()
        self.warned = float("-inf")

    def export(self, spans: Sequence[Any]) -> Any:
        """Send spans; called in a thread of its own."""
        result = None
        try:
            result = self.exporter.export(spans)
        finally:
            self.note(len(spans), result is self.success)
        return result

    def note(self, spans: int, sent: bool) -> None:
        """Count what came of spans; those that come after the end have been counted as lost."""
        with self.lock:
            if self.closed:
                return
            self.taken += spans
            self.failing = not sent
            (self.sent if sent else self.lost).add(spans)
        if not sent:
            self.warn()

    def close(self, put: int) -> int:
        """Count what was put in and has not come out as lost; gives how many."""
        with self.lock:
            self.closed = True
            left = put - self.taken
            self.lost.add(left)
        self.shutdown()
        return left

    def warn(self) -> None:
        """Say that spans are lost, at most once a minute."""
        if time.monotonic() - self.warned > SILENCE:
            self.warned = time.monotonic()
            log.warning("spans cannot be sent to the collector: %.0f are lost; requests go on", self.lost.value)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Say that nothing waits here."""
        return True

    def shutdown(self) -> None:
        """Send no more; whoever is trying again gives up."""
        self.exporter.shutdown()


class BoundedProcessor:
    """Lets ended spans wait to be sent together; one that finds the queue full is dropped and counted.

    The spans that wait or are being sent are those put in and not taken yet; the SDK's own queue never overflows.
    """

    def __init__(self, exporter: CountedExporter, metrics: Metrics, size: int) -> None:
        export: Any = require("opentelemetry.sdk.trace.export", "otel", NEED)
        self.exporter = exporter
        self.size = size
        self.put = 0
        self.dropped = lost(metrics, "queue full")
        self.batches: Any = export.BatchSpanProcessor(exporter, max_queue_size=size)

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Note nothing: a span counts when it ends."""

    def _on_ending(self, span: Any) -> None:
        """Note nothing; the SDK asks every processor."""

    def on_end(self, span: Any) -> None:
        """Take a span that is sampled, if there is room."""
        if not span.context.trace_flags.sampled:
            return
        if self.put - self.exporter.taken >= self.size:
            self.dropped.add()
            return
        self.put += 1
        self.batches.on_end(span)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Send what waits."""
        return bool(self.batches.force_flush(timeout_millis))

    def shutdown(self) -> None:
        """Send what waits, and end."""
        self.batches.shutdown()

    async def close(self) -> None:
        """Send what waits, for a few seconds at most; less where the collector did not answer before."""
        await in_time(self.shutdown, DEAD_SECONDS if self.exporter.failing else FLUSH_SECONDS)
        left = self.exporter.close(self.put)
        if left:
            log.warning("%d spans could not be sent before the end", left)


class FollowingSampler:
    """Samples a batch that is linked with sampled requests, since these were; asks another sampler otherwise."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.api: Any = require("opentelemetry.trace", "otel", NEED)
        self.sampling: Any = require("opentelemetry.sdk.trace.sampling", "otel", NEED)

    def should_sample(self, context: Any, trace_id: int, name: str, *more: Any, **named: Any) -> Any:
        """Decide on one span; `links` is the third of what else the SDK tells."""
        links = named.get("links") or (more[2] if len(more) > 2 else None)
        if links and not self.api.get_current_span(context).get_span_context().is_valid:
            attributes = named.get("attributes") or (more[1] if len(more) > 1 else None)
            return self.sampling.SamplingResult(self.sampling.Decision.RECORD_AND_SAMPLE, attributes)
        return self.inner.should_sample(context, trace_id, name, *more, **named)

    def get_description(self) -> str:
        """Name the sampler."""
        return f"FollowingSampler{{{self.inner.get_description()}}}"


@asynccontextmanager
async def exporting(service: str, version: str, metrics: Metrics) -> AsyncIterator[Tracing]:
    """Give what makes spans until the block ends; then what waits is sent, for a few seconds at most.

    An application that has set up OpenTelemetry's SDK keeps it: its provider is used, and left alone.
    """
    api: Any = require("opentelemetry.trace", "otel", NEED)
    sdk: Any = require("opentelemetry.sdk.trace", "otel", NEED)
    theirs = api.get_tracer_provider()
    if isinstance(theirs, sdk.TracerProvider):
        yield Tracing(theirs)
        await in_time(theirs.force_flush, FLUSH_SECONDS)
        return
    exporter = CountedExporter(require(OTLP, "otel", NEED).OTLPSpanExporter(), metrics)
    processor = BoundedProcessor(exporter, metrics, queue_size())
    provider = sdk.TracerProvider(resource=resource(service, version), shutdown_on_exit=False)
    provider.sampler = FollowingSampler(provider.sampler)
    provider.add_span_processor(processor)
    try:
        yield Tracing(provider)
    finally:
        await processor.close()


def lost(metrics: Metrics, reason: str) -> Counter:
    """Give the counter of spans that were lost in this way."""
    return metrics.counter("hansang_otel_lost_spans_total", "Spans that were not sent, by reason.", reason=reason)


def queue_size() -> int:
    """Read how many spans may wait, as OpenTelemetry's specification names it."""
    text = os.environ.get(QUEUE, "2048")
    if not text.isdecimal() or int(text) < 512:
        raise SettingsError(f"{QUEUE}: expected a whole number, 512 or more, got {text!r}")
    return int(text)


def resource(service: str, version: str) -> Any:
    """Say who makes the spans: as OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say it, else the service."""
    resources: Any = require("opentelemetry.sdk.resources", "otel", NEED)
    found = resources.Resource.create()
    said = str(found.attributes.get("service.name", "")).startswith("unknown_service")
    own = {"service.name": service} if said else {}
    if "service.version" not in found.attributes:
        own["service.version"] = version
    return found.merge(resources.Resource(own))


async def in_time(call: Callable[[], Any], seconds: float) -> bool:
    """Run a call that blocks in a thread, and wait for it so long at most; the thread does not hold up the end."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        try:
            call()
        except Exception:
            log.exception("spans could not be sent")
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, name="hansang-otel", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            await done.wait()
    except TimeoutError:
        return False
    return True
