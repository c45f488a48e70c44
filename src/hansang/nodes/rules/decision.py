"""What a switch or a split decided about one row, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hansang.graph import Node

SHORT = 80


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision: `node` chose the branch `variant`, whose node is `side`; `why` says it line by line.

    `facts` are the same reasons as plain values. Without a branch the row fails, and `variant` and `side` are empty.
    """

    kind: str
    node: str
    variant: str
    side: str
    why: Sequence[str]
    facts: Mapping[str, Any]
    chosen: Node | None = field(default=None, repr=False)

    def plain(self) -> dict[str, Any]:
        """Give it as plain data."""
        names = ("kind", "node", "variant", "side")
        return {name: getattr(self, name) for name in names} | {"why": list(self.why), **self.facts}


def shown(value: Any) -> str:
    """Write a value in short."""
    text = repr(value)
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"
