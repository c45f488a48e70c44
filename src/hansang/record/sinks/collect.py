"""The metrics of the sinks, read from their positions when somebody asks: right with any number of processes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hansang.extras import require
from hansang.record.losses import corrupt_rows
from hansang.record.sinks.position import Position, Positions, there


def read_positions(folder: Path) -> list[Position]:
    """Give the positions of a record's sinks; none when it has no sinks."""
    if not there(folder):
        return []
    with Positions(folder) as positions:
        return positions.all()


@dataclass(frozen=True, slots=True)
class CorruptCollector:
    """Gives the rows of a record that cannot be read back to prometheus-client: once, for all processes."""

    folder: Path

    def collect(self) -> Iterator[Any]:
        """Look at the folder."""
        gauge = require("prometheus_client.core", "").GaugeMetricFamily
        yield gauge(
            "hansang_record_corrupt_rows", "Rows of the folder that cannot be read back.", corrupt_rows(self.folder)
        )

    def describe(self) -> Iterable[Any]:
        """Say nothing in advance."""
        return ()


@dataclass(frozen=True, slots=True)
class SinkCollector:
    """Gives the metrics of a record's sinks to prometheus-client."""

    folder: Path

    def collect(self) -> Iterator[Any]:
        """Read the positions."""
        positions = read_positions(self.folder)
        if not positions:
            return
        core = require("prometheus_client.core", "")

        def gauge(name: str, text: str, value: Any) -> Any:
            return filled(core.GaugeMetricFamily(name, text, labels=["sink"]), value)

        def counter(name: str, text: str, value: Any) -> Any:
            return filled(core.CounterMetricFamily(name, text, labels=["sink"]), value)

        def filled(family: Any, value: Any) -> Any:
            for position in positions:
                family.add_metric([position.name], float(value(position)))
            return family

        now = time.time()
        yield counter("hansang_record_sink_rows", "Rows that a sink took.", lambda each: each.delivered)
        yield counter("hansang_record_sink_quarantined_rows", "Rows that it refused.", lambda each: each.quarantined)
        yield counter("hansang_record_sink_given_up_rows", "Rows deleted before delivery.", lambda each: each.given_up)
        yield counter("hansang_record_sink_retries", "Failed attempts.", lambda each: each.retries)
        yield gauge("hansang_record_sink_failing", "Failed attempts since a success.", lambda each: each.failures)
        yield gauge("hansang_record_sink_behind_rows", "Rows that wait.", lambda each: each.behind_rows)
        yield gauge("hansang_record_sink_behind_bytes", "Bytes of files that wait.", lambda each: each.behind_bytes)
        yield gauge(
            "hansang_record_sink_behind_seconds", "Age of the oldest row that waits.", lambda each: each.age(now)
        )

    def describe(self) -> Iterable[Any]:
        """Say nothing in advance: a sink appears when it is set up."""
        return ()


def sink_checks(folder: Path) -> dict[str, str]:
    """Say for each sink how it goes, for people who look at the readiness; a sink never makes a service unready."""
    checks = {}
    for each in read_positions(folder):
        text = "ok" if not each.failures else f"waits: {each.error}"
        parts = [
            f"{count:,} rows {word}"
            for count, word in (
                (each.behind_rows, "behind"),
                (each.quarantined, "quarantined"),
                (each.given_up, "given up"),
            )
            if count
        ]
        checks[f"sink {each.name}"] = ", ".join([text, *parts])
    return checks
