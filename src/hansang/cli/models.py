"""`hansang models`: look at the versions of the registry, compare them, verify them, sign them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import to_json

from hansang.errors import UsageError
from hansang.extras import require
from hansang.settings import Settings, load_settings

WHICH = "bikes/4, bikes@champion, bikes for its champion, any URI of a model, or a model's folder."

Uri = Annotated[str, typer.Argument(metavar="MODEL", help=WHICH)]
Where = Annotated[str | None, typer.Option(help="MLflow registry [HANSANG_REGISTRY, MLFLOW_TRACKING_URI].")]
Trust = Annotated[list[str] | None, typer.Option(help="A model whose files may run code on load [HANSANG_TRUST].")]
Keys = Annotated[list[Path] | None, typer.Option("--signer", help="File of a known public key [HANSANG_SIGNERS].")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

app = typer.Typer(
    help="Look at registered models: list, show, compare, verify and sign versions.", no_args_is_help=True
)


@app.command(name="list")
def show_list(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only the versions of this model.")] = "",
    registry: Where = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line; times are ISO 8601 in UTC.")] = False,
) -> None:
    """List registered models: their versions, where the aliases point, since when."""
    settings = settings_of(registry)
    source = require("hansang.models.uri", "").open_registry(settings.registry)
    found = require("hansang.models.versions.facts", "").listing(source, name)
    if as_json:
        for each in found:
            print(to_json(each).decode())
    else:
        require("hansang.cli.models_tables", "").show_list(found)


@app.command()
def show(model: Uri, registry: Where = None, keys: Keys = None, as_json: AsJson = False) -> None:
    """Show a version: schema, example, its run, files with hashes, manifest, golden requests, what rollouts say."""
    settings = settings_of(registry, keys=keys)
    found = require("hansang.models.versions.facts", "").facts(opened(model, settings), settings.signers)
    if as_json:
        print(to_json(found).decode())
    else:
        require("hansang.cli.models_tables", "").show_facts(found)


@app.command()
def diff(
    before: Uri,
    after: Annotated[str, typer.Argument(metavar="OTHER", help="The version that would replace it; 5 and @next too.")],
    registry: Where = None,
    as_json: AsJson = False,
) -> None:
    """Compare two versions; the exit status is 1 when the second breaks the clients of the first."""
    settings = settings_of(registry)
    pair = opened(before, settings), opened(after, settings, beside=before)
    found = require("hansang.models.versions.difference", "").difference(*pair)
    if as_json:
        print(to_json(found).decode())
    else:
        require("hansang.cli.models_tables", "").show_difference(found)
    raise typer.Exit(1 if found["breaks"] else 0)


@app.command()
def verify(  # each is an option of the command
    model: Uri,
    against: Annotated[list[str] | None, typer.Option("--with", help="A version whose clients it must serve.")] = None,
    service: Annotated[str | None, typer.Option(help="A service, as for `hansang serve`, that it must fit.")] = None,
    registry: Where = None,
    trust: Trust = None,
    keys: Keys = None,
    as_json: AsJson = False,
) -> None:
    """Hold a version against what a hot swap asks of it: files, example, golden requests, schema; 1 if any fails."""
    settings = settings_of(registry, trust, keys)
    uri = full(model)
    node = require("hansang.models.model", "").Model(uri)
    served = [version_served(each, uri, settings) for each in against or ()]
    if service is not None:
        node, more = service_served(service, uri, settings)
        served += more
    examination = require("hansang.models.versions.checks", "").Examination
    found = list(examination(opened(model, settings), node, settings, served).checks())
    good = all(check.passed is not False for check in found)
    if as_json:
        checks = [{"check": each.name, "passed": each.passed, "said": each.said} for each in found]
        print(to_json({"uri": uri, "passed": good, "checks": checks}).decode())
    else:
        require("hansang.cli.models_tables", "").show_checks(found)
    raise typer.Exit(0 if good else 1)


@app.command()
def sign(
    model: Uri,
    key: Annotated[Path | None, typer.Option(help="Private Ed25519 key, PEM; without one, only the manifest.")] = None,
    registry: Where = None,
    as_json: AsJson = False,
) -> None:
    """Write the manifest of a version beside its files, and with a key its signature (Ed25519)."""
    found = opened(model, settings_of(registry))
    by = require("hansang.models.versions.publish", "").sign_version(found, key)
    if as_json:
        print(to_json({"uri": found.uri, "signed_by": by or None}).decode())
    else:
        print(f"{found.title}: manifest written, " + (f"signed by {by}" if by else "not signed: no --key"))


def settings_of(registry: str | None, trust: list[str] | None = None, keys: list[Path] | None = None) -> Settings:
    """Read the settings; what stands on the command line goes before them."""
    given: dict[str, Any] = {"registry": registry, "trust": tuple(trust or ()), "signers": tuple(keys or ())}
    return load_settings(Settings, **{name: value for name, value in given.items() if value})


def full(model: str, beside: str = "") -> str:
    """Give the URI of what was typed."""
    module = require("hansang.models.versions.opened", "")
    uri: str = module.full_uri(model, module.full_uri(beside) if beside else "")
    return uri


def opened(model: str, settings: Settings, beside: str = "") -> Any:
    """Find a version."""
    return require("hansang.models.versions.opened", "").open_uri(full(model, beside), settings.registry)


def version_served(text: str, uri: str, settings: Settings) -> Any:
    """Load the version whose clients are to be served."""
    other = full(text, uri)
    model = require("hansang.models.model", "").Model(other)
    loaded = model.load(settings)
    label = f"{loaded.name} version {loaded.version}"
    served = require("hansang.models.versions.checks", "").Served(label, loaded.runtime.signature, loaded.artifact)
    model.unload()
    return served


def service_served(target: str, uri: str, settings: Settings) -> tuple[Any, list[Any]]:
    """Load a service; gives the version as its model would load it, and what it must fit.

    What counts are the service's models of the same registered name, else its only one.
    """
    module = require("hansang.target", "")
    service = module.load_target(target)
    name = module.source_name(uri)
    chosen = [model for model in service.models if name and module.source_name(model.source) == name]
    chosen = chosen or (list(service.models) if len(service.models) == 1 else [])
    if not chosen:
        raise UsageError(f"{target} has no model {name or uri!r}: nothing says what it would replace")
    service.load(settings)
    try:
        closed = require("hansang.alone", "").closed_models(service)
        served = require("hansang.models.versions.checks", "").Served
        return replace(chosen[0], source=uri), [
            served(f"{service.name}, {each.label}", each.loaded.runtime.signature, each.loaded.artifact, each in closed)
            for each in chosen
        ]
    finally:
        service.unload()
