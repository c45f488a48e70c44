"""Spans are sent in the background; what is lost is counted, told once, and holds nobody up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from hansang.errors import SettingsError
from hansang.metrics import Metrics
from hansang.server.export import BoundedProcessor, CountedExporter, in_time, queue_size, resource
from hansang.testing import on_loop


class Collector(SpanExporter):
    """Takes spans, refuses them, or holds them until it is let go."""

    def __init__(self, answer: SpanExportResult = SpanExportResult.SUCCESS) -> None:
        self.answer = answer
        self.spans: list[str] = []
        self.free = threading.Event()
        self.free.set()
        self.ended = False

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        self.free.wait(10)
        self.spans += [span.name for span in spans]
        return self.answer

    def shutdown(self) -> None:
        self.ended = True
        self.free.set()


class Sending:
    """A tracer whose spans go to a collector, and the numbers of it."""

    def __init__(self, collector: Collector, size: int = 512) -> None:
        self.metrics = Metrics()
        self.exporter = CountedExporter(collector, self.metrics)
        self.processor = BoundedProcessor(self.exporter, self.metrics, size)
        provider: Any = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(self.processor)
        self.tracer = provider.get_tracer("test")

    def spans(self, number: int) -> None:
        for place in range(number):
            self.tracer.start_span(f"span {place}").end()

    def counted(self) -> dict[str, float]:
        names = {"hansang_otel_spans": "sent", "hansang_otel_lost_spans": "lost"}
        return {
            sample.labels.get("reason", names[family.name]): sample.value
            for family in self.metrics.collect()
            for sample in family.samples
        }


@on_loop
async def test_what_waits_is_sent_before_the_end() -> None:
    collector = Collector()
    sending = Sending(collector)
    sending.spans(30)
    await sending.processor.close()
    assert len(collector.spans) == 30 and collector.ended
    assert sending.counted() == {"sent": 30, "not sent": 0, "queue full": 0}


@on_loop
async def test_spans_that_the_collector_refuses_are_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    sending = Sending(Collector(SpanExportResult.FAILURE))
    with caplog.at_level(logging.WARNING, "hansang"):
        sending.spans(10)
        sending.processor.force_flush()
        sending.spans(10)
        sending.processor.force_flush()
    assert [record.getMessage() for record in caplog.records] == [
        "spans cannot be sent to the collector: 10 are lost; requests go on"
    ]
    await sending.processor.close()
    assert sending.counted() == {"sent": 0, "not sent": 20, "queue full": 0}


@on_loop
async def test_an_exporter_that_raises_loses_its_spans_and_they_are_counted() -> None:
    class Raising(Collector):
        def export(self, spans: Sequence[Any]) -> SpanExportResult:
            raise OSError("no network")

    sending = Sending(Raising())
    sending.spans(3)
    await sending.processor.close()
    assert sending.counted()["not sent"] == 3


@on_loop
async def test_a_collector_that_hangs_holds_nobody_up_and_what_finds_no_room_is_counted() -> None:
    collector = Collector()
    collector.free.clear()
    sending = Sending(collector)
    sending.spans(600)
    assert sending.counted()["queue full"] == 88
    sending.exporter.failing = True  # it did not answer before, so the end waits half a second
    started = time.monotonic()
    await sending.processor.close()
    assert time.monotonic() - started < 5
    assert sending.counted()["not sent"] + sending.counted()["sent"] == 512 and collector.ended


@on_loop
async def test_waiting_for_a_thread_has_an_end() -> None:
    release = threading.Event()
    assert await in_time(release.wait, 0.01) is False
    release.set()
    assert await in_time(lambda: None, 10.0) is True


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_BSP_MAX_QUEUE_SIZE"):
        monkeypatch.delenv(name, raising=False)
    yield monkeypatch


def test_the_service_is_named_as_it_is_unless_the_environment_says_otherwise(clean: pytest.MonkeyPatch) -> None:
    assert (
        dict(resource("digits", "2").attributes).items() >= {"service.name": "digits", "service.version": "2"}.items()
    )
    clean.setenv("OTEL_SERVICE_NAME", "other")
    assert resource("digits", "2").attributes["service.name"] == "other"
    clean.delenv("OTEL_SERVICE_NAME")
    clean.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=third,service.version=9")
    found = resource("digits", "2").attributes
    assert (found["service.name"], found["service.version"]) == ("third", "9")


@pytest.mark.parametrize("text", ["many", "0", "-5", "100"])
def test_a_queue_that_cannot_be_is_a_wrong_setting(clean: pytest.MonkeyPatch, text: str) -> None:
    assert queue_size() == 2048
    clean.setenv("OTEL_BSP_MAX_QUEUE_SIZE", text)
    with pytest.raises(SettingsError, match="OTEL_BSP_MAX_QUEUE_SIZE: expected a whole number, 512 or more, got"):
        queue_size()
