"""`hansang records export` and `hansang records status`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic_core import to_json

from hansang.cli.records import FOLDER, AsJson, Folder, failures, show_table
from hansang.extras import require
from hansang.record.keep import read_deleted, retention_words, size_text

MOMENT = "2026-11-23, 2026-11-23T06:30 (UTC), or 7d, 12h, 90m ago"


def export(  # each is an option of the command
    out: Annotated[Path, typer.Argument(help="Output: .parquet, .csv or .jsonl.")],
    folder: Folder = FOLDER,
    view: Annotated[Literal["predictions", "feedback", "outcomes"], typer.Option(help="What to export.")] = "outcomes",
    since: Annotated[str | None, typer.Option(help=f"From then on: {MOMENT}.")] = None,
    until: Annotated[str | None, typer.Option(help="Before then.")] = None,
    columns: Annotated[str | None, typer.Option(help="These columns, separated by commas.")] = None,
    where: Annotated[str | None, typer.Option(help="Rows of which this holds, in DuckDB's SQL.")] = None,
) -> None:
    """Write a part of the record to one file, in the order of time."""
    names = [name.strip() for name in columns.split(",")] if columns else None
    with failures():
        rows = require("hansang.record.export", "").export(
            folder, out, view=view, since=since, until=until, columns=names, where=where
        )
    print(f"{rows:,} rows in {out}")


def status(folder: Folder = FOLDER, as_json: AsJson = False) -> None:
    """Show how much there is, since when, what was lost, and what retention has deleted."""
    with failures():
        holdings = require("hansang.record.export", "").holdings(folder)
    deleted = read_deleted(folder)
    rows = [facts(holding, deleted.get(holding.kind)) for holding in holdings]
    if as_json:
        for row in rows:
            print(to_json(row).decode())
        return
    show_table(rows[0], [[text(name, value) for name, value in row.items()] for row in rows])
    print(retention_words(folder))


def facts(holding: Any, deleted: Any) -> dict[str, Any]:
    """Give what there is of one kind."""
    oldest = None if holding.oldest is None else datetime.fromtimestamp(holding.oldest, UTC)
    return {
        "kind": holding.kind,
        "rows": holding.rows,
        "files": holding.files,
        "bytes": holding.bytes,
        "segments": holding.segments,
        "spooled": holding.spooled,
        "oldest": oldest,
        "lost": holding.lost,
        "deleted": deleted.rows if deleted else 0,
    }


def text(name: str, value: Any) -> Any:
    """Write a value for people."""
    return size_text(value) if name == "bytes" else f"{value:,}" if isinstance(value, int) else value
