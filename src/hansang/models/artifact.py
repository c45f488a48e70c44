"""A model's files on this machine and what stands beside them: signature, flavors, input example."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from hansang.errors import ModelError, ModelNotFound
from hansang.models.example import example_rows
from hansang.models.schema import input_schema, valid_rows
from hansang.models.signature import Signature, parse_signature

MLMODEL = "MLmodel"

BARE: Mapping[str, dict[str, dict[str, Any]]] = {
    ".onnx": {"onnx": {}},
    ".txt": {"lightgbm": {"model_class": "lightgbm.basic.Booster"}},
    ".json": {"xgboost": {"model_class": "xgboost.core.Booster"}},
    ".ubj": {"xgboost": {"model_class": "xgboost.core.Booster"}},
    ".skops": {"sklearn": {"serialization_format": "skops"}},
    ".joblib": {"sklearn": {"serialization_format": "joblib"}},
    ".pkl": {"sklearn": {"serialization_format": "pickle"}},
    ".pickle": {"sklearn": {"serialization_format": "pickle"}},
}

EXPECTED = "an MLflow model folder, or a file .onnx, .txt (LightGBM), .json or .ubj (XGBoost), .skops, .joblib or .pkl"


@dataclass(frozen=True)
class Artifact:
    """A model version on this machine.

    `path` is an MLflow model folder or a bare model file. `example` holds input rows as validation leaves them, so
    that they can be given to the model as they are. `flavors` are those of the `MLmodel` file; `type_hints` says that
    the signature was made of a Python model's type hints.
    """

    uri: str
    name: str
    version: str
    path: Path
    model_id: str | None = None
    run_id: str | None = None
    aliases: tuple[str, ...] = ()
    signature: Signature | None = None
    example: list[dict[str, Any]] | None = None
    flavors: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    type_hints: bool = False

    @property
    def folder(self) -> Path:
        """The folder that the flavors' file names are relative to."""
        return self.path if self.path.is_dir() else self.path.parent

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and the bytes of all files."""
        return digest(self.path)

    @property
    def identity(self) -> str:
        """What tells its files from any other's: the id that MLflow gave them, else their digest."""
        return self.model_id or self.run_id or self.digest

    def file(self, *names: str | None) -> Path:
        """Find one of the model's files by the first name that is given; it must lie inside the model's folder."""
        if not self.path.is_dir():
            return self.path
        name = next((name for name in names if name), None)
        if name is None:
            raise ModelError(f"{self.uri}: MLmodel does not say which file holds the model")
        found = (self.path / name).resolve()
        if not found.is_relative_to(self.path.resolve()):
            raise ModelError(f"{self.uri}: MLmodel names the file {name!r}, which lies outside the model's folder")
        if not found.exists():
            raise ModelError(f"{self.uri}: the file {name!r} that MLmodel names is missing from {self.path}")
        return found


def open_folder(path: Path, **facts: Any) -> Artifact:
    """Read an MLflow model folder; raises `ModelError` when it is not one."""
    document = read_mlmodel(path)
    signature = parse_signature(document.get("signature"))
    rows = example_rows(path, document.get("saved_input_example_info"), signature)
    row_type = input_schema(signature, rows) if signature or rows else None
    given = {key: value for key, value in facts.items() if value}
    model_id = given.pop("model_id", None) or document.get("model_id")
    fallback = {"uri": str(path), "name": path.name, "version": model_id or digest(path)[:12]}
    return Artifact(
        **{**fallback, "run_id": document.get("run_id"), **given},
        path=path,
        model_id=model_id,
        signature=signature,
        example=valid_rows(rows, row_type) or None,
        flavors=document["flavors"],
        type_hints=bool(document.get("is_signature_from_type_hint")),
    )


def open_file(path: Path, uri: str) -> Artifact:
    """Take a bare model file for what its name says."""
    flavors = BARE.get(path.suffix.lower())
    if flavors is None:
        raise ModelError(f"{path} is not a model; expected {EXPECTED}")
    found = Artifact(uri, path.stem, "", path, flavors=flavors)
    return Artifact(uri, path.stem, found.digest[:12], path, flavors=flavors)


def open_path(path: Path, uri: str) -> Artifact:
    """Read a model folder or a bare model file."""
    if path.name == MLMODEL:
        path = path.parent
    if path.is_dir():
        return open_folder(path, uri=uri)
    if not path.exists():
        raise ModelNotFound(f"no model at {path}: there is no such file or folder")
    return open_file(path, uri)


def read_mlmodel(path: Path) -> dict[str, Any]:
    """Read the `MLmodel` file of a folder."""
    try:
        document = yaml.safe_load((path / MLMODEL).read_text("utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{path} is not an MLflow model: it has no MLmodel file; expected {EXPECTED}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelError(f"{path / MLMODEL} cannot be read: {first_line(error)}") from error
    if not isinstance(document, dict) or not isinstance(document.get("flavors"), dict):
        raise ModelError(f"{path / MLMODEL} is not an MLmodel file: it names no flavors")
    return document


def digest(path: Path) -> str:
    """Hash a file, or the names and bytes of all files of a folder."""
    total = hashlib.sha256()
    for file in files(path):
        with file.open("rb") as stream:
            inner = hashlib.file_digest(stream, "sha256").hexdigest()
        name = file.relative_to(path).as_posix() if path.is_dir() else ""
        total.update(json.dumps([name, inner]).encode())
    return total.hexdigest()


def files(path: Path) -> Iterator[Path]:
    """List the files of a folder in a fixed order; a file is its own list."""
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.is_file())
    else:
        yield path


def first_line(error: BaseException) -> str:
    """Give the first line of an error's text: libraries put C++ stack traces into theirs."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
