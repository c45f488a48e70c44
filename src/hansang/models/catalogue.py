"""What a registry and its tracking store say of versions and of the runs that made them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from hansang.models.registry import Registry

OWN = "mlflow."  # MLflow's own tags begin with it; few of them tell a person anything
SHOWN = ("mlflow.source.git.commit", "mlflow.source.name", "mlflow.user", "mlflow.project.entryPoint")


@dataclass(frozen=True, slots=True)
class Entry:
    """One version as a registry lists it; `created` is in milliseconds since 1970, `aliases` point to it."""

    name: str
    version: str
    created: int
    run_id: str | None = None
    status: str = "READY"
    description: str = ""
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Data that a run was given; `profile` is what MLflow measured of it, such as `num_rows`."""

    name: str
    digest: str
    context: str
    source: str
    profile: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """The run that made a version; `started` is in milliseconds since 1970, `metrics` are the last values."""

    run_id: str
    name: str = ""
    status: str = ""
    started: int = 0
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: tuple[Dataset, ...] = ()

    @property
    def told(self) -> dict[str, str]:
        """Its tags without those that MLflow keeps for itself."""
        return {key: value for key, value in self.tags.items() if not key.startswith(OWN) or key in SHOWN}


class Catalogue(Registry, Protocol):
    """A registry that can be looked through. Every call raises `ModelNotFound` or `RegistryUnavailable`."""

    def names(self) -> list[str]:
        """Name all registered models, sorted."""

    def versions(self, name: str) -> list[Entry]:
        """List the versions of a registered model, the newest first."""

    def run(self, run_id: str) -> Run | None:
        """Read a run; None when it is not there, since runs are deleted and versions stay."""


def metric(value: Any) -> float:
    """Read a metric's value; over HTTP what is not finite is text."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def said(text: str | None) -> dict[str, Any]:
    """Read a JSON object; anything else says nothing."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def where(source: str | None) -> str:
    """Find the address in what MLflow notes of a dataset's source."""
    found = said(source)
    return str(next((found[key] for key in ("uri", "url", "path", "table_name", "table") if found.get(key)), ""))


def named(name: str) -> str:
    """Give the filter that searches for a model's versions; MLflow knows no escapes, but two kinds of quotes."""
    quote = '"' if "'" in name else "'"
    return f"name={quote}{name}{quote}"
