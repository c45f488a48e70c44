"""`hansang records lag`: how far each sink is behind."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import typer
from pydantic_core import to_json

from hansang.cli.records import FOLDER, AsJson, Folder, failures, show_table
from hansang.extras import require

NAMES = ("sink", "rows behind", "bytes", "age", "delivered", "quarantined", "given up", "retries", "url", "last error")


def lag(folder: Folder = FOLDER, as_json: AsJson = False) -> None:
    """Show how far each sink is behind, its last error, and which rows were lost."""
    with failures():
        module = require("hansang.record.sinks.lag", "", "reading the record")
        lags, losses = module.lags(folder), module.losses(folder)
    if as_json:
        for each in lags:
            print(to_json(each.document()).decode())
        for reason, rows in sorted(losses.items()):
            print(to_json({"lost": reason, "rows": rows}).decode())
        return
    if lags:
        show_table(NAMES, [cells(each) for each in lags], shortened=("url", "last error"))
    else:
        typer.echo("no sinks; HANSANG_RECORD_SINKS sets them")
    for reason, rows in sorted(losses.items()):
        typer.echo(f"lost: {rows:,} rows ({reason})")


def cells(lag: Any) -> list[str]:
    """Write a sink for people."""
    position = lag.position
    error = position.error
    if error and position.error_time is not None:
        error = f"{datetime.fromtimestamp(position.error_time, UTC):%H:%M:%SZ} {error}"
    age = "-" if lag.age is None else f"{lag.age:.0f} s"
    numbers = (position.delivered, position.quarantined, position.given_up, position.retries)
    counts = [f"{number:,}" for number in numbers]
    return [position.name, f"{lag.rows:,}", f"{lag.bytes:,}", age, *counts, position.url, error or "-"]
