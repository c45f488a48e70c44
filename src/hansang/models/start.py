"""The start of a managed model: its champion, or the last good version when that cannot be had."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from hansang.errors import ModelError, ModelNotFound, RegistryUnavailable
from hansang.models.artifact import Artifact
from hansang.models.cache import Cache
from hansang.models.loaded import Loaded
from hansang.models.registry import CHAMPION, ModelVersion, Reference, Registry
from hansang.models.uri import bring, local_path, open_registry, open_version

log = logging.getLogger("hansang")


def uri_of(name: str) -> str:
    """Give the URI of a managed model."""
    return f"models:/{name}"


def start(name: str, registry: str | None, build: Callable[[Artifact], Loaded], cache: Path | None = None) -> Loaded:
    """Load the champion; when the registry does not answer or the champion is no good, the last good version.

    What was verified is noted in the cache's folder, with the registry's address, so that a restart needs no registry.
    Raises a `ModelError` when there is no version to fall back to.
    """
    source, store = open_registry(registry), Cache(cache)
    version: ModelVersion | None = None
    try:
        version = source.find(Reference(uri_of(name), "alias", name, CHAMPION))
        loaded = build(fetched(version, source, store))
    except ModelNotFound:
        raise
    except ModelError as error:
        last = store.last(source.uri, uri_of(name))
        if last is None or (last == version and not isinstance(error, RegistryUnavailable)):
            raise
        log.warning("%s; starting with %s version %s, the last that was good", error, name, last.version)
        try:
            return build(kept(last, store))
        except ModelError as other:
            log.warning("%s version %s cannot be used either: %s", name, last.version, other)
        raise
    try:
        store.remember(source.uri, uri_of(name), version)
    except OSError as error:  # a folder that cannot be written is no reason not to serve
        log.warning("%s version %s is not noted for a restart without registry: %s", name, version.version, error)
    return loaded


def fetched(version: ModelVersion, registry: Registry, cache: Cache) -> Artifact:
    """Bring the files of a version here."""
    return open_version(version, bring(version, registry, cache)[0], uri_of(version.name))


def kept(version: ModelVersion, cache: Cache) -> Artifact:
    """Open the files of a version that are on this machine already; nobody is asked."""
    folder = cache.place(version)
    if not folder.is_dir():
        folder = local_path(version.location)
    return open_version(version, folder, uri_of(version.name))
