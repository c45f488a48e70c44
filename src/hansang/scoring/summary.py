"""What a run of scoring did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did; `resumed` are the rows that an earlier run had scored, `seconds` is this run's time."""

    out: Path
    rows: int
    failed: int
    errors: Mapping[str, int]
    resumed: int
    seconds: float
    processes: int
    models: Mapping[str, str]

    @property
    def predicted(self) -> int:
        """The rows that have a prediction."""
        return self.rows - self.failed

    @property
    def rows_per_second(self) -> float:
        """The speed of this run."""
        return (self.rows - self.resumed) / max(self.seconds, 1e-9)

    def document(self) -> dict[str, Any]:
        """Give the summary as plain values."""
        return {
            "out": str(self.out),
            "rows": self.rows,
            "predicted": self.predicted,
            "failed": self.failed,
            "errors": dict(self.errors),
            "resumed": self.resumed,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.rows_per_second, 1),
            "processes": self.processes,
            "models": dict(self.models),
        }
