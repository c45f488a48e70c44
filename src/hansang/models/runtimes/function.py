"""A plain Python function as a model."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from hansang.batch import Batch
from hansang.errors import UsageError
from hansang.models.signature import Signature


class FunctionRuntime:
    """Calls a function with the batch; it gives one prediction a row: a list, an array, columns or a DataFrame."""

    bulk = 8192
    name = "function"
    native = False
    signature: Signature | None = None

    def __init__(self, function: Callable[[Batch], Any]) -> None:
        if inspect.iscoroutinefunction(function):
            raise UsageError(
                f"{function!r} is async; a Model takes a sync function, make an async one a node with @node"
            )
        self._function = function

    def predict(self, batch: Batch) -> dict[str, np.ndarray] | list[Any]:
        """Predict a batch."""
        return outcomes(self._function(batch))


def outcomes(answer: Any) -> dict[str, np.ndarray] | list[Any]:
    """Bring what a function gave into columns or a list with one outcome a row."""
    if isinstance(answer, list):
        return answer
    if isinstance(answer, Batch):
        return answer.rows
    if hasattr(answer, "columns") and hasattr(answer, "to_numpy"):  # a pandas DataFrame, without importing pandas
        return {str(name): answer[name].to_numpy() for name in answer.columns}
    if isinstance(answer, dict):
        return {str(name): np.asarray(values) for name, values in answer.items()}
    return list(answer.tolist() if hasattr(answer, "tolist") else answer)  # arrays and pandas Series have tolist
