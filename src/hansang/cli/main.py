"""Puts the commands together; ends with status 0, 1 (failed) or 2 (usage).

Only the command that is called is imported: others may need what takes longer to import than to run.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import typer

from hansang import __version__
from hansang.errors import HansangError, UsageError
from hansang.extras import require

COMMANDS = ("serve", "up", "score", "replay", "feedback", "report", "doctor", "describe", "logging")
GROUPS = {
    "records": {"export": "export", "lag": "lag", "redeliver": "redeliver", "status": "export"},
    "switch": {},
    "rollout": {},
    "models": {},
}


def show_version(value: bool) -> None:
    """Print the version and end."""
    if value:
        typer.echo(f"hansang {__version__}")
        raise typer.Exit


def options(
    version: bool = typer.Option(False, "--version", callback=show_version, is_eager=True, help="Show the version."),
) -> None:
    """From a trained model to a production service that stays good."""


def build(words: list[str]) -> typer.Typer:
    """Make the command line of the command that these words begin with; of all commands when they begin with none."""
    app = typer.Typer(
        name="hansang",
        help="From a trained model to a production service that stays good.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(options)
    first = words[0] if words and words[0] in (*COMMANDS, *GROUPS) else ""
    for name in COMMANDS:
        if first in ("", name):
            app.command()(getattr(require(f"hansang.cli.{name}", ""), name))
    for name in GROUPS:
        if first in ("", name):
            app.add_typer(group(name, words[1:] if first else []), name=name)
    return app


def group(name: str, words: list[str]) -> typer.Typer:
    """Give a group of commands; those that stand in files of their own are imported when they, or none, are called."""
    app: typer.Typer = require(f"hansang.cli.{name}", "").app
    own = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    if not words or words[0] not in own:
        for command, module in GROUPS[name].items():
            if command not in own:
                app.command()(getattr(require(f"hansang.cli.{module}", ""), command))
    return app


@cache
def whole() -> typer.Typer:
    """Give the command line with all commands."""
    return build([])


def __getattr__(name: str) -> Any:
    if name == "app":
        return whole()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main() -> None:
    """Run a command; an error is one line on stderr, not a traceback."""
    try:
        build(sys.argv[1:])()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except HansangError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
