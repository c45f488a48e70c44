"""What there is to say of one version."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from hansang.errors import ModelError, SchemaError
from hansang.models.artifact import Artifact, files
from hansang.models.catalogue import Catalogue, Entry, Run
from hansang.models.golden import read_golden
from hansang.models.manifest import MANIFEST, check_manifest, hash_of
from hansang.models.moves import ROLLOUT
from hansang.models.registry import REFUSED
from hansang.models.schema import describe, input_schema, output_schema
from hansang.models.signature import Column, Signature, infer_signature
from hansang.models.signing import signer_of
from hansang.models.versions.opened import Opened


def listing(registry: Catalogue, name: str = "") -> list[dict[str, Any]]:
    """List the versions of one registered model, or of all, as JSON values: the newest of each first."""
    entries = [entry for each in ([name] if name else registry.names()) for entry in registry.versions(each)]
    return [entry_facts(entry) for entry in entries]


def entry_facts(entry: Entry) -> dict[str, Any]:
    """Give what the registry lists of a version as JSON values; times are ISO 8601 in UTC."""
    return {
        "model": entry.name,
        "version": entry.version,
        "aliases": list(entry.aliases),
        "created": moment(entry.created),
        "status": entry.status,
        "run_id": entry.run_id,
        "description": entry.description,
        "refused": read(entry.tags, REFUSED),
        "rollout": read(entry.tags, ROLLOUT),
        "tags": {key: value for key, value in entry.tags.items() if key not in (REFUSED, ROLLOUT)},
    }


def facts(opened: Opened, keys: Sequence[Path] = ()) -> dict[str, Any]:
    """Say of a version what its registry, its run and its files say, as JSON values.

    A manifest or golden requests that are wrong are said, not raised: `manifest.fault`, `golden.fault`.
    """
    artifact = opened.artifact()
    taken = signature_of(artifact)
    found: dict[str, Any] = {"uri": opened.uri, "model": artifact.name, "version": artifact.version}
    if opened.entry is not None:
        found |= entry_facts(opened.entry)
    listed = file_facts(opened.path)
    return found | {
        "model_id": artifact.model_id,
        "flavors": sorted(artifact.flavors),
        "inputs": columns(taken.input_names, taken.inputs) if taken else None,
        "outputs": columns(taken.output_names, taken.outputs) if taken else None,
        "params": [{"name": each.name, "default": each.default} for each in taken.params] if taken else [],
        "signature_from": (taken.note or "logged") if taken else None,
        "schema": schema_of(artifact),
        "example": example_of(artifact),
        "run": run_facts(opened.run),
        "files": listed,
        "bytes": sum(each["bytes"] for each in listed),
        "manifest": manifest_facts(opened.path, keys),
        "golden": golden_facts(artifact),
    }


def signature_of(artifact: Artifact) -> Signature | None:
    """Give a version's signature, or the one that Hansang makes of its input example."""
    return artifact.signature or (infer_signature(artifact.example) if artifact.example else None)


def columns(names: Sequence[str], found: Sequence[Column]) -> list[dict[str, Any]]:
    """Say what fields there are."""
    pairs = zip(names, found, strict=True)
    return [{"name": name, "type": describe(column), "required": column.required} for name, column in pairs]


def schema_of(artifact: Artifact) -> dict[str, Any] | None:
    """Give the JSON schemas that Hansang serves; None where only the loaded model could say them."""
    try:
        row = TypeAdapter(input_schema(artifact.signature, artifact.example)).json_schema()
    except SchemaError:
        return None
    answer = TypeAdapter(output_schema(signature_of(artifact))).json_schema(mode="serialization")
    return {"input": row, "output": answer}


def example_of(artifact: Artifact) -> dict[str, Any] | None:
    """Give the first row of the input example as a client would send it."""
    if not artifact.example:
        return None
    adapter: TypeAdapter[Any] = TypeAdapter(input_schema(artifact.signature, artifact.example))
    row: dict[str, Any] = adapter.dump_python(artifact.example[0], mode="json")
    return row


def run_facts(run: Run | None) -> dict[str, Any] | None:
    """Say what a run says."""
    if run is None:
        return None
    data = [
        {"name": each.name, "digest": each.digest, "context": each.context, "source": each.source, **rows_of(each)}
        for each in run.datasets
    ]
    facts = {"id": run.run_id, "name": run.name, "status": run.status, "started": moment(run.started)}
    return {**facts, "params": run.params, "metrics": run.metrics, "tags": run.told, "data": data}


def rows_of(data: Any) -> dict[str, Any]:
    """Say how many rows a dataset has, where MLflow noted it."""
    return {"rows": data.profile["num_rows"]} if "num_rows" in data.profile else {}


def file_facts(path: Path) -> list[dict[str, Any]]:
    """List the files with sizes in bytes and SHA-256."""
    root = path if path.is_dir() else path.parent
    return [
        {"name": file.relative_to(root).as_posix(), "bytes": file.stat().st_size, "sha256": hash_of(file)}
        for file in files(path)
    ]


def manifest_facts(path: Path, keys: Sequence[Path]) -> dict[str, Any]:
    """Say whether there is a manifest, whether it is right, and who signed it."""
    there = path.is_dir() and (path / MANIFEST).is_file()
    found: dict[str, Any] = {"there": there, "signed_by": None, "known": False, "fault": None}
    if not there:
        return found
    try:
        check_manifest(path)
        signer = signer_of(path, keys)
    except ModelError as error:
        return {**found, "fault": str(error)}
    if signer is not None:
        found |= {"signed_by": signer.fingerprint, "known": signer.known is not None}
    return found


def golden_facts(artifact: Artifact) -> dict[str, Any]:
    """Say how many golden requests there are."""
    try:
        return {"requests": len(list(read_golden(artifact))), "fault": None}
    except ModelError as error:
        return {"requests": 0, "fault": str(error)}


def read(tags: Mapping[str, str], key: str) -> Any:
    """Read a tag that Hansang writes as JSON; one that is not JSON is given as it is."""
    text = tags.get(key)
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text


def moment(milliseconds: int) -> str | None:
    """Write a time of MLflow's (RFC 3339)."""
    if not milliseconds:
        return None
    return datetime.fromtimestamp(milliseconds // 1000, UTC).isoformat().replace("+00:00", "Z")
