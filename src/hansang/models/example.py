"""The input example that MLflow logs with a model, as rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hansang.models.signature import INPUT, Scalar, Signature

LIMIT = 100


def example_rows(path: Path, info: Mapping[str, Any] | None, signature: Signature | None) -> list[dict[str, Any]]:
    """Read the input example of a model folder as rows in their JSON form; empty when there is none.

    `info` is `saved_input_example_info` of the `MLmodel` file. Forms that are not rows (sparse matrices, chat
    messages) are no example.
    """
    if not info or str(info.get("type", "")).startswith("sparse"):
        return []
    for key in ("serving_input_path", "artifact_path"):
        name = info.get(key)
        file = path / name if name else None
        if file and file.resolve().is_relative_to(path.resolve()) and file.is_file():
            rows = read_rows(file, signature)
            if rows:
                return rows[:LIMIT]
    return []


def read_rows(file: Path, signature: Signature | None) -> list[dict[str, Any]]:
    """Read one example file; empty when its form is unknown."""
    try:
        document = json.loads(file.read_bytes(), parse_constant=lambda _: None)  # NaN is MLflow's null
        params = document.pop("params", None) if isinstance(document, dict) else None
        rows = rows_of(document, signature)
    except (ValueError, KeyError, TypeError, OSError):
        return []
    for name in binary_names(signature):
        for row in rows:
            if isinstance(row.get(name), str):  # MLflow breaks base64 into lines
                row[name] = "".join(row[name].split())
    if params and signature and signature.params:
        rows = [{**row, "params": params} for row in rows]
    return rows


def binary_names(signature: Signature | None) -> list[str]:
    """Name the columns of bytes."""
    pairs = zip(signature.input_names, signature.inputs, strict=True) if signature else ()
    return [name for name, column in pairs if column.type == Scalar("binary")]


def rows_of(document: Any, signature: Signature | None) -> list[dict[str, Any]]:
    """Find the rows in any of the forms of MLflow's scoring protocol."""
    if isinstance(document, dict):
        if "dataframe_split" in document:
            return split_rows(document["dataframe_split"], signature)
        if "columns" in document and "data" in document:
            return split_rows(document, signature)
        for key in ("dataframe_records", "inputs", "instances"):
            if key in document:
                return rows_of(document[key], signature)
        return column_rows(document)
    if isinstance(document, list):
        return [named(value, signature) for value in document]
    return [named(document, signature)]


def split_rows(split: Mapping[str, Any], signature: Signature | None) -> list[dict[str, Any]]:
    """Read pandas' split form."""
    columns = split.get("columns")
    if not columns or lone(signature):
        return [named(row[0] if len(row) == 1 else row, signature) for row in split["data"]]
    return [dict(zip(map(str, columns), row, strict=True)) for row in split["data"]]


def column_rows(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read columns or named tensors, which are lists of one length; anything else is one row."""
    lengths = {len(value) if isinstance(value, list) else -1 for value in columns.values()}
    if len(lengths) == 1 and lengths != {-1}:
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [dict(columns)]


def named(value: Any, signature: Signature | None) -> dict[str, Any]:
    """Make a row of one value: an object is a row, a list of the columns' length is named by the signature."""
    if isinstance(value, dict) and not lone(signature):
        return value
    if signature and not lone(signature) and isinstance(value, list) and len(value) == len(signature.inputs):
        return dict(zip(signature.input_names, value, strict=True))
    return {INPUT: value}


def lone(signature: Signature | None) -> bool:
    """Say whether a row is one unnamed value."""
    return bool(signature and len(signature.inputs) == 1 and signature.inputs[0].name is None)
