"""Whether this process lives, and whether it can predict: shown by a real prediction."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from hansang.batch import Batch
from hansang.call import Call
from hansang.errors import Problem
from hansang.graph import settle, walk
from hansang.nodes.remote import Remote
from hansang.record.sinks.collect import sink_checks

if TYPE_CHECKING:
    from hansang.server.serving import Serving
    from hansang.server.turn import Turn

log = logging.getLogger("hansang")

FRESH = 1.0
NO_STORE = {"cache-control": "no-store"}  # the model shall answer, not a cache
PATIENCE = 2.0


class Readiness:
    """Answers `/readyz`: predicts every endpoint's example row, at most once a second.

    Not ready while starting or draining, when a model call has been running for longer than `stuck_after`, when a
    prediction fails or takes longer than two seconds, when the record must not lose rows but cannot be written, and
    while a node in another process has never answered. One that does not answer any more is told, and the predictions
    say whether the service can do without it.
    """

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self._report: dict[str, Any] = {}
        self._at = float("-inf")
        self._lock = asyncio.Lock()

    async def report(self) -> dict[str, Any]:
        """Give `ready` and, by name, what was checked; `ok` or what is wrong."""
        serving = self.serving
        if serving.state != "ready":
            return {"ready": False, "state": serving.state, "checks": {}}
        async with self._lock:
            now = time.monotonic()
            if now - self._at > FRESH:
                self._report = await self._check()
                self._at = time.monotonic()
        return self._report

    async def _check(self) -> dict[str, Any]:
        checks: dict[str, str] = {}
        endpoints = [turn.endpoint for turn in self.serving.turns.values()]
        for loaded in {model.loaded.batcher: model.loaded for each in endpoints for model in each.answering}.values():
            if loaded.batcher.stuck(self.serving.settings.stuck_after):
                checks[f"model {loaded.name}"] = "a call has been running for too long"
        graphs = [turn.graph for turn in self.serving.turns.values()]
        nodes = [node for graph in graphs for node in walk(graph, aside=False) if isinstance(node, Remote)]
        said = await asyncio.gather(*[node.far.check() for node in nodes])
        checks |= {f"node {node.name}": text for node, text in zip(nodes, said, strict=True)}
        for path, turn in self.serving.turns.items():
            if not any(f"model {model.loaded.name}" in checks for model in turn.endpoint.answering):
                checks[f"endpoint {path}"] = await predict_example(turn)
        if self.serving.recorder is not None:
            stats = self.serving.recorder.stats()
            lost = sum(stats.lost.values()) + stats.corrupt
            checks["record"] = stats.failing or (f"ok, {lost} rows lost" if lost else "ok")
            checks |= await asyncio.to_thread(sink_checks, self.serving.settings.records)
        stops = self.serving.settings.record_on_full == "stop"
        good = all(text.startswith("ok") for name, text in checks.items() if matters(name, stops))
        return {"ready": good, "state": "ready" if good else "failing", "checks": checks}


def matters(name: str, stops: bool) -> bool:
    """Say whether a check decides; the record does when nothing may be answered unrecorded, and a sink never does."""
    return stops if name == "record" else not name.startswith("sink ")


async def predict_example(turn: Turn) -> str:
    """Send the endpoint's example row through its graph, past the record."""
    sample = turn.endpoint.sample()
    if sample is None:
        return "ok, loaded; it has no example row to predict"
    try:
        row = sample if turn.endpoint.declared else turn.codec.values(sample)
        async with asyncio.timeout(PATIENCE):
            answers = await settle(turn.graph, Batch([row], [Call(headers=NO_STORE)]))
        outcome = answers.rows[0]
        if isinstance(outcome, Exception):
            raise outcome
        turn.codec.encode(outcome)
    except TimeoutError:
        return f"no prediction within {PATIENCE:.0f} s"
    except Problem as error:
        log.error("the example of %s fails: %s", turn.endpoint.path, error, exc_info=error.__cause__)
        return f"the example row fails: {error.detail if error.public else type(error).__name__}"
    except Exception as error:
        log.exception("the example of %s fails", turn.endpoint.path)
        return f"the example row fails: {type(error).__name__}"
    return "ok"
