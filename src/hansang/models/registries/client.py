"""Any other registry that mlflow's own client reads: PostgreSQL, MySQL, Databricks; needs hansang[mlflow]."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from hansang.errors import ModelError, ModelNotFound, RegistryUnavailable
from hansang.extras import require
from hansang.models.catalogue import Dataset, Entry, Run, named, said, where
from hansang.models.registry import Kind, ModelVersion, Reference, Registered, not_found

Result = TypeVar("Result")


class ClientRegistry:
    """The registry behind a URI that only mlflow understands."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def find(self, reference: Reference) -> ModelVersion:
        """Look up what a reference means now."""

        def look(client: Any) -> ModelVersion:
            if reference.kind == "id":
                return logged(client.get_logged_model(reference.value))
            if reference.kind == "run":
                return from_run(client, reference)
            return registered(client, reference)

        return self._ask(look, reference)

    def registered(self, name: str) -> Registered:
        """Say where the aliases of a registered model point; one call."""

        def look(client: Any) -> Registered:
            found = client.get_registered_model(name)
            aliases = {alias: str(version) for alias, version in found.aliases.items()}
            return Registered(name, aliases, dict(found.tags), int(found.creation_timestamp or 0))

        return self._ask(look, Reference(f"models:/{name}", "latest", name))

    def tags(self, name: str, version: str) -> dict[str, str]:
        """Give the tags of a version."""
        return self._change(lambda client: dict(client.get_model_version(name, version).tags), name, version)

    def names(self) -> list[str]:
        """Name all registered models."""
        return self._ask(
            lambda client: sorted(model.name for model in paged(client.search_registered_models)),
            Reference("models:/", "latest", ""),
        )

    def versions(self, name: str) -> list[Entry]:
        """List the versions of a registered model, the newest first."""
        aliases = self.registered(name).aliases

        def look(client: Any) -> list[Entry]:
            found = paged(client.search_model_versions, filter_string=named(name))
            return sorted((entry_of(each, aliases) for each in found), key=lambda each: -int(each.version))

        return self._ask(look, Reference(f"models:/{name}", "latest", name))

    def run(self, run_id: str) -> Run | None:
        """Read a run."""
        try:
            return self._ask(lambda client: run_of(client.get_run(run_id)), Reference("runs:/", "run", run_id))
        except ModelNotFound:
            return None

    def set_tag(self, name: str, version: str | None, key: str, value: str) -> None:
        """Write a tag."""
        if version is None:
            self._change(lambda client: client.set_registered_model_tag(name, key, value), name)
        else:
            self._change(lambda client: client.set_model_version_tag(name, version, key, value), name, version)

    def delete_tag(self, name: str, version: str | None, key: str) -> None:
        """Remove a tag."""
        if version is None:
            self._change(lambda client: client.delete_registered_model_tag(name, key), name)
        else:
            self._change(lambda client: client.delete_model_version_tag(name, version, key), name, version)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Let an alias point to a version."""
        self._change(lambda client: client.set_registered_model_alias(name, alias, version), name, version)

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias."""
        self._change(lambda client: client.delete_registered_model_alias(name, alias), name)

    def _change(self, work: Callable[[Any], Result], name: str, version: str | None = None) -> Result:
        kind: Kind = "latest" if version is None else "version"
        return self._ask(work, Reference(f"models:/{name}", kind, name, version or ""))

    def _ask(self, work: Callable[[Any], Result], reference: Reference) -> Result:
        """Do something with mlflow's client; what it does not find is said with what there is."""
        mlflow: Any = require("mlflow", "mlflow", f"the registry {self.uri.partition(':')[0]}:")
        try:
            client = mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            return work(client)
        except ModelError:
            raise
        except mlflow.exceptions.MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise missing(client, reference) from error
            raise self._down(error) from error
        except Exception as error:  # database drivers raise what they like
            raise self._down(error) from error

    def _down(self, error: Exception) -> RegistryUnavailable:
        scheme = self.uri.partition(":")[0]
        text = str(error).partition("\n")[0]
        return RegistryUnavailable(f"the {scheme} registry cannot be read: {text}; check MLFLOW_TRACKING_URI")


def registered(client: Any, reference: Reference) -> ModelVersion:
    """Find a registered version by alias, number or as the latest."""
    name = reference.name
    if reference.kind == "alias":
        found = client.get_model_version_by_alias(name, reference.value)
    elif reference.kind == "version":
        found = client.get_model_version(name, reference.value)
    else:
        versions = client.search_model_versions(named(name))
        if not versions:
            raise missing(client, reference)
        latest = max(int(version.version) for version in versions)
        found = client.get_model_version(name, str(latest))  # a search leaves the aliases out
    location = client.get_model_version_download_uri(name, found.version)
    source = found.source or ""
    model_id = source.removeprefix("models:/") if source.startswith("models:/m-") else None
    return ModelVersion(name, str(found.version), location, model_id, found.run_id or None, tuple(found.aliases))


def logged(found: Any) -> ModelVersion:
    """Read a logged model."""
    return ModelVersion(
        found.name, found.model_id, found.artifact_location, found.model_id, found.source_run_id or None
    )


def from_run(client: Any, reference: Reference) -> ModelVersion:
    """Find a model that a run logged."""
    run = client.get_run(reference.name)
    outputs = getattr(run.outputs, "model_outputs", None) or []
    for output in reversed(outputs):
        found = client.get_logged_model(output.model_id)
        if found.name == reference.value:
            return logged(found)
    location = f"{run.info.artifact_uri}/{reference.value}"
    return ModelVersion(reference.value.split("/")[-1], reference.name, location, None, reference.name)


def missing(client: Any, reference: Reference) -> ModelError:
    """Find out what exists, for the error's text."""
    models = {model.name: model for model in client.search_registered_models()}
    model = models.get(reference.name)
    if model is None:
        return not_found(reference, models)
    versions = [str(found.version) for found in client.search_model_versions(named(reference.name))]
    return not_found(reference, (), {alias: str(version) for alias, version in model.aliases.items()}, versions)


def paged(search: Callable[..., Any], **query: Any) -> Iterator[Any]:
    """Go through all pages of a search."""
    token = None
    while True:
        page = search(max_results=200, page_token=token, **query)
        yield from page
        token = page.token
        if not token:
            return


def entry_of(found: Any, aliases: Mapping[str, str]) -> Entry:
    """Read a version of a search, which leaves the aliases out."""
    version = str(found.version)
    named = tuple(sorted(alias for alias, pointed in aliases.items() if pointed == version))
    return Entry(
        found.name,
        version,
        int(found.creation_timestamp or 0),
        found.run_id or None,
        found.status or "READY",
        found.description or "",
        named,
        dict(found.tags),
    )


def run_of(found: Any) -> Run:
    """Read a run."""
    data = found.data
    return Run(
        found.info.run_id,
        found.info.run_name or "",
        found.info.status,
        int(found.info.start_time or 0),
        dict(sorted(data.params.items())),
        dict(sorted(data.metrics.items())),
        dict(sorted(data.tags.items())),
        tuple(dataset_of(each) for each in found.inputs.dataset_inputs),
    )


def dataset_of(found: Any) -> Dataset:
    """Read which data a run was given."""
    data = found.dataset
    context = next((tag.value for tag in found.tags if tag.key == "mlflow.data.context"), "")
    return Dataset(data.name, data.digest, context, where(data.source), said(data.profile))
