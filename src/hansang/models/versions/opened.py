"""A version with all that its registry, its run and its files say of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hansang.errors import ModelError, ModelNotFound, UsageError
from hansang.models.artifact import Artifact, open_folder, open_path
from hansang.models.cache import Cache
from hansang.models.catalogue import Catalogue, Entry, Run
from hansang.models.registry import ModelVersion, Reference, parse
from hansang.models.uri import bring, local_path, open_registry


@dataclass(frozen=True, slots=True)
class Opened:
    """A version, or a model folder or file; `version`, `entry`, `run` and `registry` are None where no registry is."""

    uri: str
    path: Path
    version: ModelVersion | None = None
    entry: Entry | None = None
    run: Run | None = None
    registry: Catalogue | None = None

    def artifact(self) -> Artifact:
        """Read the files; whether they are those of their manifest is not asked here."""
        found = self.version
        if found is None or not self.path.is_dir():
            return open_path(self.path, self.uri)
        facts = {"name": found.name, "version": found.version, "model_id": found.model_id, "run_id": found.run_id}
        return open_folder(self.path, uri=self.uri, **facts, aliases=found.aliases)

    @property
    def title(self) -> str:
        """How people call it."""
        return f"{self.version.name} version {self.version.version}" if self.version is not None else str(self.path)


def full_uri(text: str, beside: str = "") -> str:
    """Read what a person types: a URI or a path as it is, `bikes/4` and `bikes@champion` as models of the registry.

    `4` and `@champion` alone mean versions of the model that `beside` names.
    """
    other = parse(beside) if beside else None
    if other is not None and other.kind in ("alias", "version", "latest") and (text.isdecimal() or text[:1] == "@"):
        return f"models:/{other.name}{'/' if text.isdecimal() else ''}{text}"
    if parse(text) is not None or Path(text).expanduser().exists():
        return text
    if text.isdecimal() or not text or text.startswith(("/", ".", "@")):
        raise UsageError(f"no model {text!r}: give models:/name/4, name@alias, or a model's folder or file")
    return f"models:/{text}"


def open_uri(uri: str, registry: str | None = None, cache: Cache | None = None) -> Opened:
    """Find a version and bring its files here; raises what `resolve` raises, but for a manifest that is wrong."""
    reference = parse(uri)
    if reference is None:
        path = local_path(uri)
        return Opened(uri, path.parent if path.name == "MLmodel" else path)
    source = open_registry(registry)
    version = source.find(reference)
    path = bring(version, source, cache or Cache())[0]
    run = source.run(version.run_id) if version.run_id else None
    return Opened(uri, path, version, entry_of(reference, version, source), run, source)


def entry_of(reference: Reference, version: ModelVersion, source: Catalogue) -> Entry | None:
    """Find what the registry lists of a version; None for one that is not registered."""
    if reference.kind in ("id", "run"):
        return None
    return next((each for each in source.versions(version.name) if each.version == version.version), None)


def folder_of(opened: Opened) -> Path:
    """Give the model's folder; a `ModelError` for a bare file, which has no place for what stands beside it."""
    if not opened.path.exists():
        raise ModelNotFound(f"no model at {opened.path}: there is no such file or folder")
    if not (opened.path / "MLmodel").is_file():
        raise ModelError(f"{opened.path} is no MLflow model folder; log the model with mlflow first")
    return opened.path
