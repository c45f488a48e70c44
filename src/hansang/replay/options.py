"""What is asked of a replay, whoever answers: this process, or a server as load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from hansang.record.moments import Moment
from hansang.replay.fields import Tolerance

Report = Callable[[int, float], None]


class Choice(TypedDict, total=False):
    """Which rows, how they are compared, and who hears of it.

    `since` and `until` are moments as in `read_records`. `endpoint`, `version` and `limit` choose rows; `accept` names
    fields whose altered value in the record is good enough. `tolerance` is how far a number may be from the recorded
    one. `rows` is a .parquet or .jsonl file for both answers to every row. `report` is that of `score`.
    """

    since: Moment | None
    until: Moment | None
    endpoint: str | None
    version: str | None
    limit: int | None
    accept: tuple[str, ...]
    tolerance: Tolerance
    rows: Path | None
    report: Report | None
