"""What one process has of a managed model, as operators see it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

OK = "ok"


@dataclass(frozen=True, slots=True)
class Refused:
    """A version that may not answer here, why, since when, and whether the registry has been told."""

    version: str
    reason: str
    since: str
    told: bool = False


@dataclass(slots=True)
class Standing:
    """What one process has of a registered model, as `/metadata` shows it."""

    model: str
    version: str
    since: str
    previous: str | None = None
    loading: str | None = None
    refused: Refused | None = None
    registry: str = OK

    def facts(self) -> dict[str, Any]:
        """Give it as JSON values."""
        refused = self.refused and {name: getattr(self.refused, name) for name in ("version", "reason", "since")}
        shown = {name: getattr(self, name) for name in ("model", "version", "since", "previous", "loading", "registry")}
        return {**shown, "refused": refused}


def now() -> str:
    """Give the time in UTC, to the second (RFC 3339)."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
