"""Puts the commands together; ends with status 0, 1 (failed) or 2 (usage)."""

from __future__ import annotations

import sys

import typer

from hansang import __version__
from hansang.cli.describe import describe
from hansang.cli.doctor import doctor
from hansang.cli.export import export, status
from hansang.cli.feedback import feedback
from hansang.cli.lag import lag
from hansang.cli.logging import logging
from hansang.cli.records import app as records
from hansang.cli.score import score
from hansang.cli.serve import serve
from hansang.cli.switch import app as switch
from hansang.cli.up import up
from hansang.errors import HansangError, UsageError

app = typer.Typer(
    name="hansang",
    help="From a trained model to a production service that stays good.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(serve)
app.command()(up)
app.command()(score)
app.command()(feedback)
app.command()(doctor)
app.command()(describe)
app.command()(logging)
records.command()(export)
records.command()(lag)
records.command()(status)
app.add_typer(records, name="records")
app.add_typer(switch, name="switch")


def show_version(value: bool) -> None:
    """Print the version and end."""
    if value:
        typer.echo(f"hansang {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", callback=show_version, is_eager=True, help="Show the version."),
) -> None:
    """From a trained model to a production service that stays good."""


def main() -> None:
    """Run a command; an error is one line on stderr, not a traceback."""
    try:
        app()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except HansangError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
