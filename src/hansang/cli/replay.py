"""`hansang replay`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import to_json

from hansang.cli.records import FOLDER, Folder
from hansang.cli.score import progress
from hansang.errors import UsageError
from hansang.extras import require
from hansang.settings import Settings, load_settings

SERVICE = "A service's name in the record, or a target whose service has that name."
WITH = "Who answers: a model in the place of the target's (MODEL or NODE=MODEL), or a target of its own."
OUT = "Report (.html, .md, .json) or both answers to every row (.parquet, .jsonl); may be given twice."
MOMENT = "2026-11-23, 2026-11-23T06:30 (UTC), or 90m, 12h, 7d for ago."
PAGES = (".html", ".md", ".json")


def replay(  # noqa: PLR0913, PLR0917  # each is an option of the command
    service: Annotated[str, typer.Argument(help=SERVICE)],
    instead: Annotated[str, typer.Option("--with", help=WITH)] = "",
    since: Annotated[str, typer.Option(help=f"Rows from this time: {MOMENT}")] = "1d",
    until: Annotated[str | None, typer.Option(help="Rows before this time.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Endpoint, where the record has several.")] = None,
    version: Annotated[str | None, typer.Option(help="Only rows that this version of a model answered.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many rows.")] = None,
    accept: Annotated[
        list[str] | None, typer.Option(help="Replay rows though the record holds this field changed.")
    ] = None,
    tolerance: Annotated[
        str | None,
        typer.Option(help="How far a number may be from the recorded one: 0.5, or 1%; more makes status 1."),
    ] = None,
    allow: Annotated[str, typer.Option(help="With --tolerance: the share of rows that may change.")] = "0%",
    out: Annotated[list[Path] | None, typer.Option("--out", "-o", help=OUT)] = None,
    url: Annotated[str | None, typer.Option(help="Send the rows to this server, as the load that they were.")] = None,
    rate: Annotated[
        str | None, typer.Option(help="With --url: 2x for twice as fast, 200 for requests a second (default: 1x).")
    ] = None,
    in_flight: Annotated[int, typer.Option(min=1, help="With --url: the most requests that wait at once.")] = 256,
    timeout: Annotated[float, typer.Option(min=0.001, help="With --url: seconds to wait for an answer.")] = 10.0,
    processes: Annotated[int | None, typer.Option(help="Processes that score, as for `hansang score`.")] = None,
    trust: Annotated[
        list[str] | None, typer.Option(help="A model whose files may run code on load [HANSANG_TRUST].")
    ] = None,
    folder: Folder = FOLDER,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Ask another version what it says to recorded input, and compare; or send that input to a server as load."""
    check(url, rate, instead, processes)
    pages, rows = outputs(out or [])
    fields = require("hansang.replay.fields", "")
    share = part(allow)
    options: dict[str, Any] = {
        "since": since,
        "until": until,
        "endpoint": endpoint,
        "version": version,
        "limit": limit,
        "rows": rows,
        "tolerance": fields.Tolerance() if tolerance is None else fields.Tolerance.of(tolerance),
    }
    package = require("hansang.replay", "")
    with progress("replay") as report:
        if url is not None:
            name = require("hansang.replay.candidate", "").name_of(service)
            pace = package.Rate.of(rate or "1x")
            found = package.load(
                name, url, folder, **options, rate=pace, in_flight=in_flight, timeout=timeout, report=report
            )
        else:
            require("hansang.scoring.worker", "").steady_memory()
            settings = load_settings(Settings, **({"trust": tuple(trust)} if trust else {}))
            given = {"instead": instead, "accept": tuple(accept or ()), "processes": processes}
            found = package.replay(service, folder, **options, **given, settings=settings, report=report)
    document = found.document()
    for path in pages:
        write(path, document)
    if as_json:
        print(to_json(document).decode())
    else:
        show(document)
    raise typer.Exit(1 if failed(found, tolerance is not None, share) else 0)


def check(url: str | None, rate: str | None, instead: str, processes: int | None) -> None:
    """Refuse options that contradict each other."""
    if url is None and rate is not None:
        raise UsageError("--rate is for load on a server; give its --url")
    if url is not None and (instead or processes is not None):
        raise UsageError("with --url the server there answers; leave out --with and --processes")


def part(text: str) -> float:
    """Read a share, as 5% or 0.05."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"--allow {text!r} is no share of rows; write 5% or 0.05")
    return value


def outputs(paths: list[Path]) -> tuple[list[Path], Path | None]:
    """Tell reports from the file with all rows."""
    pages = [path for path in paths if path.suffix.lower() in PAGES]
    rows = [path for path in paths if path not in pages]
    if len(rows) > 1:
        raise UsageError(f"{rows[0]} and {rows[1]} are both for rows; give one, and {', '.join(PAGES)} for reports")
    for path in paths:
        if not path.absolute().parent.is_dir():
            raise UsageError(f"no folder {path.parent} for {path.name}; make it first")
    return pages, rows[0] if rows else None


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Write a report as its suffix says."""
    page = require("hansang.replay.page", "")
    kind = path.suffix.lower()
    if kind == ".json":
        text = to_json(document, indent=1).decode() + "\n"
    else:
        text = page.page(document) if kind == ".html" else page.markdown(document)
    path.write_text(text, encoding="utf-8")


def show(document: Mapping[str, Any]) -> None:
    """Print the tables."""
    records = require("hansang.cli.records", "")
    for part in require("hansang.replay.page", "").parts(document):
        print(f"\n{part.title}")
        records.show_table(part.head, part.rows)


def failed(found: Any, strict: bool, share: float) -> bool:
    """Say whether the replay failed: nothing replayed, rows that fail only now, no answers, or too many differences."""
    comparison = found.comparison
    if not comparison.rows or comparison.newly_failed or getattr(found, "unanswered", 0):
        return True
    return strict and comparison.share_changed > share
