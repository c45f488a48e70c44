"""`hansang describe`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import to_json

from hansang.call import Call
from hansang.cli.serve import TARGET
from hansang.errors import Problem, UsageError
from hansang.extras import require
from hansang.settings import Settings, load_settings


def describe(
    target: Annotated[str, typer.Argument(help=TARGET)],
    svg: Annotated[
        Path | None, typer.Option("--svg", "-o", help="Write the picture of the graphs to this file.")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="Path of the endpoint, where there are several.")] = None,
    explain: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="Say for this row which sides its switches and splits take, and why."),
    ] = None,
    header: Annotated[list[str] | None, typer.Option(help="A header of the row to explain, as 'name: value'.")] = None,
    trust: Annotated[
        list[str] | None, typer.Option(help="A model whose files may run code on load [HANSANG_TRUST].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a service: its graphs, schemas and models, and which joints of the graphs are checked."""
    if svg is not None and explain is not None:
        raise UsageError("--svg and --explain are two things to ask for; give one of them")
    settings = load_settings(Settings, **({"trust": tuple(trust)} if trust else {}))
    service = require("hansang.target", "").load_target(target)
    service.load(settings)
    try:
        chosen = service.find(endpoint) if endpoint is not None else None
        if svg is not None:
            write(svg, require("hansang.pictures.svg", "").service_svg(service, chosen))
            return
        if explain is not None:
            answer = explained(service, chosen, explain, header)
            print(to_json(answer.plain()).decode() if as_json else answer)
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


def explained(service: Any, chosen: Any, text: str, header: list[str] | None) -> Any:
    """Say what is decided about a row, and why; a row that is none is a `UsageError`."""
    if chosen is None and len(service.endpoints) > 1:
        known = ", ".join(endpoint.path for endpoint in service.endpoints)
        raise UsageError(f"say with --endpoint which graph is to be explained: {known}")
    endpoint = chosen or service.endpoints[0]
    call = Call(headers=dict(map(field_of, header or ())))
    return require("hansang.nodes.explain", "").explain(endpoint.graph, row_of(endpoint, text), call)


def row_of(endpoint: Any, text: str) -> Any:
    """Read a row as the endpoint would."""
    schema = endpoint.row if not endpoint.declared else dict[str, Any]
    try:
        return require("hansang.codec", "").Codec(schema).one(text.encode())
    except Problem as problem:
        faults = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problem.errors or ()]
        raise UsageError(f"the row of --explain: {'; '.join(faults) or problem.detail}") from None


def field_of(text: str) -> tuple[str, str]:
    """Read a header field."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise UsageError(f"--header {text!r}: expected 'name: value'")
    return name.strip().lower(), value.strip()


def write(path: Path, text: str) -> None:
    """Write a file, or say why it cannot be."""
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
