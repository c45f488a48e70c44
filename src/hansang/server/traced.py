"""Turns that give each of their requests a span, and end it with the status of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hansang.batch import Batch
from hansang.call import NO_HEADERS
from hansang.codec import Codec
from hansang.errors import InvalidRow, Problem, status_of
from hansang.server.ask import Ask, marks_of
from hansang.server.nodes import NodeTurn
from hansang.server.turn import LENIENT, Turn
from hansang.service import Endpoint
from hansang.tracing import Tracing


class TracedTurn(Turn):
    """Collects the asks of one endpoint as every turn does; the calls of an ask carry its span."""

    def __init__(self, serving: Any, endpoint: Endpoint, codec: Codec, tracing: Tracing) -> None:
        super().__init__(serving, endpoint, codec)
        self.tracing = tracing
        self.name = f"POST {endpoint.path}"
        self.attributes = attributes_of(endpoint)

    def add(self, ask: Ask) -> None:
        """Take a request, whose span begins."""
        self._begin(ask)
        super().add(ask)

    def reject(self, ask: Ask, error: Problem) -> None:
        """Answer a request that cannot enter the graph; its span tells that there was one."""
        self._begin(ask)
        super().reject(ask, error)
        if not isinstance(error, InvalidRow):  # this one went the way of all answers
            self._end(ask, error.status)

    def _begin(self, ask: Ask) -> None:
        span = self.tracing.request(self.name, ask.calls[0].headers, self.attributes)
        for call in ask.calls:
            call.span = span

    def _count(self, asks: list[Ask], rows: int, errors: dict[int, Exception], latencies: list[float]) -> None:
        super()._count(asks, rows, errors, latencies)
        start = 0
        for ask in asks:
            stop = start + len(ask.rows)
            failed = [status_of(errors[place]) for place in range(start, stop) if place in errors] if errors else []
            mixed = len(failed) < len(ask.rows) or (ask.many and LENIENT in ask.calls[0].headers.get("prefer", ""))
            self._end(ask, 200 if not failed else 207 if mixed else max(failed))
            start = stop

    def _bug(self, asks: list[Ask], error: BaseException) -> None:
        waiting = [ask for ask in asks if not ask.answered]
        super()._bug(asks, error)
        for ask in waiting:
            self._end(ask, 500)

    def _end(self, ask: Ask, status: int) -> None:
        call = ask.calls[0]
        marks = marks_of(call.trail)
        attributes: dict[str, str | int | float | bool] = {"hansang.rows": len(ask.rows)}
        found = {
            "hansang.prediction_id": ask.id,
            "hansang.request_id": call.request_id,
            "hansang.model_version": marks.version,
            "hansang.variant": marks.variant,
            "hansang.cached": marks.cached,
        }
        attributes.update({name: value for name, value in found.items() if value})
        self.tracing.end_request(call.span, status, attributes)


class TracedNodeTurn(NodeTurn):
    """A turn of a node that is served alone: each batch has a span, which continues that of the asking process."""

    def __init__(self, serving: Any, endpoint: Endpoint, codec: Codec, tracing: Tracing) -> None:
        super().__init__(serving, endpoint, codec)
        self.tracing = tracing
        self.name = f"POST {endpoint.path}"
        self.attributes = attributes_of(endpoint)
        self.spans: dict[Ask, Any] = {}

    def take(
        self, ask: Ask, body: bytes, fault: Problem | None = None, headers: Mapping[str, str] = NO_HEADERS
    ) -> None:
        """Take a batch, whose span begins."""
        self.spans[ask] = self.tracing.request(self.name, headers, self.attributes)
        super().take(ask, body, fault, headers)

    async def _answer_batch(self, ask: Ask, batch: Batch) -> None:
        for call in batch.calls if batch.has_calls else ():
            call.span = self.spans[ask]
        await super()._answer_batch(ask, batch)

    def _count(self, asks: list[Ask], rows: int, errors: dict[int, Exception], latencies: list[float]) -> None:
        super()._count(asks, rows, errors, latencies)
        self._end(asks[0], 200, {"hansang.rows": rows, "hansang.failed_rows": len(errors)})

    def _refuse(self, ask: Ask, error: Problem) -> None:
        super()._refuse(ask, error)
        self._end(ask, error.status, {})

    def _bug(self, asks: list[Ask], error: BaseException) -> None:
        super()._bug(asks, error)
        self._end(asks[0], 500, {})

    def _end(self, ask: Ask, status: int, attributes: Mapping[str, int]) -> None:
        span = self.spans.pop(ask, None)
        if span is not None:
            self.tracing.end_request(span, status, attributes)


def attributes_of(endpoint: Endpoint) -> dict[str, str | int | float | bool]:
    """Give what every span of an endpoint says."""
    return {
        "http.request.method": "POST",
        "http.route": endpoint.path,
        "url.path": endpoint.path,
        "hansang.endpoint": endpoint.name,
    }
