"""`hansang records`: read the prediction record, as tables for people and as JSON lines for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.json import JSON
from rich.markup import escape
from rich.table import Table

from hansang.cli.payloads import take_out
from hansang.errors import HansangError, UsageError
from hansang.extras import require
from hansang.record.keep import retention_words
from hansang.record.prediction_id import ID

Row = dict[str, Any]
Folder = Annotated[
    Path, typer.Option("--dir", envvar="HANSANG_RECORDS", help="Folder of the record.", show_default=True)
]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON object a line; times are ISO 8601 in UTC.", show_default=False)
]
FOLDER = Path(".hansang/records")
SUMMARY = ("time", "id", "endpoint", "model", "status", "ms", "input", "output")
BODIES = ("input", "output", "tags")
LATE = 5.0  # seconds by which a row may become visible after one that was answered later
POLL = 0.5
WIDTH = 160  # columns of a table that goes to a file or a pipe
GAP = 2  # between columns
SHORTEST = 8

app = typer.Typer(help="Read the prediction record.", no_args_is_help=True)


@app.command()
def tail(
    folder: Folder = FOLDER,
    rows: Annotated[int, typer.Option("-n", "--rows", min=1, help="How many rows.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new rows until interrupted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the newest rows, oldest first."""
    with failures():
        newest = read_newest(folder, rows)
        if not follow:
            show_rows(newest, as_json)
            return
        with suppress(KeyboardInterrupt):
            for row in followed(folder, newest):
                print(line(row) if as_json else sentence(row), flush=True)


@app.command()
def show(
    id: Annotated[str, typer.Argument(help="Prediction id (x-prediction-id) or request id (x-request-id).")],
    folder: Folder = FOLDER,
    payloads: Annotated[
        Path | None, typer.Option("--payload", help="Write its payloads into this folder.", show_default=False)
    ] = None,
    opened: Annotated[bool, typer.Option("--open", help="Open its payloads.", show_default=False)] = False,
    as_json: AsJson = False,
) -> None:
    """Show everything that is known of one request."""
    with failures():
        found, feedback = read_one(folder, id)
        if not found:
            fail(
                f"no record of {id!r} in {str(folder)!r}; give an x-prediction-id or an x-request-id; "
                f"{retention_words(folder)}"
            )
        for row in found:
            mine = [each for each in feedback if (each["id"], each["row"]) == (row["id"], row["row"])]
            if as_json:
                print(line(row | {"feedback": [shown(each) for each in mine]} if row["role"] == "live" else row))
            else:
                show_row(row)
                show_feedback(mine if row["role"] == "live" else [])
        if payloads is not None or opened:
            for text in take_out(folder, found, payloads, opened=opened):
                print(text, file=sys.stderr if as_json else sys.stdout)


@app.command()
def sql(
    query: Annotated[
        str, typer.Argument(help="One SELECT over the views `predictions`, `feedback`, `outcomes`, `pairs`.")
    ],
    folder: Folder = FOLDER,
    as_json: AsJson = False,
) -> None:
    """Ask in SQL (DuckDB); the record cannot be changed this way."""
    with failures():
        read = reader()
        table = read.query(read.connect(folder), query)
        if as_json:
            for row in plain(table):
                print(to_json(row, inf_nan_mode="null").decode())
        else:
            show_table(table.column_names, [row.values() for row in plain(table)])


# --- reading ---


def reader() -> Any:
    """Import the reading side; DuckDB and Arrow are slow to import."""
    return require("hansang.record.read", "", "reading the record")


def read_newest(folder: Path, rows: int) -> list[Row]:
    """Read the newest rows; the first query reads one column, so that the second can skip old files."""
    read = reader()
    connection = read.connect(folder)
    newest = "SELECT min(epoch_us(time)) AS oldest FROM (SELECT time FROM predictions ORDER BY time DESC LIMIT ?)"
    oldest = read.query(connection, newest, [rows]).to_pylist()[0]["oldest"]
    if oldest is None:
        return []
    last = """
        SELECT * FROM predictions WHERE time >= make_timestamptz(?::BIGINT)
        ORDER BY time DESC, id DESC, row DESC LIMIT ?
    """
    return plain(read.query(connection, last, [oldest, rows]))[::-1]


def followed(folder: Path, newest: list[Row]) -> Iterator[Row]:
    """Give rows, and then new ones as they are answered, without end."""
    read = reader()
    seen: dict[tuple[Any, ...], float] = {}
    query = "SELECT * FROM predictions WHERE time >= make_timestamptz(?::BIGINT) ORDER BY time, id, row"
    start = time.time()
    while True:
        for row in newest:
            name = (row["id"], row["row"], row["role"], row["node"])
            if name not in seen:
                seen[name] = row["time"].timestamp()
                yield row
        time.sleep(POLL)
        horizon = max([start, *seen.values()]) - LATE
        seen = {name: at for name, at in seen.items() if at >= horizon}
        connection = read.connect(folder, since=horizon)
        newest = plain(read.query(connection, query, [int(horizon * 1e6)]))


