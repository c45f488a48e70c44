"""Any server of the Open Inference Protocol, version 2: MLServer, Triton, KServe, OpenVINO.

A field is a tensor whose first axis is the rows (github.com/kserve/open-inference-protocol, inference_rest.md). Names,
types and shapes come from the model's metadata; a server that says none is sent the fields as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel

from hansang.batch import Batch
from hansang.call import Step
from hansang.errors import ModelFailed, TooLarge
from hansang.peers.client import Client
from hansang.peers.http import Answer
from hansang.peers.outcomes import read_json, refusal
from hansang.peers.peer import Cut, Question, fields_of

DTYPES = {
    "BOOL": np.dtype(np.bool_),
    **{f"UINT{bits}": np.dtype(f"u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"f{bits // 8}") for bits in (16, 32, 64)},
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
BYTES = "BYTES"
REFUSED = (400, 422)


class Tensor(NamedTuple):
    """What the metadata says of an input."""

    name: str
    datatype: str
    axes: int


@dataclass(slots=True, eq=False)
class InferencePeer:
    """A model at `/v2/models/NAME[/versions/V]`."""

    path: str
    label: str
    health: str = ""
    model: str = ""
    version: str = ""
    inputs: tuple[Tensor, ...] = ()
    known: bool = field(default=False)

    def __post_init__(self) -> None:
        self.health = f"{self.path}/ready"
        self.version = self.path.rstrip("/").rpartition("/versions/")[2] if "/versions/" in self.path else ""
        self.model = self.path.rstrip("/").rpartition("/models/")[2].partition("/")[0]

    async def begin(self, client: Client) -> None:
        """Read the model's metadata, once."""
        if self.known:
            return
        answer = await client.ask("GET", self.path, {})
        if answer.status != 200:
            raise refusal(answer, self.label)
        document = read_json(answer.body)
        try:
            self.inputs = tuple(
                Tensor(str(one["name"]), str(one["datatype"]), len(one["shape"])) for one in document["inputs"] or ()
            )
        except (TypeError, LookupError) as error:
            if not isinstance(document, dict) or document.get("inputs"):
                raise ModelFailed(f"{self.label}: the metadata of {self.path} cannot be read: {error!r}") from error
        self.known = True

    def question(self, batch: Batch, now: float, left: float | None) -> Question:
        """Write the fields as tensors; raises `Cut` for rows that are no tensors of the model's."""
        try:
            arrays = self._arrays(batch)
            inputs = [tensor(name, array, self._wanted(name)) for name, array in arrays.items()]
            body = json.dumps({"inputs": inputs}, allow_nan=False, separators=(",", ":")).encode()
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise Cut(ModelFailed(f"{self.label}: the rows do not fit the model: {error}"), learn=False) from error
        return Question(f"{self.path}/infer", {"content-type": "application/json", **fields_of(batch)}, body)

    def answers(self, batch: Batch, answer: Answer) -> Batch:
        """Read the outputs as columns by name."""
        if answer.status == TooLarge.status or answer.status in REFUSED:
            fault = refusal(answer, self.label)
            raise Cut(fault, learn=answer.status == TooLarge.status)
        if answer.status != 200:
            raise refusal(answer, self.label)
        document = read_json(answer.body)
        try:
            columns = {str(one["name"]): column(one, batch.size) for one in document["outputs"]}
            version = str(document.get("model_version") or self.version)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise ModelFailed(f"{self.label}: the answer cannot be read: {error!r}") from error
        if not columns:
            raise ModelFailed(f"{self.label}: the answer has no outputs")
        batch.mark(Step(self.label, str(document.get("model_name") or self.model), version, rows=batch.size))
        return batch.replace(columns)

    def _arrays(self, batch: Batch) -> Mapping[str, np.ndarray]:
        """Give the tensors by name: the inputs that the model has, or every field when it does not say."""
        names = [one.name for one in self.inputs]
        first = batch.whole if batch.whole else batch.rows[0]
        if not isinstance(first, Mapping | BaseModel):
            return {names[0] if len(names) == 1 else "input-0": np.asarray(batch.rows)}
        fields = list(first) if isinstance(first, Mapping) else list(type(first).model_fields)
        if not names:
            return batch.columns(fields)
        if len(names) == 1 and names[0] not in fields:
            return {names[0]: batch.numpy(fields)}  # one matrix with a column a field
        return batch.columns(names)

    def _wanted(self, name: str) -> Tensor | None:
        return next((one for one in self.inputs if one.name == name), None)


def tensor(name: str, array: np.ndarray, wanted: Tensor | None) -> dict[str, Any]:
    """Write an array as a tensor of the type and with the axes that the model wants."""
    if array.dtype.kind in "OUS":
        datatype, flat = BYTES, texts(name, array)
        if wanted is not None and wanted.datatype != BYTES:
            raise TypeError(f"{name} is {wanted.datatype}, the rows have text")
    else:
        datatype = wanted.datatype if wanted is not None else NAMES.get(array.dtype, "")
        dtype = DTYPES.get(datatype)
        if dtype is None:
            raise TypeError(f"{name} is {datatype or array.dtype}, which JSON tensors do not have")
        if not np.can_cast(array.dtype, dtype, "same_kind"):
            raise TypeError(f"{name} is {datatype}, the rows have {array.dtype}")
        cast = array.astype(dtype)
        if array.dtype.kind in "iu" and not np.array_equal(cast, array):
            raise ValueError(f"a value of {name} does not fit {datatype}")
        flat = cast.ravel().tolist()
    shape = list(array.shape)
    if wanted is not None and wanted.axes == len(shape) + 1:
        shape.append(1)
    return {"name": name, "shape": shape, "datatype": datatype, "data": flat}


def texts(name: str, array: np.ndarray) -> list[str]:
    """Give text as JSON can have it."""
    values = array.ravel().tolist()
    if not all(isinstance(value, str) for value in values):
        raise TypeError(f"{name} has values that are neither numbers nor text")
    return values


def column(output: Mapping[str, Any], rows: int) -> np.ndarray:
    """Read an output; a last axis of one value a row is left out."""
    shape: Sequence[int] = output["shape"]
    dtype = None if output["datatype"] == BYTES else DTYPES[output["datatype"]]
    array = np.array(output["data"], dtype).reshape(shape)
    if not shape or shape[0] != rows:
        raise ValueError(f"{output['name']} has the shape {list(shape)} for {rows} rows")
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
