"""`hansang describe`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic_core import to_json

from hansang.cli.serve import TARGET
from hansang.errors import UsageError
from hansang.extras import require
from hansang.settings import Settings, load_settings


def describe(
    target: Annotated[str, typer.Argument(help=TARGET)],
    svg: Annotated[
        Path | None, typer.Option("--svg", "-o", help="Write the picture of the graphs to this file.")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="Path of the endpoint, where there are several.")] = None,
    trust: Annotated[
        list[str] | None, typer.Option(help="A model whose files may run code on load [HANSANG_TRUST].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a service: its graphs, schemas and models, and which joints of the graphs are checked."""
    settings = load_settings(Settings, **({"trust": tuple(trust)} if trust else {}))
    service = require("hansang.target", "").load_target(target)
    service.load(settings)
    try:
        chosen = service.find(endpoint) if endpoint is not None else None
        if svg is not None:
            write(svg, require("hansang.pictures.svg", "").service_svg(service, chosen))
            return
        data = require("hansang.pictures.data", "").service_data(service)
    finally:
        service.unload()
    if chosen is not None:
        data["endpoints"] = [each for each in data["endpoints"] if each["path"] == chosen.path]
    if as_json:
        print(to_json(data).decode())
    else:
        require("hansang.pictures.text", "").show(data, require("rich.console", "").Console(highlight=False))


def write(path: Path, text: str) -> None:
    """Write a file, or say why it cannot be."""
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
