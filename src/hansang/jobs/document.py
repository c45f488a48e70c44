"""What a client is told of a job."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field
from pydantic_core import from_json

from hansang.jobs.store import OPEN, JobRow

Shown = Literal["queued", "running", "done", "failed", "expired"]


class Row(BaseModel):
    """One row of a job: its place in the request, and its prediction or its problem when it has one."""

    row: int = Field(description="The row's place in the request, from 0.")
    state: Shown = Field(description="queued, running, done, failed or expired")
    output: Any = Field(default=None, description="The prediction of a row that is done.")
    error: dict[str, Any] | None = Field(default=None, description="The problem of a row that failed.")


class Job(BaseModel):
    """What is known of the answers that come later, under the id of their prediction."""

    id: str = Field(description="The prediction's id, x-prediction-id.")
    state: Shown = Field(
        description="queued: no row has begun; running: some row has no outcome; done: some row has a prediction; "
        "failed: none has; expired: the answers are not kept any more"
    )
    expires: datetime = Field(description="Until when this is kept.")
    rows: list[Row] = Field(description="The rows that are answered later.")


def job_of(id: str, rows: Sequence[JobRow], now: float) -> dict[str, Any]:
    """Say what is known of a job, as plain values; `now` is in seconds since the epoch."""
    shown = [shown_row(row, now) for row in rows]
    return {
        "id": id,
        "state": state_of({row["state"] for row in shown}),
        "expires": datetime.fromtimestamp(round(max(row.expires for row in rows)), UTC)
        .isoformat()
        .replace("+00:00", "Z"),
        "rows": shown,
    }


def shown_row(row: JobRow, now: float) -> dict[str, Any]:
    """Say what is known of a row."""
    if row.expires <= now:
        return {"row": row.row, "state": "expired"}
    shown: dict[str, Any] = {"row": row.row, "state": row.state}
    if row.state not in OPEN:
        shown["output" if row.state == "done" else "error"] = from_json(row.result)
    return shown


def state_of(states: set[Shown]) -> Shown:
    """Give the state of a job from those of its rows."""
    if states == {"queued"}:
        return "queued"
    if states & {*OPEN}:
        return "running"
    return next(state for state in ("done", "failed", "expired") if state in states)
