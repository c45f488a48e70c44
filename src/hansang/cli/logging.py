"""`hansang logging`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hansang.logs.config import DEFAULT, configure, prepared
from hansang.settings import Settings, load_settings


def logging(
    check: Annotated[
        Path | None, typer.Option(help="Say what a configuration sets up, or what is wrong with it.")
    ] = None,
) -> None:
    """Print the logging configuration to begin with; or check one of your own, which opens its handlers."""
    if check is None:
        typer.echo(DEFAULT.read_text("utf-8"), nl=False)
        return
    levels = load_settings(Settings).log_level
    configure("server", check, levels)
    document = prepared(check, "server", levels)
    loggers = {"root": document.get("root", {}), **document.get("loggers", {})}
    for name, logger in loggers.items():
        typer.echo(f"logger {name}: {told(logger)}")
    for name, handler in document.get("handlers", {}).items():
        typer.echo(f"handler {name}: {told({key: value for key, value in handler.items() if key != 'filters'})}")


def told(entry: Mapping[str, Any]) -> str:
    """Write an entry in one line."""
    return ", ".join(f"{key} {value if isinstance(value, str) else json.dumps(value)}" for key, value in entry.items())
