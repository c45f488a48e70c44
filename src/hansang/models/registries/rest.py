"""An MLflow server, asked over plain HTTP: no mlflow import."""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

from hansang.errors import ModelError, ModelNotFound, RegistryUnavailable
from hansang.models.catalogue import Entry, Run, named
from hansang.models.registries.rest_runs import entry_of, pairs, run_of
from hansang.models.registry import ModelVersion, Reference, Registered, not_found

TIMEOUT = 10.0
CHUNK = 1 << 20
PAGE = 200


class Refused(Exception):
    """The server answered, and said no."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"HTTP {status} {code}: {message}")
        self.status = status
        self.code = code


class RestRegistry:
    """The registry behind an `http(s)://` URI; reads MLFLOW_TRACKING_USERNAME, _PASSWORD and _TOKEN.

    MLFLOW_TRACKING_SERVER_CERT_PATH names the certificates of a private authority.
    """

    def __init__(self, uri: str, timeout: float = TIMEOUT) -> None:
        self.uri = uri.rstrip("/")
        self.timeout = timeout
        context = ssl.create_default_context(cafile=os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or None)
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))

    def find(self, reference: Reference) -> ModelVersion:
        """Look up what a reference means now."""
        match reference.kind:
            case "id":
                return self._logged(reference, reference.value)
            case "run":
                return self._run(reference)
        return self._registered(reference)

    def _registered(self, reference: Reference) -> ModelVersion:
        name = reference.name
        try:
            found = self._version(reference)
            version = str(found["version"])
        except Refused as refused:
            raise self._missing(reference, refused) from refused
        if found.get("status", "READY") != "READY":
            raise ModelError(f"model {name!r} version {version} is not ready: its status is {found['status']}")
        source = found.get("source", "")
        model_id = source.removeprefix("models:/") if source.startswith("models:/m-") else None
        location = self._get("mlflow/model-versions/get-download-uri", name=name, version=version)["artifact_uri"]
        return ModelVersion(
            name, version, location, model_id, found.get("run_id") or None, tuple(found.get("aliases") or ())
        )

    def _version(self, reference: Reference) -> dict[str, Any]:
        name, value = reference.name, reference.value
        if reference.kind == "alias":
            answer = self._get("mlflow/registered-models/alias", name=name, alias=value)
        else:
            number = value if reference.kind == "version" else self._latest(name)
            answer = self._get("mlflow/model-versions/get", name=name, version=number)
        found: dict[str, Any] = answer["model_version"]
        return found

    def _latest(self, name: str) -> str:
        versions = self._versions(name)
        if not versions:
            raise Refused(404, "RESOURCE_DOES_NOT_EXIST", "no versions")
        return str(max(int(found["version"]) for found in versions))

    def _versions(self, name: str) -> list[dict[str, Any]]:
        query = {"filter": named(name), "max_results": PAGE, "order_by": "version_number DESC"}
        found: list[dict[str, Any]] = self._get("mlflow/model-versions/search", **query).get("model_versions", [])
        return found

    def _missing(self, reference: Reference, refused: Refused) -> ModelError:
        """Find out what exists, for the error's text."""
        try:
            model = self._get("mlflow/registered-models/get", name=reference.name)["registered_model"]
        except Refused as other:
            if other.status != 404 and other.code != "RESOURCE_DOES_NOT_EXIST":
                return RegistryUnavailable(f"the registry {self.uri} refused: {other}")
            try:
                found = self._get("mlflow/registered-models/search", max_results=PAGE).get("registered_models", [])
            except Refused as last:
                return RegistryUnavailable(
                    f"{self.uri} does not answer like an MLflow server: {last}; check MLFLOW_TRACKING_URI"
                )
            return not_found(reference, [model["name"] for model in found])
        aliases = {entry["alias"]: str(entry["version"]) for entry in model.get("aliases", [])}
        versions = [str(found["version"]) for found in self._versions(reference.name)]
        if reference.kind == "alias" and reference.value in aliases:
            return RegistryUnavailable(f"the registry {self.uri} refused: {refused}")
        return not_found(reference, (), aliases, versions)

    def _logged(self, reference: Reference, model_id: str) -> ModelVersion:
        try:
            info = self._get(f"mlflow/logged-models/{quote(model_id, safe='')}")["model"]["info"]
        except Refused as refused:
            raise not_found(reference, ()) from refused
        return ModelVersion(info["name"], model_id, info["artifact_uri"], model_id, info.get("source_run_id") or None)

    def _run(self, reference: Reference) -> ModelVersion:
        """Find a model that a run logged: by its name since MLflow 3, by its path in the run's artifacts before."""
        try:
            run = self._get("mlflow/runs/get", run_id=reference.name)["run"]
        except Refused as refused:
            raise ModelNotFound(f"no run {reference.name!r} in the registry {self.uri}") from refused
        for output in reversed(run.get("outputs", {}).get("model_outputs", [])):
            version = self._logged(reference, output["model_id"])
            if version.name == reference.value:
                return version
        location = f"{run['info']['artifact_uri']}/{reference.value}"
        return ModelVersion(reference.value.split("/")[-1], reference.name, location, None, reference.name)

    # --- aliases and tags ---

    def registered(self, name: str) -> Registered:
        """Say where the aliases of a registered model point; one call."""
        try:
            found = self._get("mlflow/registered-models/get", name=name)["registered_model"]
        except Refused as refused:
            raise self._missing(Reference(f"models:/{name}", "latest", name), refused) from refused
        aliases = {entry["alias"]: str(entry["version"]) for entry in found.get("aliases", [])}
        return Registered(name, aliases, pairs(found), int(found.get("creation_timestamp") or 0))

    def tags(self, name: str, version: str) -> dict[str, str]:
        """Give the tags of a version."""
        try:
            return pairs(self._get("mlflow/model-versions/get", name=name, version=version)["model_version"])
        except Refused as refused:
            raise self._missing(Reference(f"models:/{name}/{version}", "version", name, version), refused) from refused

    def set_tag(self, name: str, version: str | None, key: str, value: str) -> None:
        """Write a tag."""
        of = "registered-models" if version is None else "model-versions"
        self._change("POST", f"mlflow/{of}/set-tag", name, version, key=key, value=value)

    def delete_tag(self, name: str, version: str | None, key: str) -> None:
        """Remove a tag."""
        of = "registered-models" if version is None else "model-versions"
        self._change("DELETE", f"mlflow/{of}/delete-tag", name, version, key=key)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Let an alias point to a version."""
        self._change("POST", "mlflow/registered-models/alias", name, version, alias=alias)

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias."""
        self._change("DELETE", "mlflow/registered-models/alias", name, None, alias=alias)

    def _change(self, method: str, path: str, name: str, version: str | None, **more: str) -> None:
        body = {"name": name, **more} | ({"version": version} if version is not None else {})
        try:
            with self._open(path, method, json.dumps(body).encode()) as answer:
                answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._down(error) from error
        except Refused as refused:
            if method == "DELETE" and refused.code == "RESOURCE_DOES_NOT_EXIST":
                return
            if refused.status in (400, 404):
                raise ModelNotFound(f"the registry {self.uri} refused to change {name!r}: {refused}") from refused
            raise RegistryUnavailable(f"the registry {self.uri} refused to change {name!r}: {refused}") from refused

    # --- what there is ---

    def names(self) -> list[str]:
        """Name all registered models."""
        return sorted(each["name"] for each in self._pages("registered-models/search", "registered_models"))

    def versions(self, name: str) -> list[Entry]:
        """List the versions of a registered model, the newest first."""
        aliases = self.registered(name).aliases
        found = self._pages("model-versions/search", "model_versions", filter=named(name))
        listed = [entry_of(each, aliases) for each in found]
        return sorted(listed, key=lambda each: int(each.version), reverse=True)

    def _pages(self, path: str, key: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Go through all pages of a search."""
        token = ""
        while True:
            more = {"page_token": token} if token else {}
            try:
                answer = self._get(f"mlflow/{path}", max_results=PAGE, **query, **more)
            except Refused as refused:
                raise RegistryUnavailable(f"the registry {self.uri} refused: {refused}") from refused
            yield from answer.get(key, [])
            token = answer.get("next_page_token") or ""
            if not token:
                return

    def run(self, run_id: str) -> Run | None:
        """Read a run."""
        try:
            return run_of(self._get("mlflow/runs/get", run_id=run_id)["run"])
        except Refused as refused:
            if refused.code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise RegistryUnavailable(f"the registry {self.uri} refused: {refused}") from refused

    # --- files ---

    def upload(self, path: str, content: bytes) -> None:
        """Write one file of the artifact proxy."""
        try:
            with self._open(f"mlflow-artifacts/artifacts/{quote(path)}", "PUT", content) as answer:
                answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._down(error) from error
        except Refused as refused:
            raise RegistryUnavailable(f"the registry {self.uri} does not take {path}: {refused}") from refused

    def walk(self, root: str, most: int = 10_000) -> Iterator[tuple[str, int]]:
        """List the files under a folder of the artifact proxy: path relative to the folder, and size."""
        todo = [""]
        count = 0
        while todo:
            folder = todo.pop()
            listing = self._get("mlflow-artifacts/artifacts", path=f"{root}/{folder}".rstrip("/"))
            for entry in listing.get("files", []):
                count += 1
                if count > most or folder.count("/") > 20:
                    raise ModelError(f"the registry lists more than {most} files, or folders too deep, for one model")
                path = f"{folder}/{safe_name(entry['path'])}".lstrip("/")
                if entry.get("is_dir"):
                    todo.append(path)
                else:
                    yield path, int(entry.get("file_size", -1))

    def download(self, path: str, to: IO[bytes]) -> int:
        """Write one file of the artifact proxy and give its size."""
        size = 0
        try:
            with self._open(f"mlflow-artifacts/artifacts/{quote(path)}") as answer:
                while chunk := answer.read(CHUNK):
                    size += to.write(chunk)
        except (OSError, http.client.HTTPException) as error:
            raise self._down(error) from error
        except Refused as refused:
            raise RegistryUnavailable(f"the registry {self.uri} does not give {path}: {refused}") from refused
        return size

    # --- HTTP ---

    def _get(self, path: str, /, **query: Any) -> dict[str, Any]:
        try:
            with self._open(f"{path}?{urlencode(query)}" if query else path) as answer:
                document = json.load(answer)
        except (OSError, http.client.HTTPException) as error:
            raise self._down(error) from error
        except ValueError as error:
            raise RegistryUnavailable(f"{self.uri} does not answer like an MLflow server: {error}") from error
        if not isinstance(document, dict):
            raise RegistryUnavailable(f"{self.uri} does not answer like an MLflow server")
        return document

    def _open(self, path: str, method: str = "GET", body: bytes | None = None) -> http.client.HTTPResponse:
        request = urllib.request.Request(f"{self.uri}/api/2.0/{path}", body, method=method)
        if body is not None:
            request.add_header("Content-Type", "application/json")
        authorization = credentials()
        if authorization:  # unredirected: another host that the server points to does not get it
            request.add_unredirected_header("Authorization", authorization)
        try:
            answer: http.client.HTTPResponse = self._opener.open(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            raise self._refusal(error) from error
        return answer

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        with error:
            text = error.read(65536)
        if error.code in (401, 403):
            return RegistryUnavailable(
                f"the registry {self.uri} refuses the credentials (HTTP {error.code}); set MLFLOW_TRACKING_USERNAME "
                "and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            )
        try:
            body = json.loads(text)
            return Refused(error.code, str(body["error_code"]), str(body.get("message", "")))
        except (ValueError, KeyError, TypeError):
            return RegistryUnavailable(
                f"{self.uri} does not answer like an MLflow server (HTTP {error.code}); "
                "check MLFLOW_TRACKING_URI and the server"
            )

    def _down(self, error: Exception) -> RegistryUnavailable:
        reason = getattr(error, "reason", error)
        host = urlsplit(self.uri).netloc.rpartition("@")[2]
        return RegistryUnavailable(
            f"the registry at {host} does not answer: {reason}; start it, or set MLFLOW_TRACKING_URI to one that runs"
        )


def credentials() -> str:
    """Make the Authorization header that MLflow's own client would send; empty when nothing is set."""
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if user:
        pair = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return "Basic " + base64.b64encode(pair.encode()).decode()
    return f"Bearer {token}" if token else ""


def safe_name(name: str) -> str:
    """Refuse a file name from the network that would leave its folder."""
    if name in ("", ".", "..") or any(bad in name for bad in ("/", "\\", "\0", ":")):
        raise ModelError(f"the registry lists a file with an unsafe name {name!r}; the model is not downloaded")
    return name
