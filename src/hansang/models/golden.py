"""Golden requests: rows with known predictions, kept with a model's version and asked before it may answer anybody."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from hansang.batch import Batch
from hansang.codec import encode_any
from hansang.errors import ModelError
from hansang.models.artifact import Artifact
from hansang.models.schema import input_schema
from hansang.models.signature import Signature

GOLDEN = "golden.jsonl"
ROWS = 64
MOST = 10_000


class Golden(BaseModel):
    """One line of `golden.jsonl`: a row, the prediction it must have, and how far a number may be off.

    Without `output` the row must only be answered. A number passes when it is within `atol + rtol · |expected|`.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    input: dict[str, Any]
    output: Any = None
    rtol: float = 1e-4
    atol: float = 1e-6


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where a prediction is not the expected one."""

    place: str
    expected: Any
    got: Any

    def __str__(self) -> str:
        return f"{self.place.lstrip('.') or 'prediction'}: expected {self.expected!r}, got {self.got!r}"


def check_golden(artifact: Artifact, signature: Signature | None, predict: Callable[[Batch], Batch]) -> None:
    """Ask a model its golden requests, if it has any; a `ModelError` names the first that it answers otherwise."""
    requests = list(read_golden(artifact))
    if not requests:
        return
    schema = input_schema(signature, artifact.example) if signature or artifact.example else dict[str, Any]
    reader = TypeAdapter(schema)
    rows = [valid(artifact, number, request.input, reader) for number, request in enumerate(requests, 1)]
    for start in range(0, len(rows), ROWS):
        ask(artifact, start, rows[start : start + ROWS], requests[start : start + ROWS], predict)


def read_golden(artifact: Artifact) -> Iterator[Golden]:
    """Read the golden requests beside `MLmodel`."""
    file = artifact.folder / GOLDEN
    if not artifact.path.is_dir() or not file.is_file():
        return
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if number > MOST:
                raise ModelError(f"{artifact.uri}: {GOLDEN} has more than {MOST} lines; keep those that tell most")
            try:
                yield Golden.model_validate_json(line)
            except ValidationError as error:
                fault = error.errors()[0]
                where = ".".join(map(str, fault["loc"])) or "line"
                raise ModelError(f"{artifact.uri}: line {number} of {GOLDEN}: {where}: {fault['msg']}") from error


def valid(artifact: Artifact, number: int, row: dict[str, Any], reader: TypeAdapter[Any]) -> Any:
    """Read a row as a request's would be."""
    try:
        return reader.validate_json(json.dumps(row))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise ModelError(f"{artifact.uri}: golden request {number}: {where}: {fault['msg']}") from error


def ask(
    artifact: Artifact, start: int, rows: list[Any], requests: Sequence[Golden], predict: Callable[[Batch], Batch]
) -> None:
    """Ask some golden requests in one batch."""
    try:
        outcomes = predict(Batch(rows)).rows
    except Exception as error:
        where = f"{start + 1} to {start + len(rows)}"
        raise ModelError(f"{artifact.uri}: golden requests {where} fail: {type(error).__name__}: {error}") from error
    for number, (outcome, request) in enumerate(zip(outcomes, requests, strict=True), start + 1):
        if isinstance(outcome, Exception):
            raise ModelError(f"{artifact.uri}: golden request {number} fails: {outcome}") from outcome
        if "output" in request.model_fields_set:
            found = difference(request.output, json.loads(encode_any(outcome)), request)
            if found is not None:
                raise ModelError(f"{artifact.uri}: golden request {number}: {found}")


def difference(expected: Any, got: Any, request: Golden, place: str = "") -> Difference | None:
    """Find the first place where two JSON values differ by more than is allowed."""
    if isinstance(expected, dict) and isinstance(got, dict) and expected.keys() == got.keys():
        return first(difference(expected[key], got[key], request, f"{place}.{key}") for key in expected)
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        pairs = enumerate(zip(expected, got, strict=True))
        return first(difference(a, b, request, f"{place}[{n}]") for n, (a, b) in pairs)
    if is_number(expected) and is_number(got):
        if math.isclose(got, expected, rel_tol=0.0, abs_tol=request.atol + request.rtol * abs(expected)):
            return None
    elif type(expected) is type(got) and expected == got:
        return None
    return Difference(place, expected, got)


def first(found: Iterator[Difference | None]) -> Difference | None:
    """Give the first difference."""
    return next((each for each in found if each is not None), None)


def is_number(value: Any) -> bool:
    """Say whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)
