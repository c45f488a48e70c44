"""From a model's URI to its files on this machine."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from hansang.errors import ModelError, ModelNotFound, RegistryUnavailable
from hansang.extras import require
from hansang.models.artifact import MLMODEL, Artifact, open_folder, open_path
from hansang.models.cache import Cache
from hansang.models.catalogue import Catalogue
from hansang.models.manifest import check_manifest
from hansang.models.registries.client import ClientRegistry
from hansang.models.registries.rest import RestRegistry
from hansang.models.registries.sqlite import SqliteRegistry
from hansang.models.registry import ModelVersion, Registry, parse

__all__ = ["Artifact", "default_registry", "locate", "open_registry", "resolve"]

log = logging.getLogger("hansang")

PROXY = "mlflow-artifacts"


def resolve(uri: str, *, registry: str | None = None, cache: Path | None = None) -> Artifact:
    """Find a model and bring its files here.

    `uri` is `models:/name@alias`, `models:/name/3`, `models:/name/latest`, `models:/name` (its champion),
    `models:/m-<id>`, `runs:/<run>/<path>`, an MLflow model folder, or a bare model file. `registry` is an MLflow
    registry URI; default MLFLOW_REGISTRY_URI, MLFLOW_TRACKING_URI, then `sqlite:///mlflow.db` in the working folder.
    Files that are not on this machine are fetched into `cache` (default `.hansang/models`); when the registry does
    not answer, the version that the URI meant last is taken from there, with a warning.

    Raises `ModelNotFound`, `RegistryUnavailable`, or another `ModelError` when what is found is not a model.
    """
    reference = parse(uri)
    if reference is None:
        check_manifest(local_path(uri))
        return open_path(local_path(uri), uri)
    source = open_registry(registry)
    store = Cache(cache)
    try:
        version = source.find(reference)
        folder, fetched = bring(version, source, store)
        if fetched:
            store.remember(source.uri, uri, version)
    except RegistryUnavailable as error:
        recalled = store.recall(source.uri, uri)
        if recalled is None:
            raise
        version = recalled
        folder = store.fetch(recalled, lambda part: None)
        log.warning("%s; serving %s version %s from %s", error, version.name, version.version, store.folder)
    return open_version(version, folder, uri)


def locate(uri: str, *, registry: str | None = None) -> ModelVersion:
    """Ask the registry what a URI means now, without fetching any file; cheap enough to poll."""
    reference = parse(uri)
    if reference is None:
        raise ModelError(f"{uri!r} is not in a registry; expected models:/… or runs:/…")
    return open_registry(registry).find(reference)


def default_registry() -> str:
    """Name the registry that the environment asks for."""
    return os.environ.get("MLFLOW_REGISTRY_URI") or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


def open_registry(uri: str | None = None) -> Catalogue:
    """Choose how a registry is read, by the scheme of its URI."""
    uri = uri or default_registry()
    scheme = uri.partition(":")[0]
    if scheme == "sqlite":
        return SqliteRegistry(uri)
    if scheme in ("http", "https"):
        return RestRegistry(uri)
    return ClientRegistry(uri)


def open_version(version: ModelVersion, folder: Path, uri: str) -> Artifact:
    """Read the files of a version, after a look at whether they are those that its manifest names."""
    check_manifest(folder)
    if not (folder / MLMODEL).exists() and folder.is_file():
        return open_path(folder, uri)
    return open_folder(
        folder,
        uri=uri,
        name=version.name,
        version=version.version,
        model_id=version.model_id,
        run_id=version.run_id,
        aliases=version.aliases,
    )


def bring(version: ModelVersion, registry: Registry, cache: Cache) -> tuple[Path, bool]:
    """Give the folder with a version's files, and whether it is in the cache."""
    scheme = urlsplit(version.location).scheme
    if scheme == "file" or len(scheme) < 2:
        return in_place(version, registry), False
    if scheme == PROXY:
        if not isinstance(registry, RestRegistry):
            raise ModelError(
                f"the files of {version.name!r} are behind an MLflow server ({version.location}); "
                "set MLFLOW_TRACKING_URI to its address, http://…"
            )
        return cache.fetch(version, lambda part: download(version, registry, part)), True
    return cache.fetch(version, lambda part: through_mlflow(version, registry, part)), True


def in_place(version: ModelVersion, registry: Registry) -> Path:
    """Find files that the registry has on a local disk; a project folder that was moved still finds its own."""
    path = local_path(version.location)
    if path.exists():
        return path
    if isinstance(registry, SqliteRegistry):
        _, found, rest = path.as_posix().rpartition("/mlruns/")
        moved = registry.file.resolve().parent / "mlruns" / rest
        if found and moved.exists():
            return moved
    cure = (
        "start it with --serve-artifacts, so that it gives the files itself"
        if isinstance(registry, RestRegistry)
        else "copy the folder along with the database"
    )
    raise ModelNotFound(f"the registry says that {version.name!r} is in {path}, but there is no such folder; {cure}")


def download(version: ModelVersion, registry: RestRegistry, part: Path) -> None:
    """Fetch a version's files through the server's artifact proxy."""
    location = urlsplit(version.location)
    if location.netloc and location.netloc != urlsplit(registry.uri).netloc.rpartition("@")[2]:
        raise ModelError(
            f"the files of {version.name!r} are on another server, {location.netloc}; set MLFLOW_TRACKING_URI to it"
        )
    root = location.path.strip("/")
    count = 0
    for name, size in registry.walk(root):
        target = part / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as stream:
            written = registry.download(f"{root}/{name}", stream)
        if size >= 0 and written != size:
            raise RegistryUnavailable(f"{name} of {version.name!r} came with {written} of {size} bytes; try again")
        count += 1
    if not count:
        raise ModelNotFound(f"the registry has no files for {version.name!r} at {version.location}")


def through_mlflow(version: ModelVersion, registry: Registry, part: Path) -> None:
    """Fetch a version's files with mlflow's client, which knows object stores."""
    scheme = urlsplit(version.location).scheme
    artifacts: Any = require("mlflow.artifacts", "mlflow", f"a model in {scheme}://")
    try:
        found = artifacts.download_artifacts(
            artifact_uri=version.location, dst_path=str(part), tracking_uri=registry.uri, registry_uri=registry.uri
        )
        if Path(found) != part:  # object stores put the last folder of the address under it
            for child in Path(found).iterdir():
                child.rename(part / child.name)
    except Exception as error:  # every object store's client raises its own
        text = str(error).partition("\n")[0]
        raise RegistryUnavailable(f"the files at {version.location} cannot be fetched: {text}") from error


def local_path(uri: str) -> Path:
    """Read a path, or a `file:` URI."""
    return Path(unquote(urlsplit(uri).path)) if uri.startswith("file:") else Path(uri).expanduser()
