"""Delivering again what a sink refused, when somebody has repaired the sink's end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from hansang.errors import RecordError, UsageError
from hansang.record.sinks.address import sink_of
from hansang.record.sinks.delivery import AllRefused, Delivery
from hansang.record.sinks.position import Positions
from hansang.record.sinks.quarantine import keep_only, quarantined
from hansang.record.sinks.sink import Parcel, Sink
from hansang.record.sinks.wanted import read_wanted


@dataclass(frozen=True, slots=True)
class Redelivered:
    """What became of one file of refused rows; `reason` is the first one of those that are still refused."""

    sink: str
    file: str
    delivered: int
    refused: int
    reason: str


def redeliver(folder: Path, only: str | None = None) -> Iterator[Redelivered]:
    """Deliver the quarantined rows of all sinks, or of one; rows that are taken leave the quarantine.

    A row may come twice, as from any delivery. Raises `UsageError` when there is no such sink, and `RecordError` when a
    sink cannot be reached.
    """
    sinks = read_wanted(folder).sinks
    if only is not None and only not in sinks:
        raise UsageError(f"no sink {only!r}; the record has: {', '.join(sorted(sinks)) or 'none'}")
    for name, address in sinks.items():
        files = quarantined(folder, name) if only in (None, name) else []
        if not files:
            continue
        try:
            with Positions(folder) as positions, sink_of(address) as sink:
                delivery = Delivery(folder, name, partial(sink_of, address), positions)
                for path in files:
                    yield again(delivery, sink, path)
        except (RecordError, UsageError):
            raise
        except Exception as error:  # each sink has errors of its own
            text = " ".join(str(error).split())
            raise RecordError(f"the sink {name} takes nothing: {type(error).__name__}: {text}") from error


def again(delivery: Delivery, sink: Sink, path: Path) -> Redelivered:
    """Deliver the rows of one file."""
    rows = pq.read_metadata(path).num_rows
    try:
        reasons = delivery.attempt(sink, Parcel(path, path.parent.name, 0, rows))
    except AllRefused as refusal:
        return Redelivered(delivery.name, path.name, 0, rows, str(refusal))
    delivery.positions.redelivered(delivery.name, rows - len(reasons))
    keep_only(path, reasons)
    return Redelivered(delivery.name, path.name, rows - len(reasons), len(reasons), next(iter(reasons.values()), ""))
