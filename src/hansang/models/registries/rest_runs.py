"""Versions and runs as MLflow's REST interface writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hansang.models.catalogue import Dataset, Entry, Run, metric, said, where


def pairs(document: Mapping[str, Any], key: str = "tags") -> dict[str, str]:
    """Read the tags of a document, or its params."""
    return {entry["key"]: entry.get("value", "") for entry in document.get(key, [])}


def entry_of(found: Mapping[str, Any], aliases: Mapping[str, str]) -> Entry:
    """Read a version of a search, which leaves the aliases out."""
    version = str(found["version"])
    return Entry(
        found["name"],
        version,
        int(found.get("creation_timestamp") or 0),
        found.get("run_id") or None,
        found.get("status", "READY"),
        found.get("description", ""),
        tuple(sorted(alias for alias, pointed in aliases.items() if pointed == version)),
        pairs(found),
    )


def run_of(found: Mapping[str, Any]) -> Run:
    """Read a run."""
    info, data = found["info"], found.get("data", {})
    return Run(
        info["run_id"],
        info.get("run_name", ""),
        info.get("status", ""),
        int(info.get("start_time") or 0),
        dict(sorted(pairs(data, "params").items())),
        {each["key"]: metric(each.get("value")) for each in sorted(data.get("metrics", []), key=lambda m: m["key"])},
        dict(sorted(pairs(data).items())),
        tuple(dataset_of(each) for each in found.get("inputs", {}).get("dataset_inputs", [])),
    )


def dataset_of(found: Mapping[str, Any]) -> Dataset:
    """Read which data a run was given."""
    data = found["dataset"]
    context = pairs(found).get("mlflow.data.context", "")
    return Dataset(data["name"], data["digest"], context, where(data.get("source")), said(data.get("profile")))
