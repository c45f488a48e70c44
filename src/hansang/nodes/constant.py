"""The same prediction for every row."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from hansang.batch import Batch
from hansang.graph import Node

UNCHANGING = (str, bytes, int, float, bool, type(None))


@dataclass(frozen=True, slots=True, eq=False)
class Constant(Node):
    """Gives every row the same prediction, each its own copy."""

    value: Any
    name: str = "constant"
    _copy: Callable[[Any], Any] | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_copy", copier(self.value))

    async def __call__(self, batch: Batch) -> Batch:
        """Predict the constant."""
        copy, value = self._copy, self.value
        return batch.replace([value if copy is None else copy(value) for _ in range(batch.size)])

    def prompt(self, batch: Batch) -> bool:
        """Say that it never waits."""
        return True


def copier(value: Any) -> Callable[[Any], Any] | None:
    """Choose how a value is copied; None for one that cannot change."""
    if isinstance(value, UNCHANGING):
        return None
    if type(value) is dict and all(isinstance(each, UNCHANGING) for each in value.values()):
        return dict
    return deepcopy
