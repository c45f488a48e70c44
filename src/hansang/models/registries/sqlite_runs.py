"""Versions and runs in MLflow's SQLite database."""

from __future__ import annotations

import math
import sqlite3

from hansang.models.catalogue import Dataset, Entry, Run, said, where


def entries(rows: sqlite3.Connection, name: str, deleted: str) -> list[Entry]:
    """List the versions of a registered model, the newest first."""
    aliases: dict[int, list[str]] = {}
    for row in rows.execute("SELECT alias, version FROM registered_model_aliases WHERE name = ? ORDER BY 1", (name,)):
        aliases.setdefault(int(row["version"]), []).append(row["alias"])
    tags: dict[int, dict[str, str]] = {}
    for row in rows.execute("SELECT version, key, value FROM model_version_tags WHERE name = ?", (name,)):
        tags.setdefault(int(row["version"]), {})[row["key"]] = row["value"] or ""
    found = rows.execute(
        "SELECT version, creation_time, run_id, status, description FROM model_versions "
        "WHERE name = ? AND coalesce(current_stage, '') != ? ORDER BY version DESC",
        (name, deleted),
    )
    return [
        Entry(
            name,
            str(row["version"]),
            int(row["creation_time"] or 0),
            row["run_id"] or None,
            row["status"] or "READY",
            row["description"] or "",
            tuple(aliases.get(row["version"], ())),
            tags.get(row["version"], {}),
        )
        for row in found
    ]


def read_run(rows: sqlite3.Connection, run_id: str) -> Run | None:
    """Read a run; None when it is not there, or deleted."""
    query = "SELECT name, status, start_time FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'"
    found = rows.execute(query, (run_id,)).fetchone()
    if found is None:
        return None
    metrics = rows.execute("SELECT key, value, is_nan FROM latest_metrics WHERE run_uuid = ? ORDER BY key", (run_id,))
    return Run(
        run_id,
        found["name"] or "",
        found["status"] or "",
        int(found["start_time"] or 0),
        pairs(rows, "params", run_id),
        {row["key"]: math.nan if row["is_nan"] else float(row["value"]) for row in metrics},
        pairs(rows, "tags", run_id),
        datasets(rows, run_id),
    )


def pairs(rows: sqlite3.Connection, table: str, run_id: str) -> dict[str, str]:
    """Read the params or the tags of a run."""
    found = rows.execute(f"SELECT key, value FROM {table} WHERE run_uuid = ? ORDER BY key", (run_id,))
    return {row["key"]: row["value"] or "" for row in found}


def datasets(rows: sqlite3.Connection, run_id: str) -> tuple[Dataset, ...]:
    """Read which data a run was given."""
    found = rows.execute(
        "SELECT d.name, d.digest, d.dataset_source, d.dataset_profile, t.value AS context FROM inputs i "
        "JOIN datasets d ON d.dataset_uuid = i.source_id "
        "LEFT JOIN input_tags t ON t.input_uuid = i.input_uuid AND t.name = 'mlflow.data.context' "
        "WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.destination_id = ? ORDER BY d.name",
        (run_id,),
    )
    return tuple(
        Dataset(row["name"], row["digest"], row["context"] or "", where(row["dataset_source"]), said(row[3]))
        for row in found
    )
