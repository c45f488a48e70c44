"""Spans over a real socket: to a collector that reads OTLP, in one trace over two services, and with none there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.served.running import served, until

SERVICE = """
import os

from hansang import Batch, Model, Service, remote


def add(batch: Batch) -> list[dict[str, int]]:
    return [{"n": row["n"] + 1} for row in batch.rows]


graph = remote(os.environ["BACK"], name="ask") if "BACK" in os.environ else Model(add, name="add")
service = Service(os.environ.get("NAME", "back"), graph, input=dict[str, int], version="4", example={"n": 1})
"""
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    """An OTLP collector that keeps what it gets."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                assert self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
                request = ExportTraceServiceRequest.FromString(body)
                for group in request.resource_spans:
                    names = {a.key: a.value.string_value for a in group.resource.attributes}
                    spans = [span for scope in group.scope_spans for span in scope.spans]
                    outer.spans += [(f"{names['service.name']} {names['service.version']}", span) for span in spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def one(self, service: str, name: str) -> Any:
        (found,) = [span for owner, span in self.spans if owner == service and span.name == name]
        return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    thread = threading.Thread(target=collector.server.serve_forever, daemon=True)
    thread.start()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()
    thread.join(10)


@pytest.fixture
def services(tmp_path: Path) -> Path:
    path = tmp_path / "service.py"
    path.write_text(SERVICE, "utf-8")
    return path


@contextmanager
def environment(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Iterator[None]:
    with monkeypatch.context() as inside:
        for name, value in variables.items():
            inside.setenv(name, value)
        yield


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


def test_one_trace_goes_through_two_services_to_the_collector(
    services: Path, tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    (front_folder := tmp_path / "front").mkdir()
    (back_folder := tmp_path / "back").mkdir()
    with served(services, back_folder, otel="true") as back:
        with environment(monkeypatch, NAME="front", BACK=f"{back.url}/predict"):
            with served(services, front_folder, otel="true") as front, front.client() as client:
                answer = client.post("/predict", json={"n": 1}, headers={"traceparent": PARENT})
                assert answer.json() == {"n": 2}
    request, asking = collector.one("front 4", "POST /predict"), collector.one("front 4", "node ask")
    inner, model = collector.one("back 4", "POST /predict"), collector.one("back 4", "node add")
    check_linked(request, asking, inner, model)
    assert attributes(model)["hansang.model"] == "add"
    assert attributes(request)["http.response.status_code"] == 200


def test_a_node_that_runs_in_a_process_of_its_own_is_in_the_trace_of_the_request(
    services: Path, tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    (front_folder := tmp_path / "front").mkdir()
    (back_folder := tmp_path / "back").mkdir()
    with served(services, back_folder, otel="true", node="add") as back:
        nodes = f'{{"add": {{"url": "{back.url}"}}}}'
        with served(services, front_folder, otel="true", nodes=nodes) as front, front.client() as client:
            answer = client.post("/predict", json=[{"n": 1}, {"n": 2}], headers={"traceparent": PARENT})
            assert answer.json() == [{"n": 2}, {"n": 3}]
    spans = [span for _, span in collector.spans if attributes(span).get("hansang.rows") == 2]
    request, asking, inner, model = sorted(spans, key=lambda span: int(span.start_time_unix_nano))
    names = [span.name for span in (request, asking, inner, model)]
    assert names == ["POST /predict", "node add", "POST /nodes/add", "node add"]
    check_linked(request, asking, inner, model)
    assert attributes(model)["hansang.model"] == "add" and "hansang.model" not in attributes(inner)


def check_linked(request: Any, asking: Any, inner: Any, model: Any) -> None:
    """One trace goes through all four, each the parent of the next."""
    assert {span.trace_id.hex() for span in (request, asking, inner, model)} == {PARENT[3:35]}
    assert request.parent_span_id.hex() == PARENT[36:52]
    parents = [span.parent_span_id for span in (asking, inner, model)]
    assert parents == [span.span_id for span in (request, asking, inner)]


def test_the_sampler_of_the_environment_decides_where_no_parent_does(
    services: Path, tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    with served(services, tmp_path, otel="true") as server, server.client() as client:
        assert client.post("/predict", json={"n": 1}).status_code == 200
        assert client.post("/predict", json={"n": 2}, headers={"traceparent": PARENT}).status_code == 200
    assert [attributes(span).get("hansang.rows") for _, span in collector.spans] == [1, 1]
    assert {span.trace_id.hex() for _, span in collector.spans} == {PARENT[3:35]}


def test_a_collector_that_is_not_there_costs_a_counted_warning_and_no_request(
    services: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    with served(services, tmp_path, otel="true") as server, server.client() as client:
        for number in range(20):
            assert client.post("/predict", json={"n": number}).json() == {"n": number + 1}
        lost = '{reason="not sent"}'
        until(lambda: server.metrics("hansang_otel_lost_spans_total").get(lost, 0) > 0)
        assert client.post("/predict", json={"n": 1}).status_code == 200
        assert server.metrics("hansang_otel_spans_total") == {"": 0.0}
    log = server.log.read_text()
    assert log.count("spans cannot be sent to the collector") == 1
    assert "Traceback" not in log and "opentelemetry" not in log
