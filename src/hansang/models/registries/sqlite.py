"""MLflow's SQLite database, read with the standard library: no mlflow import, milliseconds.

The tables are checked instead of MLflow's schema revision, which changes with every release even where these few
columns do not. The database is opened read-only but to move an alias or to write a tag, which is one statement each.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from hansang.errors import ModelError, ModelNotFound, RegistryUnavailable
from hansang.models.catalogue import Entry, Run
from hansang.models.registries.sqlite_runs import entries, read_run
from hansang.models.registry import ModelVersion, Reference, Registered, not_found

NEEDED = {
    "registered_models": {"name", "creation_time"},
    "registered_model_tags": {"name", "key", "value"},
    "model_version_tags": {"name", "version", "key", "value"},
    "model_versions": {"name", "version", "source", "run_id", "status", "current_stage", "storage_location"},
    "registered_model_aliases": {"name", "alias", "version"},
    "logged_models": {"model_id", "name", "artifact_location", "source_run_id", "lifecycle_stage"},
    "runs": {"run_uuid", "artifact_uri", "lifecycle_stage"},
}
DELETED = "Deleted_Internal"
BUSY_SECONDS = 5.0


class SqliteRegistry:
    """The registry in a `sqlite:///` file."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.file = Path(unquote(uri.partition(":///")[2].partition("?")[0]))

    def find(self, reference: Reference) -> ModelVersion:
        """Look up what a reference means now."""
        with self._open() as rows:
            match reference.kind:
                case "id":
                    return logged(rows, reference, reference.value)
                case "run":
                    return from_run(rows, reference)
            return registered(rows, reference, self.file)

    def registered(self, name: str) -> Registered:
        """Say where the aliases of a registered model point."""
        with self._open() as rows:
            found = select(rows, "SELECT creation_time FROM registered_models WHERE name = ?", name)
            if not found:
                names = [row["name"] for row in select(rows, "SELECT name FROM registered_models")]
                raise not_found(Reference(f"models:/{name}", "latest", name), names)
            tags = select(rows, "SELECT key, value FROM registered_model_tags WHERE name = ?", name)
            return Registered(name, aliases_of(rows, name), dict(map(tuple, tags)), int(found[0]["creation_time"] or 0))

    def tags(self, name: str, version: str) -> dict[str, str]:
        """Give the tags of a version."""
        with self._open() as rows:
            query = "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?"
            return dict(map(tuple, select(rows, query, name, int(version))))

    def names(self) -> list[str]:
        """Name all registered models."""
        with self._open() as rows:
            return [row["name"] for row in select(rows, "SELECT name FROM registered_models ORDER BY name")]

    def versions(self, name: str) -> list[Entry]:
        """List the versions of a registered model, the newest first."""
        self.registered(name)
        with self._open() as rows:
            return entries(rows, name, DELETED)

    def run(self, run_id: str) -> Run | None:
        """Read a run."""
        with self._open() as rows:
            return read_run(rows, run_id)

    def set_tag(self, name: str, version: str | None, key: str, value: str) -> None:
        """Write a tag."""
        if version is None:
            self._change(
                "INSERT OR REPLACE INTO registered_model_tags (name, key, value) VALUES (?, ?, ?)", name, key, value
            )
            return
        query = "INSERT OR REPLACE INTO model_version_tags (name, version, key, value) VALUES (?, ?, ?, ?)"
        self._change(query, name, int(version), key, value)

    def delete_tag(self, name: str, version: str | None, key: str) -> None:
        """Remove a tag."""
        if version is None:
            self._change("DELETE FROM registered_model_tags WHERE name = ? AND key = ?", name, key)
            return
        self._change(
            "DELETE FROM model_version_tags WHERE name = ? AND version = ? AND key = ?", name, int(version), key
        )

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Let an alias point to a version, which must be there."""
        self.find(Reference(f"models:/{name}/{version}", "version", name, version))
        query = "INSERT OR REPLACE INTO registered_model_aliases (name, alias, version) VALUES (?, ?, ?)"
        self._change(query, name, alias, int(version))

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias."""
        self._change("DELETE FROM registered_model_aliases WHERE name = ? AND alias = ?", name, alias)

    def _change(self, query: str, *values: Any) -> None:
        with self._open("rw") as rows:
            rows.execute("PRAGMA foreign_keys = ON")
            rows.execute(query, values)
            rows.commit()

    @contextmanager
    def _open(self, mode: str = "ro") -> Iterator[sqlite3.Connection]:
        """Open the database; whatever SQLite raises is a `RegistryUnavailable`."""
        if not self.file.is_file():
            raise RegistryUnavailable(
                f"no registry at {self.file}: there is no such file; register a model there "
                "(MLFLOW_TRACKING_URI=sqlite:///mlflow.db), or set MLFLOW_TRACKING_URI to your registry"
            )
        uri = f"file:{quote(str(self.file.resolve()))}?mode={mode}"
        try:
            with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as connection:
                connection.row_factory = sqlite3.Row
                self._check(connection)
                yield connection
        except sqlite3.Error as error:
            raise RegistryUnavailable(
                f"the registry {self.uri} cannot be read: {error}; expected MLflow's SQLite database"
            ) from error

    def _check(self, rows: sqlite3.Connection) -> None:
        """Refuse a database whose tables are not those of MLflow 3."""
        for table, columns in NEEDED.items():
            missing = columns - {row["name"] for row in rows.execute(f"PRAGMA table_info({table})")}
            if missing == columns:
                what = f"the table {table}"
            elif missing:
                what = f"{table}.{min(missing)}"
            else:
                continue
            raise RegistryUnavailable(
                f"the registry {self.uri} is not of MLflow 3: {what} is missing; run: mlflow db upgrade {self.uri}"
            )