def read_one(folder: Path, id: str) -> tuple[list[Row], list[Row]]:
    """Read all rows of a prediction id, or else of a request id, and their feedback."""
    if ID.fullmatch(id.lower()) and folder.is_dir():
        finder = require("hansang.record.find", "", "reading the record")
        found, feedback = finder.find(folder, id.lower())
        if found:
            return finder.in_utc(found), finder.in_utc(feedback)
    read = reader()
    connection = read.connect(folder)
    for column in ("id", "request_id"):
        query = f"SELECT * FROM predictions WHERE {column} = ? ORDER BY time, id, row, role"
        found = plain(read.query(connection, query, [id]))
        if found:
            truths = "SELECT * FROM feedback WHERE id IN (SELECT unnest(?)) ORDER BY row, time, received"
            return found, plain(read.query(connection, truths, [[row["id"] for row in found]]))
    return [], []


def plain(table: Any) -> list[Row]:
    """Give a result as Python rows whose times are in UTC."""
    rows: list[Row] = table.to_pylist()
    for row in rows:
        for name, value in row.items():
            if isinstance(value, datetime) and value.tzinfo is None:
                row[name] = value.replace(tzinfo=UTC)
    return rows


# --- showing ---


def line(row: Row) -> str:
    """Write a row of the record as one line of JSON, its bodies as the JSON they are."""
    return to_json({**row, **{name: parsed(row[name]) for name in BODIES}}, inf_nan_mode="null").decode()


def parsed(text: str | None) -> Any:
    """Read a body; what is no JSON is shown as its text."""
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text


def sentence(row: Row) -> str:
    """Write a row as one line of text."""
    return "  ".join(summary(row))


def summary(row: Row) -> list[str]:
    """Give what a person looks for first."""
    model = "@".join(part for part in (row["model"], row["version"]) if part)
    if row["role"] != "live":
        model += f" ({row['role']})"
    number = f"/{row['row']}" if row["row"] else ""
    answer = row["error"] or row["output"] or ""
    moment = row["time"].strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    latency = f"{row['latency_ms']:.1f}"
    return [moment, row["id"] + number, row["endpoint"], model, str(row["status"]), latency, row["input"] or "", answer]


def show_rows(rows: list[Row], as_json: bool) -> None:
    """Show rows of the record."""
    if as_json:
        for row in rows:
            print(line(row))
    else:
        show_table(SUMMARY, [summary(row) for row in rows], shortened=("input", "output"))


def show_table(names: Iterable[str], rows: Iterable[Iterable[Any]], shortened: Sequence[str] = ()) -> None:
    """Show a table; the columns named are shortened to what the others leave."""
    console, names = screen(), list(names)
    cells = [[cell(value) for value in row] for row in rows]
    widths = {name: max(map(len, [name, *column])) for name, *column in zip(names, *cells, strict=True)}
    room = console.width - sum(width + GAP for name, width in widths.items() if name not in shortened)
    for left, name in zip(range(len(shortened), 0, -1), sorted(shortened, key=widths.__getitem__), strict=True):
        widths[name] = max(min(widths[name], room // left - GAP), SHORTEST)
        room -= widths[name] + GAP
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in names:
        cut = name in shortened
        width = widths[name] if cut else None
        table.add_column(name, no_wrap=cut, overflow="ellipsis" if cut else "fold", max_width=width, min_width=width)
    for row in cells:
        table.add_row(*map(escape, row))
    console.print(table)


def cell(value: Any) -> str:
    """Write a value for a table."""
    if value is None:
        return "-"
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


def show_row(row: Row) -> None:
    """Show all of one row, its bodies as indented JSON."""
    console = screen()
    facts = Table(box=None, show_header=False, pad_edge=False)
    for name, value in row.items():
        if name not in BODIES and value not in (None, ""):
            facts.add_row(f"[bold]{name}[/bold]", escape(cell(value)))
    console.print(facts)
    for name in BODIES:
        if row[name] is not None:
            console.print(f"[bold]{name}[/bold]")
            console.print(JSON.from_data(parsed(row[name])))
    console.print()


def shown(row: Row) -> Row:
    """Give a row of feedback without what its prediction says already."""
    facts = {name: value for name, value in row.items() if name not in ("id", "row")}
    return {**facts, "truth": parsed(row["truth"])}


def show_feedback(feedback: list[Row]) -> None:
    """Show the feedback on one row, the oldest first."""
    if feedback:
        names = ("time", "truth", "score", "source")
        console = screen()
        console.print("[bold]feedback[/bold]")
        show_table(names, [[each[name] for name in names] for each in feedback])
        console.print()


def screen() -> Console:
    """Give the terminal; what goes elsewhere is not cut to the width of a terminal that nobody sees."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


@contextmanager
def failures() -> Iterator[None]:
    """Say what went wrong in one line, with exit status 1; wrong usage is told by `main`, with 2."""
    try:
        yield
    except UsageError:
        raise
    except HansangError as error:
        fail(str(error))


def fail(text: str) -> None:
    """End with a message and exit status 1."""
    Console(stderr=True, soft_wrap=True).print(f"error: {escape(text)}", highlight=False)
    raise typer.Exit(1)
