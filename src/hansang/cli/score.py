"""`hansang score`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import to_json

from hansang.cli.serve import TARGET
from hansang.extras import require
from hansang.settings import Settings, load_settings

INPUTS = "Parquet, CSV or JSON Lines files, globs, folders of Parquet files; pictures for an endpoint that takes one."


def score(  # noqa: PLR0913, PLR0917  # each is an option of the command
    target: Annotated[str, typer.Argument(help=TARGET)],
    inputs: Annotated[list[str], typer.Argument(help=INPUTS)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output: .parquet, .csv or .jsonl.")],
    endpoint: Annotated[str | None, typer.Option(help="Path of the endpoint, where there are several.")] = None,
    processes: Annotated[
        int | None, typer.Option(help="Processes that score (default: one a core if worth it).")
    ] = None,
    chunk: Annotated[int | None, typer.Option(help="Rows that are read, scored and kept safe at once.")] = None,
    keep: Annotated[str, typer.Option(help="Input columns beside the predictions: all, none, or names.")] = "all",
    trust: Annotated[
        list[str] | None, typer.Option(help="A model whose files may run code on load [HANSANG_TRUST].")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away what an earlier run has left.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Score files with a model or a service: every row gets its prediction or its error; a killed run goes on."""
    settings = load_settings(Settings, **({"trust": tuple(trust)} if trust else {}))
    service = require("hansang.target", "").load_target(target)
    require("hansang.scoring.worker", "").steady_memory()
    with progress() as report:
        summary = require("hansang.scoring", "").score(
            service,
            inputs,
            out,
            endpoint=endpoint,
            processes=processes,
            chunk=chunk,
            keep=keep,
            restart=restart,
            target=target,
            settings=settings,
            report=report,
        )
    if as_json:
        print(to_json(summary.document()).decode())
    else:
        show(summary)
    raise typer.Exit(1 if summary.failed else 0)


@contextmanager
def progress(name: str = "score") -> Iterator[Callable[[int, float], None] | None]:
    """Show a progress bar on a terminal; nothing where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    rich: Any = require("rich.progress", "")
    console = require("rich.console", "").Console(stderr=True)
    columns = ("{task.percentage:>3.0f} %", rich.BarColumn(), "{task.fields[rows]:,} rows", rich.TimeRemainingColumn())
    with rich.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=1.0, rows=0)
        yield lambda rows, share: bar.update(task, completed=share, rows=rows)


def show(summary: Any) -> None:
    """Print what was done, and the errors by kind."""
    speed = f"{summary.seconds:.1f} s, {summary.rows_per_second:,.0f} rows/s"
    resumed = f", {summary.resumed:,} of them by an earlier run" if summary.resumed else ""
    print(f"{summary.rows:,} rows{resumed} in {summary.out} ({speed})")
    if not summary.failed:
        return
    table = require("rich.table", "").Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("rows", justify="right")
    table.add_column("error", overflow="fold")
    for error, count in summary.errors.items():
        table.add_row(f"{count:,}", require("rich.markup", "").escape(error))
    print(f"rows without a prediction: {summary.failed:,}")
    require("rich.console", "").Console().print(table)
