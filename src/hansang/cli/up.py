"""`hansang up`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from hansang.cli.serve import TARGET
from hansang.extras import require
from hansang.settings import Settings, load_settings


def up(
    target: Annotated[str, typer.Argument(help=TARGET)],
    host: Annotated[str | None, typer.Option(help="Address of the service [HANSANG_HOST, 127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the service [HANSANG_PORT, 8000].")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes of the service [HANSANG_WORKERS, 1].")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be started, and end.")] = False,
) -> None:
    """Serve a service as several processes: one for each node that hansang.toml gives a port, and one in front."""
    given = {"host": host, "port": port, "workers": workers}
    chosen: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    settings = load_settings(Settings, **chosen)
    plan = require("hansang.up.plan", "").plan(target, settings)
    if dry_run:
        for line in plan.lines():
            typer.echo(line)
        return
    keeper = require("hansang.up.keeper", "")
    raise typer.Exit(asyncio.run(keeper.keep(plan, settings.drain_timeout, typer.echo)))
