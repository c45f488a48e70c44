"""One request's facts, passed along with its row and never kept in a global."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Step:
    """What one node did to the rows of one batch; the rows share it.

    `queue` is the time spent waiting for the model, in seconds; `rows` is the size of the batch that the model saw.
    """

    node: str
    model: str = ""
    version: str = ""
    variant: str = ""
    rows: int = 0
    queue: float = 0.0
    cached: bool = False


@dataclass(slots=True, eq=False)
class Call:
    """One row's request: who asked, until when the answer is of use, and what happened to the row.

    `deadline` is on the event loop's clock, in seconds. `gone` is set when the caller left: a row that is gone is
    dropped before the model runs and never touches its batch mates. `trail` lists the steps in their order.
    """

    id: str = ""
    row: int = 0
    deadline: float | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: NO_HEADERS)
    key: str | None = None
    request_id: str | None = None
    gone: bool = False
    trail: list[Step] = field(default_factory=list)
    tags: dict[str, Any] | None = None
