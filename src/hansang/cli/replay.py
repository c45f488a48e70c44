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

MOMENT = "2026-11-23, 2026-11-23T06:30 (UTC), or 90m, 12h, 7d for ago."
PAGES = (".html", ".md", ".json")


def option(*names: str, says: str, **facts: Any) -> Any:
    """Describe an option."""
    return typer.Option(*names, help=says, **facts)


Name = Annotated[str, typer.Argument(help="A service's name in the record, or a target whose service has that name.")]
With = Annotated[
    str | None,
    option(
        "--with", says="Who answers: a model in the place of the target's (MODEL or NODE=MODEL), or another target."
    ),
]
Since = Annotated[str, option(says=f"Rows from this time: {MOMENT}")]
Until = Annotated[str | None, option(says="Rows before this time.")]
Where = Annotated[str | None, option(says="Endpoint, where the record has several.")]
Version = Annotated[str | None, option(says="Only rows that this version of a model answered.")]
Limit = Annotated[int | None, option(says="The first so many rows.", min=1)]
Accept = Annotated[list[str] | None, option(says="Replay rows though the record holds this field changed.")]
Far = Annotated[
    str | None, option(says="How far a number may be from the recorded one: 0.5, or 1%; more makes status 1.")
]
Allow = Annotated[str, option(says="With --tolerance: the share of rows that may change.")]
Out = Annotated[
    list[Path] | None,
    option("--out", "-o", says="Report (.html, .md, .json), or every row (.parquet, .jsonl); may be given again."),
]
Url = Annotated[str | None, option(says="Send the rows to this server, as the load that they were.")]
Pace = Annotated[str | None, option(says="With --url: 2x for twice as fast, 200 for requests a second (default: 1x).")]
InFlight = Annotated[int, option(says="With --url: the most requests that wait at once.", min=1)]
Timeout = Annotated[float, option(says="With --url: seconds to wait for an answer.", min=0.001)]
Processes = Annotated[int | None, option(says="Processes that score (default: one a core if worth it).")]
Trust = Annotated[list[str] | None, option(says="A model whose files may run code on load [HANSANG_TRUST].")]
AsJson = Annotated[bool, option("--json", says="Print the report as one JSON object.")]


def replay(  # noqa: PLR0913, PLR0917  # each is an option of the command
    service: Name,
    instead: With = None,
    since: Since = "1d",
    until: Until = None,
    endpoint: Where = None,
    version: Version = None,
    limit: Limit = None,
    accept: Accept = None,
    tolerance: Far = None,
    allow: Allow = "0%",
    out: Out = None,
    url: Url = None,
    rate: Pace = None,
    in_flight: InFlight = 256,
    timeout: Timeout = 10.0,
    processes: Processes = None,
    trust: Trust = None,
    folder: Folder = FOLDER,
    as_json: AsJson = False,
) -> None:
    """Ask another version what it says to recorded input, and compare; or send that input to a server as load."""
    check(url, rate, instead or "", processes)
    share = part(allow)
    pages, rows = outputs(out or [])
    options: dict[str, Any] = {"since": since, "until": until, "endpoint": endpoint, "version": version}
    options |= {"limit": limit, "rows": rows, "tolerance": distance(tolerance), "accept": tuple(accept or ())}
    if url is None:
        found = offline(service, folder, options, instead or "", processes, trust)
    else:
        found = online(service, folder, options, url, rate or "1x", in_flight, timeout)
    document = found.document()
    for path in pages:
        write(path, document)
    if as_json:
        print(to_json(document).decode())
    else:
        show(document)
    raise typer.Exit(1 if failed(found, tolerance is not None, share) else 0)


def offline(
    service: str,
    folder: Path,
    options: Mapping[str, Any],
    instead: str,
    processes: int | None,
    trust: list[str] | None,
) -> Any:
    """Replay through the scoring path."""
    settings = load_settings(Settings, **({"trust": tuple(trust)} if trust else {}))
    require("hansang.scoring.worker", "").steady_memory()
    given = {"instead": instead, "processes": processes, "settings": settings}
    with progress("replay") as report:
        return require("hansang.replay", "").replay(service, folder, **options, **given, report=report)


def online(
    service: str, folder: Path, options: Mapping[str, Any], url: str, rate: str, in_flight: int, timeout: float
) -> Any:
    """Replay as load."""
    package = require("hansang.replay", "")
    name = require("hansang.replay.candidate", "").name_of(service)
    given = {"rate": package.Rate.of(rate), "in_flight": in_flight, "timeout": timeout}
    with progress("replay") as report:
        return package.load(name, url, folder, **options, **given, report=report)


def distance(text: str | None) -> Any:
    """Read how far a number may be from the recorded one."""
    kind = require("hansang.replay.fields", "").Tolerance
    return kind() if text is None else kind.of(text)


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
