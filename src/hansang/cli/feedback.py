"""`hansang feedback`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

import typer
from pydantic_core import to_json

from hansang.cli.records import FOLDER, Folder
from hansang.cli.score import progress
from hansang.extras import require
from hansang.settings import Settings, load_settings

COLUMN = "Column with {} (default: {})."


def feedback(  # noqa: PLR0913, PLR0917  # each is an option of the command
    files: Annotated[list[str], typer.Argument(help="Parquet, CSV or JSON Lines files, globs, folders of Parquet.")],
    folder: Folder = FOLDER,
    id_column: Annotated[str | None, typer.Option(help=COLUMN.format("what --by says", "id"))] = None,
    truth_column: Annotated[str | None, typer.Option(help=COLUMN.format("the truth", "truth"))] = None,
    row_column: Annotated[str | None, typer.Option(help=COLUMN.format("the row's place in an array", "row"))] = None,
    score_column: Annotated[str | None, typer.Option(help=COLUMN.format("a score", "score"))] = None,
    time_column: Annotated[str | None, typer.Option(help=COLUMN.format("the time of the truth", "time"))] = None,
    source: Annotated[str | None, typer.Option(help="Who says so, where no column does.")] = None,
    by: Annotated[Literal["id", "request_id", "key"], typer.Option(help="What names the prediction.")] = "id",
    within: Annotated[str | None, typer.Option(help="By key: how old the prediction may be, as 24h.")] = None,
    unchecked: Annotated[bool, typer.Option("--unchecked", help="Take rows on predictions kept elsewhere.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Say what was true, from files: the truth of predictions goes into the record; works beside a server."""
    sources = require("hansang.scoring.inputs", "").find_sources(files, uploads=False)
    load = require("hansang.record.load", "")
    errors = Errors()
    loader = load.Loader(
        folder,
        load.Columns(id_column, truth_column, row_column, score_column, time_column),
        by,
        load.read_span(within) if within else float("inf"),
        source,
        not unchecked,
        errors.tell,
        require("hansang.record.policy", "").secret_from(load_settings(Settings).record_key),
    )
    with errors.files, progress("feedback") as report:
        loaded = loader.load([source.path for source in sources], report)
    if as_json:
        facts = {"accepted": loaded.accepted, "empty": loaded.empty, "failed": loaded.failed}
        print(to_json({**facts, "errors": dict(loaded.errors.most_common(20))}).decode())
    else:
        show(loaded, errors)
    raise typer.Exit(1 if loaded.failed else 0)


class Errors:
    """Writes the rows that were not taken beside their files, one JSON object a line."""

    def __init__(self) -> None:
        self.files = ExitStack()
        self.open: dict[Path, TextIO] = {}

    def tell(self, file: Path, number: int, name: str, text: str) -> None:
        """Write one row."""
        if file not in self.open:
            path = file.with_name(f"{file.name}.errors.jsonl")
            self.open[file] = self.files.enter_context(path.open("w", encoding="utf-8"))
        self.open[file].write(to_json({"row": number, "name": name, "error": text}).decode() + "\n")


def show(loaded: Any, errors: Errors) -> None:
    """Print what became of the rows."""
    print(f"rows of feedback kept: {loaded.accepted:,}")
    if loaded.empty:
        print(f"rows that say nothing yet, neither truth nor score: {loaded.empty:,}")
    if loaded.failed:
        print(f"rows not taken: {loaded.failed:,}; they are in {', '.join(file.name for file in errors.open.values())}")
        for text, count in loaded.errors.most_common(10):
            print(f"  {count:,}  {text}")
