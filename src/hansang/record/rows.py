"""What is kept of answered rows: groups of rows that share everything a batch shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Shared:
    """What all rows of a group have in common; encoded once, so make few of them and use them again.

    `role` is `live` for the answer that was sent, `shadow` for one that is only compared, `staged` for one that came
    later.
    """

    service: str
    endpoint: str
    node: str
    model: str
    version: str
    variant: str = ""
    role: str = "live"
    cached: bool = False


@dataclass(slots=True)
class Rows:
    """Answered rows that share a batch; every list has one entry a row, `None` stands for a column nobody uses.

    `ids` are UUIDv7 texts of 36 characters. `inputs` and `outputs` are compact JSON in UTF-8, `b""` when there is
    none. `time` is in seconds since the epoch, `queue` and `latencies` are in seconds. Left out, the row numbers are
    0 and the statuses 200.
    """

    shared: Shared
    batch_rows: int
    queue: float
    ids: list[str]
    time: float
    latencies: list[float]
    inputs: list[bytes]
    outputs: list[bytes]
    numbers: list[int] | None = None
    statuses: list[int] | None = None
    request_ids: list[str | None] | None = None
    keys: list[str | None] | None = None
    errors: list[str | None] | None = None
    tags: list[dict[str, Any] | None] | None = None