def select(rows: sqlite3.Connection, query: str, *values: Any) -> list[Any]:
    """Run a query."""
    return rows.execute(query, values).fetchall()


def aliases_of(rows: sqlite3.Connection, name: str) -> dict[str, str]:
    """Say where the aliases of a model point."""
    found = select(rows, "SELECT alias, version FROM registered_model_aliases WHERE name = ?", name)
    return {row["alias"]: str(row["version"]) for row in found}


def registered(rows: sqlite3.Connection, reference: Reference, file: Path) -> ModelVersion:
    """Find a registered version by alias, number or as the latest."""
    name = reference.name
    aliases = aliases_of(rows, name)
    versions = {
        str(row["version"]): row
        for row in select(
            rows,
            "SELECT version, source, run_id, status, storage_location FROM model_versions "
            "WHERE name = ? AND coalesce(current_stage, '') != ? ORDER BY version",
            name,
            DELETED,
        )
    }
    number = {"alias": aliases.get(reference.value), "latest": next(reversed(versions), None)}.get(
        reference.kind, reference.value
    )
    found = versions.get(number or "")
    if found is None:
        known = bool(select(rows, "SELECT 1 FROM registered_models WHERE name = ?", name))
        names = [row["name"] for row in select(rows, "SELECT name FROM registered_models")]
        raise not_found(reference, names, aliases if known else None, versions)
    if found["status"] not in (None, "READY"):
        raise ModelError(f"model {name!r} version {number} is not ready: its status is {found['status']}")
    source = found["source"] or ""
    model_id = source.removeprefix("models:/") if source.startswith("models:/m-") else None
    location = found["storage_location"] or (logged(rows, reference, model_id).location if model_id else source)
    named = tuple(alias for alias, version in aliases.items() if version == number)
    return ModelVersion(name, str(number), location, model_id, found["run_id"], named)


def logged(rows: sqlite3.Connection, reference: Reference, model_id: str) -> ModelVersion:
    """Find a logged model by its id."""
    found = select(
        rows,
        "SELECT model_id, name, artifact_location, source_run_id FROM logged_models "
        "WHERE model_id = ? AND lifecycle_stage = 'active'",
        model_id,
    )
    return of_logged(found, reference)


def of_logged(found: Sequence[Any], reference: Reference) -> ModelVersion:
    """Read a row of `logged_models`."""
    if not found:
        raise not_found(reference, ())
    row = found[0]
    return ModelVersion(row["name"], row["model_id"], row["artifact_location"], row["model_id"], row["source_run_id"])


def from_run(rows: sqlite3.Connection, reference: Reference) -> ModelVersion:
    """Find a model that a run logged: by its name since MLflow 3, by its path in the run's artifacts before."""
    run, path = reference.name, reference.value
    found = select(
        rows,
        "SELECT model_id, name, artifact_location, source_run_id FROM logged_models "
        "WHERE source_run_id = ? AND name = ? AND lifecycle_stage = 'active' ORDER BY creation_timestamp_ms DESC",
        run,
        path,
    )
    if found:
        return of_logged(found, reference)
    runs = select(rows, "SELECT artifact_uri FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'", run)
    if not runs:
        raise ModelNotFound(f"no run {run!r} in the registry")
    return ModelVersion(path.split("/")[-1], run, f"{runs[0]['artifact_uri']}/{path}", None, run)
