"""Recorded rows as the requests that they came in, in the order in which those came."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from hansang.replay.compare import Pair, pair_of
from hansang.replay.recorded import Selection, Taken, batches, count, plain

STEP = 1024  # rows that are read ahead


@dataclass(slots=True)
class Request:
    """One request of then; `arrived` is in seconds since the epoch. `partial`: rows of its array are missing."""

    id: str
    arrived: float
    body: bytes
    pairs: list[Pair]
    partial: bool


def requests(connection: duckdb.DuckDBPyConnection, selection: Selection, taken: Taken) -> Iterator[Request]:
    """Give the requests of a selection as they came; what cannot be replayed is counted in `taken`."""
    sql = f"""
        SELECT *, min(epoch_us(time) / 1e6 - latency_ms / 1e3) OVER (PARTITION BY id) AS arrived
        FROM ({selection.rows()}) ORDER BY arrived, id, row
    """
    held: list[dict[str, Any]] = []
    for table in batches(connection, sql, STEP):
        count(taken, table)
        for row in plain(table).to_pylist():
            if held and held[0]["id"] != row["id"]:
                yield from one(held)
                held = []
            held.append(row)
    if held:
        yield from one(held)


def one(rows: list[dict[str, Any]]) -> Iterator[Request]:
    """Make the request of rows of one id: an object where there is one row, else an array."""
    good = [row for row in rows if row["reason"] is None]
    if not good:
        return
    inputs = [row["input"].encode() for row in good]
    single = len(rows) == 1 and rows[0]["row"] == 0
    body = inputs[0] if single else b"[" + b",".join(inputs) + b"]"
    missing = len(good) < len(rows) or rows[-1]["row"] >= len(rows)
    yield Request(good[0]["id"], good[0]["arrived"], body, [pair_of(row) for row in good], missing)
