"""`hansang switch`: take the first side of a fallback out of service at run time, and put it back."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hansang.settings import Settings, load_settings
from hansang.switches import switch_off, switch_on, switched_off

Name = Annotated[str, typer.Argument(help="Name of a fallback.")]
Folder = Annotated[
    Path | None, typer.Option("--dir", help="Folder of the switches [HANSANG_SWITCHES, .hansang/switches].")
]

app = typer.Typer(help="Switch nodes off and on at run time, for every worker of this machine.", no_args_is_help=True)


@app.command()
def off(name: Name, folder: Folder = None) -> None:
    """Switch a fallback's first side off: its rows go to the next one within a second."""
    changed = switch_off(place(folder), name)
    print(f"{name} is off" if changed else f"{name} was off already")


@app.command()
def on(name: Name, folder: Folder = None) -> None:
    """Switch a fallback's first side on again."""
    changed = switch_on(place(folder), name)
    print(f"{name} is on" if changed else f"{name} was on already")


@app.command(name="list")
def show(
    folder: Folder = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line; times are ISO 8601 in UTC.")] = False,
) -> None:
    """List what is switched off, and since when."""
    found = switched_off(place(folder))
    if as_json:
        for name, since in found.items():
            print(to_json({"name": name, "since": since}).decode())
    elif found:
        show_table(found)
    else:
        print("nothing is switched off")


def place(folder: Path | None) -> Path:
    """Give the folder that the server looks into."""
    return folder if folder is not None else load_settings(Settings).switches


def show_table(found: dict[str, datetime]) -> None:
    """Print a table for people."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("off")
    table.add_column("since")
    for name, since in found.items():
        table.add_row(escape(name), f"{since.astimezone():%Y-%m-%d %H:%M:%S}")
    Console().print(table)
