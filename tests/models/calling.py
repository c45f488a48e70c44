"""Rows of the models that the tests log, and the way to call a runtime with rows."""

from __future__ import annotations

import math
from typing import Any

from hansang.batch import Batch
from hansang.models.runtime import Runtime

ROW = {"a": 0.5, "b": -1.0, "c d": 2.0}
ROWS = [{"a": (n - 4) / 3, "b": math.sin(n), "c d": n / 10} for n in range(9)]


def predict(runtime: Runtime, rows: list[Any]) -> list[Any]:
    batch = Batch(list(rows))
    return list(batch.replace(runtime.predict(batch)).rows)


def rounded(value: Any) -> Any:
    """Round the floats in nested values: a batch of other size may differ in the last bits."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return round(value, 5) if isinstance(value, float) else value
