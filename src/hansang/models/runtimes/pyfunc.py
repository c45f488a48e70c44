"""Any other MLflow model, through mlflow's pyfunc; slow, and able to run code, so it must be trusted."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from pydantic import BaseModel
from pydantic_core import to_json

from hansang.batch import Batch
from hansang.errors import ModelError
from hansang.extras import require
from hansang.models.artifact import Artifact, first_line
from hansang.models.runtimes.function import outcomes
from hansang.models.runtimes.inputs import Frame, Reader, Values, grouped, scattered
from hansang.models.runtimes.outputs import Fit
from hansang.models.schema import PARAMS
from hansang.models.signature import OUTPUT, Signature, Tensor, infer_signature
from hansang.models.trust import require_trust

# Loaders that only read data, from a file format that cannot hold code.
SAFE_LOADERS = {"mlflow.catboost"}


class PyfuncRuntime:
    """Calls an MLflow pyfunc with what its signature asks for; rows with different params go in different calls."""

    bulk = 8192
    name = "pyfunc"
    native = False

    def __init__(self, model: Any, read: Reader, signature: Signature | None) -> None:
        self.signature = signature
        self._model = model
        self._read = read
        self._names = signature.output_names if signature else ()
        self._fit = Fit(signature, [OUTPUT], single=True)

    def predict(self, batch: Batch) -> dict[str, np.ndarray] | list[Any]:
        """Predict a batch."""
        if self.signature is None or not self.signature.params:
            return self._finish(self._model.predict(self._read(batch)))
        groups = grouped(batch, params_key)
        parts = [(rows, self._call(batch.take(rows), batch.rows[rows[0]].get(PARAMS))) for _, rows in groups]
        return parts[0][1] if len(parts) == 1 else scattered(len(batch), parts)

    def _call(self, batch: Batch, params: Any) -> dict[str, np.ndarray] | list[Any]:
        return self._finish(self._model.predict(self._read(batch), params=params))

    def _finish(self, answer: Any) -> dict[str, np.ndarray] | list[Any]:
        """Name the outputs as declared, in whatever form the model gives them."""
        found = outcomes(answer)
        if isinstance(found, dict):
            known = bool(self._names) and set(self._names) <= set(found)
            names = self._names if known else tuple(found)
            return self._fit(tuple(found.values())) if self._names and not known else {n: found[n] for n in names}
        if isinstance(answer, np.ndarray) or hasattr(answer, "to_numpy"):
            return self._fit((np.asarray(answer),))
        return [outcome(row, self._names) for row in found]


def load(artifact: Artifact, *, trust: bool, threads: int) -> PyfuncRuntime:
    """Load any MLflow model; all but a few loaders can run code and must be trusted."""
    flavor = artifact.flavors["python_function"]
    loader = flavor.get("loader_module") or "an unknown module"
    if loader not in SAFE_LOADERS or flavor.get("code"):
        file = next((flavor[key] for key in ("python_model", "model_code_path", "data") if flavor.get(key)), "MLmodel")
        require_trust(artifact, str(file), f"is loaded by {loader}, which can run any code", trust)
    mlflow: Any = require("mlflow.pyfunc", "mlflow", "an MLflow pyfunc model")
    try:
        model = mlflow.load_model(str(artifact.path))
    except Exception as error:  # loaders raise what they like
        raise ModelError(
            f"{artifact.uri}: mlflow cannot load the model ({type(error).__name__}: {first_line(error)}); "
            "it needs the packages that it was logged with"
        ) from error
    signature = artifact.signature or (infer_signature(artifact.example) if artifact.example else None)
    return PyfuncRuntime(model, reader(signature, artifact.type_hints), signature)


def reader(signature: Signature | None, type_hints: bool) -> Reader:
    """Choose the form in which MLflow checks its input: a DataFrame, arrays, or a list where types were hinted."""
    if signature is None:
        return attrgetter("rows")
    names, columns = signature.input_names, signature.inputs
    if any(isinstance(column.type, Tensor) for column in columns):
        pairs = zip(names, columns, strict=True)
        arrays = {n: Values(n, np.dtype(c.type.dtype)) for n, c in pairs if isinstance(c.type, Tensor)}
        return next(iter(arrays.values())) if columns[0].name is None else Arrays(arrays)
    if columns[0].name is None:
        return Listed(names[0], type_hints)
    return Frame(columns, names)


@dataclass(frozen=True, slots=True)
class Arrays:
    """Named tensors."""

    arrays: Mapping[str, Values]

    def __call__(self, batch: Batch) -> dict[str, np.ndarray]:
        """Read the batch."""
        return {name: read(batch) for name, read in self.arrays.items()}


@dataclass(frozen=True, slots=True)
class Listed:
    """The only, unnamed column: a list of values as the model's type hints say, else a DataFrame of one column."""

    field: str
    type_hints: bool

    def __call__(self, batch: Batch) -> Any:
        """Read the batch."""
        values = batch.column(self.field)
        return values if self.type_hints else require("pandas", "mlflow").DataFrame({0: values})


def params_key(row: Mapping[str, Any]) -> Hashable:
    """Tell rows apart that must not go in one call."""
    return to_json(row.get(PARAMS))


def outcome(row: Any, names: tuple[str, ...]) -> Any:
    """Make a prediction of one item of a list; an object with the declared names is one already."""
    if isinstance(row, Exception):
        return row
    value = row.item() if isinstance(row, np.generic) else row.model_dump() if isinstance(row, BaseModel) else row
    if isinstance(value, dict) and (not names or set(names) <= set(value)):
        return value
    return {names[0] if names else OUTPUT: value}
