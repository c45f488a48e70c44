"""From what a user types to a service: a model's URI, a file, or a module."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from hansang.errors import HansangError, UsageError
from hansang.models.model import Model
from hansang.models.registry import parse
from hansang.places import find, placed
from hansang.service import Service

SCHEMES = ("models:/", "runs:/")


def load_target(target: str, instead: str = "") -> Service:
    """Give the service of a target: `models:/name@alias`, a model's file or folder, `file.py[:name]`, `module:name`.

    A model becomes a service of its own name, with the schema of its signature. With `instead` another model stands in
    the place of one of its own; see `with_model`. Raises `UsageError` when there is no such file, module or service,
    or when the file itself raises.
    """
    return with_model(service_of(target), instead) if instead else service_of(target)


def service_of(target: str) -> Service:
    """Find the service that a target means."""
    if target.startswith(SCHEMES):
        return model_service(target)
    place, _, name = target.partition(":") if not Path(target).exists() else (target, "", "")
    path = Path(place)
    if path.suffix == ".py":
        return pick(run_file(path), name, target)
    if place and path.exists():
        if name:
            raise UsageError(f"{target}: {place} is a model, which has no {name!r}; only Python files and modules have")
        return model_service(place)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    if all(part.isidentifier() for part in place.split(".")) and (name or is_module(place)):
        return pick(import_module(place, target), name, target)
    raise UsageError(
        f"no target {target!r}: give models:/name@alias, a model's file or folder, service.py[:name] or module:name"
    )


def model_service(uri: str) -> Service:
    """Make the service of a registered model or of a model's file."""
    name = uri.removeprefix("models:/").removeprefix("runs:/") if uri.startswith(SCHEMES) else Path(uri).resolve().stem
    name = name.split("@")[0].split("/")[0] if uri.startswith(SCHEMES) else name
    return Service(name, Model(uri))


def with_model(service: Service, instead: str) -> Service:
    """Put another model in the place of one of the service's own, before it is loaded; gives the service.

    `instead` is a model's URI or file: it replaces the model of the same registered name, or else the only one.
    `node=URI` says which one by its name. The new one keeps the options of the one that it replaces, but its trust only
    where both have one registered name.

    Raises `UsageError` when it is not clear which model is meant.
    """
    named, equals, uri = instead.partition("=")
    graphs = {endpoint.path: endpoint.graph for endpoint in service.endpoints}
    models = {id(model): model for endpoint in service.endpoints for model in endpoint.models}
    if equals:
        node = find(graphs, named)
        chosen = [node] if isinstance(node, Model) else []
    else:
        uri = instead
        chosen = [model for model in models.values() if source_name(model.source) == source_name(uri) != ""]
        chosen = chosen or list(models.values())
    if len(chosen) != 1:
        names = ", ".join(model.label for model in models.values())
        raise UsageError(f"it is not clear which model {instead!r} replaces; write NAME={uri} with one of: {names}")
    old = chosen[0]
    same = source_name(old.source) == source_name(uri) != ""
    changed = {id(old): replace(old, source=uri, trust=old.trust and same)}
    service.endpoints[:] = [replace(endpoint, graph=placed(endpoint.graph, changed)) for endpoint in service.endpoints]
    return service


def source_name(source: object) -> str:
    """Give the registered name in a model's URI; empty for a file, a function, and what only a registry can name."""
    reference = parse(source) if isinstance(source, str) else None
    return reference.name if reference is not None and reference.kind != "run" else ""


def run_file(path: Path) -> ModuleType:
    """Run a Python file as a module, with its folder importable."""
    if not path.is_file():
        raise UsageError(f"no file {path}")
    file = path.resolve()
    name = path.stem
    if str(getattr(sys.modules.get(name), "__file__", file)) != str(file):
        name = f"_target_{name}"  # a file that is called like a module in use must not take its place
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None  # a .py file has a loader
    module = importlib.util.module_from_spec(spec)
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(name, None)
        if isinstance(error, HansangError) or not isinstance(error, Exception | SystemExit):
            raise
        raise UsageError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    return module


def is_module(name: str) -> bool:
    """Say whether the package that a module would be in exists."""
    return importlib.util.find_spec(name.split(".", maxsplit=1)[0]) is not None


def import_module(name: str, target: str) -> ModuleType:
    """Import a module, or say why it cannot be."""
    try:
        return importlib.import_module(name)
    except HansangError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"{target}: the module {name!r} cannot be imported: {error}") from error


def pick(module: ModuleType, name: str, target: str) -> Service:
    """Find the service in a module: the named one, the only one, or the one called `service`."""
    services = {key: value for key, value in vars(module).items() if isinstance(value, Service)}
    if name:
        if name not in services:
            raise UsageError(f"{target}: no service {name!r}; the module has: {', '.join(services) or 'none'}")
        return services[name]
    if "service" in services:
        return services["service"]
    if len({id(service) for service in services.values()}) == 1:
        return next(iter(services.values()))
    if services:
        raise UsageError(f"{target} has several services; name one: {', '.join(f'{target}:{key}' for key in services)}")
    raise UsageError(f"{target} has no Service; write `service = Service(…)` in it")
