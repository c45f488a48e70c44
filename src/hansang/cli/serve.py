"""`hansang serve`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hansang.extras import require
from hansang.settings import Settings, load_settings

TARGET = "models:/name@alias, models:/name/3, a model's file or folder, service.py[:name] or module:name."


def serve(
    target: Annotated[str, typer.Argument(help=TARGET)],
    host: Annotated[str | None, typer.Option(help="Address to listen on [HANSANG_HOST, 127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, 0 for a free one [HANSANG_PORT, 8000].")] = None,
    workers: Annotated[int | None, typer.Option(help="Server processes [HANSANG_WORKERS, 1].")] = None,
    trust: Annotated[
        list[str] | None, typer.Option(help="A model whose files may run code on load [HANSANG_TRUST].")
    ] = None,
    node: Annotated[str | None, typer.Option(help="Serve this node alone, for other processes [HANSANG_NODE].")] = None,
    log_level: Annotated[str | None, typer.Option(help="info, or info,uvicorn=debug [HANSANG_LOG_LEVEL].")] = None,
    log_config: Annotated[str | None, typer.Option(help="File for Python's logging [HANSANG_LOG_CONFIG].")] = None,
) -> None:
    """Serve a model or a service over HTTP."""
    given = {"host": host, "port": port, "workers": workers, "node": node, "log_level": log_level}
    given["log_config"] = log_config
    chosen: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if trust:
        chosen["trust"] = tuple(trust)
    settings = load_settings(Settings, **chosen)
    run = require("hansang.server.run", "")
    raise typer.Exit(run.serve(target, settings, typer.echo))
