"""`hansang records redeliver`: what a sink refused, once more."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from pydantic_core import to_json

from hansang.cli.records import FOLDER, AsJson, Folder, failures, show_table
from hansang.extras import require

NAMES = ("sink", "file", "delivered", "refused", "reason")


def redeliver(
    folder: Folder = FOLDER,
    sink: Annotated[str | None, typer.Option(help="Only this sink, as `hansang records lag` names it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Deliver the rows once more that a sink refused; what is refused again stays in quarantine (status 1)."""
    with failures():
        done = [asdict(each) for each in require("hansang.record.sinks.redeliver", "").redeliver(folder, sink)]
    if as_json:
        for each in done:
            print(to_json(each).decode())
    elif done:
        show_table(NAMES, [each.values() for each in done], shortened=("file", "reason"))
    else:
        typer.echo("no rows are in quarantine")
    if any(each["refused"] for each in done):
        raise typer.Exit(1)
