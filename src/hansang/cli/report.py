"""`hansang report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import to_json

from hansang.cli.export import MOMENT
from hansang.cli.records import FOLDER, Folder
from hansang.errors import RecordError, UsageError
from hansang.extras import require

REFERENCE = "What to compare with: a span before the window, FROM..TO, or a .parquet or .csv file of training data."


def report(  # noqa: PLR0913, PLR0917  # each is an option of the command
    service: Annotated[str, typer.Argument(help="Name of the service, as in the record.")],
    folder: Folder = FOLDER,
    since: Annotated[str, typer.Option(help=f"Start of the window: {MOMENT}.")] = "7d",
    until: Annotated[str | None, typer.Option(help="End of the window (default: now).")] = None,
    reference: Annotated[str, typer.Option(help=REFERENCE)] = "28d",
    by: Annotated[list[str] | None, typer.Option(help="Field of the input to slice the quality by; several.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Endpoint (default: the busiest).")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the page to this .html file.")] = None,
    alpha: Annotated[float, typer.Option(help="Chance of any finding when nothing has changed.")] = 0.01,
    psi: Annotated[float, typer.Option(help="Drift below this stability index is not told.", min=0.0)] = 0.1,
    loss: Annotated[float, typer.Option(help="A loss that grew by less than this share is not told.", min=0.0)] = 0.1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Report on a service from its record: traffic, errors, quality, drift; 1 if it is degraded or has drifted."""
    reports = require("hansang.reports", "", "reporting")
    asked = {"since": since, "until": until, "reference": reference, "by": by or (), "endpoint": endpoint}
    try:
        made = reports.report(service, folder, **asked, alpha=alpha, floors=reports.Floors(psi, loss))
    except RecordError as error:  # 1 says that something was found
        raise UsageError(str(error)) from error
    if out is not None:
        write(out, require("hansang.reports.page", "").html(made))
    if as_json:
        document = require("hansang.reports.document", "").document(made)
        print(to_json(document, inf_nan_mode="null").decode())
    else:
        show(made)
    raise typer.Exit(made.verdict.exit_status)


def write(path: Path, page: str) -> None:
    """Write the page."""
    try:
        path.write_text(page, "utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def show(made: Any) -> None:
    """Print the verdict and the findings."""
    console = require("rich.console", "").Console(soft_wrap=True, highlight=False)
    escape = require("rich.markup", "").escape
    traffic, verdict = made.traffic.now, made.verdict
    console.print(f"[bold]{escape(made.service)}[/bold]: {verdict.status}, {made.window} (UTC)")
    console.print(f"compared with {escape(str(made.reference))}")
    p50, _, p99 = traffic.latency
    console.print(f"{traffic.rows:,} rows, {traffic.failed:,} failed, p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    for finding in verdict.findings:
        console.print(f"[bold]{finding.kind}[/bold] {escape(finding.subject)}: {escape(finding.text)}")
    for note in filter(None, (made.quality.note, made.drift.note)):
        console.print(escape(note))
    if not verdict.findings:
        console.print(
            f"nothing found in {verdict.tests} tests" if verdict.tests else "not enough rows to test anything"
        )
