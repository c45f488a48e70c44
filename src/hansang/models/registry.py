"""The model registry as Hansang needs it: a version's facts by name, alias, number, id or run; aliases and tags."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from hansang.errors import ModelError, ModelNotFound

CHAMPION = "champion"
REFUSED = "hansang.refused"  # the tag of a version that may not answer

Kind = Literal["alias", "version", "latest", "id", "run"]


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed `models:/` or `runs:/` URI; `value` is the alias, version number, model id or path in the run.

    `managed` says that it names neither a version nor an alias: whoever serves it follows the champion.
    """

    uri: str
    kind: Kind
    name: str
    value: str = ""
    managed: bool = False


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """What the registry says of one version; `location` is the folder or URI of its files."""

    name: str
    version: str
    location: str
    model_id: str | None = None
    run_id: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Registered:
    """What the registry says of a registered model in one call: where its aliases point, its tags, and its birth.

    `created` tells a model from one of the same name that was deleted: version numbers begin again.
    """

    name: str
    aliases: Mapping[str, str]
    tags: Mapping[str, str]
    created: int = 0


class Registry(Protocol):
    """A registry. Every call raises `ModelNotFound` or `RegistryUnavailable`.

    `version` is a version number, or None for the registered model itself.
    """

    @property
    def uri(self) -> str:
        """Where the registry is."""

    def find(self, reference: Reference) -> ModelVersion:
        """Look up what a reference means now."""

    def registered(self, name: str) -> Registered:
        """Say where the aliases of a registered model point; one call, cheap enough to poll."""

    def tags(self, name: str, version: str) -> dict[str, str]:
        """Give the tags of a version."""

    def set_tag(self, name: str, version: str | None, key: str, value: str) -> None:
        """Write a tag, over an older one of the same key."""

    def delete_tag(self, name: str, version: str | None, key: str) -> None:
        """Remove a tag; one that is not there is removed already."""

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Let an alias point to a version, wherever it pointed before."""

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; one that is not there is removed already."""


def parse(uri: str) -> Reference | None:
    """Read a `models:/` or `runs:/` URI; None for anything else, which is a path.

    `models:/name` means its alias `champion`.
    """
    scheme, colon, rest = uri.partition(":/")
    if not colon or scheme not in ("models", "runs"):
        return None
    parts = [part for part in rest.split("/") if part]
    if scheme == "runs":
        if len(parts) < 2:
            raise ModelError(f"{uri!r} is not a model URI; expected runs:/<run id>/<path>")
        return Reference(uri, "run", parts[0], "/".join(parts[1:]))
    if len(parts) == 1:
        return parse_name(uri, parts[0])
    if len(parts) == 2 and parts[1].isdecimal():
        return Reference(uri, "version", parts[0], str(int(parts[1])))
    if len(parts) == 2 and parts[1].lower() == "latest":
        return Reference(uri, "latest", parts[0])
    raise ModelError(
        f"{uri!r} is not a model URI; expected models:/name, models:/name@alias, models:/name/3, models:/name/latest "
        "or models:/m-<id>; MLflow's stages are gone, use an alias"
    )


def parse_name(uri: str, text: str) -> Reference:
    """Read what stands after `models:/` when it is one word."""
    name, at, alias = text.rpartition("@")
    if at and not (name and alias):
        raise ModelError(f"{uri!r} is not a model URI; expected models:/name@alias")
    if at:
        return Reference(uri, "alias", name, alias)
    if re.fullmatch(r"m-[0-9a-f]{32}", text):
        return Reference(uri, "id", text, text)
    return Reference(uri, "alias", text, CHAMPION, managed=True)


def not_found(
    reference: Reference,
    names: Iterable[str],
    aliases: dict[str, str] | None = None,
    versions: Iterable[str] = (),
) -> ModelNotFound:
    """Say what is missing and what there is instead; `aliases` is None when the model itself is missing."""
    name, value = reference.name, reference.value
    if reference.kind == "id":
        return ModelNotFound(f"no logged model {value!r} in the registry; use the id that mlflow printed, m-<32 hex>")
    if reference.kind == "run":
        return ModelNotFound(f"run {name!r} has no model {value!r}; expected runs:/<run id>/<name given to log_model>")
    if aliases is None:
        there = sorted(names)
        has = f"the registry has: {listed(there)}" if there else "the registry is empty; register a model first"
        return ModelNotFound(f"no model {name!r}; {has}")
    numbers = sorted(versions, key=int)
    if reference.kind == "alias":
        has = listed(f"{alias} ({version})" for alias, version in sorted(aliases.items()))
        cure = f"it has: {has}" if has else f"it has none, but versions {listed(numbers)}; set it in MLflow"
        return ModelNotFound(f"model {name!r} has no alias {value!r}; {cure}")
    if not numbers:
        return ModelNotFound(f"model {name!r} has no versions; register one")
    return ModelNotFound(f"model {name!r} has no version {value}; it has: {listed(numbers)}")


def listed(words: Iterable[str], most: int = 12) -> str:
    """Join words with commas, cutting a long list."""
    words = list(words)
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
