"""`hansang doctor`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from pydantic_core import to_json

from hansang.cli.serve import TARGET
from hansang.extras import require
from hansang.settings import Settings, load_settings


def doctor(
    target: Annotated[str, typer.Argument(help=TARGET)],
    deadline_ms: Annotated[
        float | None, typer.Option(help="Time an answer may take (default: the endpoint's deadline).", min=0.001)
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Rows a second (default: the record's busiest minute).", min=0.0)
    ] = None,
    heavy_mb: Annotated[float, typer.Option(help="Memory from which a model counts as heavy.", min=1.0)] = 256.0,
    trust: Annotated[
        list[str] | None, typer.Option(help="A model whose files may run code on load [HANSANG_TRUST].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Look for the anti-patterns of serving: load the service, measure it, report evidence and remedy; 1 if any."""
    settings = load_settings(Settings, **({"trust": tuple(trust)} if trust else {}))
    examine = require("hansang.doctor.examine", "")
    service = require("hansang.target", "").load_target(target)
    aim = examine.Aim(None if deadline_ms is None else deadline_ms / 1e3, rate, heavy_mb)
    say = (lambda text: print(f"{text} …", file=sys.stderr)) if sys.stderr.isatty() else (lambda _: None)
    report = examine.examine(service, target, settings, aim, say)
    if as_json:
        print(to_json(report.document()).decode())
    else:
        show(report)
    raise typer.Exit(1 if report.findings else 0)


def show(report: Any) -> None:
    """Print the findings, then what was measured."""
    console = require("rich.console", "").Console(soft_wrap=True, highlight=False)
    escape = require("rich.markup", "").escape
    for finding in report.findings:
        console.print(f"[bold]{escape(finding.kind)}[/bold]: {escape(finding.where)}")
        console.print(f"  evidence: {escape(finding.evidence)}")
        console.print(f"  remedy:   {escape(finding.remedy)}")
    for row in report.endpoints:
        late = "more than can be answered" if row["p99_ms"] is None else f"p99 about {row['p99_ms']:g} ms"
        console.print(
            f"{escape(row['path'])}: {row['lone_ms']:g} ms a row alone, up to {row['capacity_per_s']:,.0f} rows/s; "
            f"at {row['rate_per_s']:g} rows/s {late}"
        )
    for row in report.models:
        console.print(f"model {escape(row['name'])}: {row['memory_mb']:g} MB, {row['load_s']:g} s to load")
    for note in report.notes:
        console.print(escape(note))
    count = len(report.findings)
    console.print("nothing found" if not count else f"{count} {'finding' if count == 1 else 'findings'}")
