"""What the doctor found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """One anti-pattern in a service: where it is, what shows it, and what to do.

    `kind` is one of `online big size`, `all in one`, `training code in serving`, `offline only`, `no logging`,
    `no bounds`, `no deadline`, `mixed answers` and `nobody knows`; the first five names are those of
    ml-system-design-pattern.
    """

    kind: str
    where: str
    evidence: str
    remedy: str

    def document(self) -> dict[str, Any]:
        """Give plain data."""
        return asdict(self)
