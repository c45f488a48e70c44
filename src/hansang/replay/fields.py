"""How the answers of two versions differ in one field, at constant memory."""

from __future__ import annotations

import heapq
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hansang.errors import UsageError
from hansang.replay.flat import is_number, label_of
from hansang.replay.sketch import Moments, Sketch, rounded, wilson

LARGEST = 10  # the differences that are named
LABELS = 20  # beyond so many a field is free text, without a table of old against new
NO_LABELS = {float, list, dict}
FLOAT_NOISE = 1e-9  # relative; models differ by so much from batch to batch

Name = tuple[str, int]  # prediction id and row
Leaf = tuple[Name, Any, Any]  # whose, recorded, new


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a number may be from the recorded one and count as the same: absolutely, and as a part of it."""

    absolute: float = 0.0
    relative: float = FLOAT_NOISE

    @classmethod
    def of(cls, text: str) -> Tolerance:
        """Read `0.5` or `1%`; raises `UsageError`."""
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:[eE]-?\d+)?)\s*(%?)\s*", text)
        if not found:
            raise UsageError(f"the tolerance {text!r} is not understood; write 0.5, or 1% of the recorded number")
        value = float(found[1])
        return cls(relative=value / 100) if found[2] else cls(absolute=value)

    def far(self, old: np.ndarray, new: np.ndarray) -> np.ndarray:
        """Say which numbers differ."""
        apart: np.ndarray = np.abs(new - old) > np.maximum(self.absolute, self.relative * np.abs(old))
        return apart


@dataclass(slots=True)
class Numbers:
    """The rows in which a field is a number on both sides."""

    old: Moments = field(default_factory=Moments)
    new: Moments = field(default_factory=Moments)
    apart: Moments = field(default_factory=Moments)
    old_sketch: Sketch = field(default_factory=Sketch)
    new_sketch: Sketch = field(default_factory=Sketch)
    apart_sketch: Sketch = field(default_factory=Sketch)
    largest: list[tuple[float, str, int, float, float]] = field(default_factory=list)

    def add(self, names: Sequence[Name], old: np.ndarray, new: np.ndarray) -> None:
        """Take pairs in."""
        apart = new - old
        for moments, sketch, values in (
            (self.old, self.old_sketch, old),
            (self.new, self.new_sketch, new),
            (self.apart, self.apart_sketch, apart),
        ):
            moments.add(values)
            sketch.add(values)
        sizes = np.abs(apart)
        for place in np.argsort(-sizes, kind="stable")[:LARGEST].tolist():
            one = (float(sizes[place]), *names[place], float(old[place]), float(new[place]))
            if not one[0]:
                break
            if len(self.largest) < LARGEST:
                heapq.heappush(self.largest, one)
            else:
                heapq.heappushpop(self.largest, one)

    def document(self) -> dict[str, Any]:
        """Give plain values; a difference is the new number minus the recorded one."""
        shares = (0.05, 0.5, 0.95)
        return {
            "recorded": {**self.old.document(), **self.old_sketch.quantiles(*shares)},
            "new": {**self.new.document(), **self.new_sketch.quantiles(*shares)},
            "difference": {**self.apart.document(), **self.apart_sketch.quantiles(*shares)},
            "largest": [
                {"id": id, "row": row, "recorded": rounded(old), "new": rounded(new), "difference": rounded(new - old)}
                for _, id, row, old, new in sorted(self.largest, reverse=True)
            ],
        }


@dataclass(slots=True)
class Field:
    """One field of the answers."""

    name: str
    tolerance: Tolerance
    rows: int = 0
    changed: int = 0
    numbers: Numbers = field(default_factory=Numbers)
    confusion: Counter[tuple[str, str]] | None = field(default_factory=Counter)
    examples: dict[tuple[str, str], Name] = field(default_factory=dict)

    def add(self, leaves: Sequence[Leaf]) -> list[bool]:
        """Take pairs in; says which of them changed."""
        changed = [False] * len(leaves)
        numeric = [n for n, (_, old, new) in enumerate(leaves) if is_number(old) and is_number(new)]
        if numeric:
            old = np.array([leaves[n][1] for n in numeric], float)
            new = np.array([leaves[n][2] for n in numeric], float)
            self.numbers.add([leaves[n][0] for n in numeric], old, new)
            for place in np.flatnonzero(self.tolerance.far(old, new)).tolist():
                changed[numeric[place]] = True
        if len(numeric) < len(leaves):
            known = set(numeric)
            for n in [n for n in range(len(leaves)) if n not in known]:
                changed[n] = not same(leaves[n][1], leaves[n][2])
        self._confuse(leaves)
        self.rows += len(leaves)
        self.changed += sum(changed)
        return changed

    def _confuse(self, leaves: Sequence[Leaf]) -> None:
        """Count old against new while the field takes few values; numbers that are not whole are no labels."""
        if self.confusion is None:
            return
        cells = [(old, new, type(old), type(new)) for _, old, new in leaves]  # True is no 1
        counts = Counter(cells) if not {kind for cell in cells for kind in cell[2:]} & NO_LABELS else None
        if counts is None or len(counts) > LABELS * LABELS:
            self.confusion = None
            return
        for cell, count in counts.items():
            labels = (label_of(cell[0]), label_of(cell[1]))
            if labels not in self.confusion:
                self.examples[labels] = leaves[cells.index(cell)][0]
            self.confusion[labels] += count
        if len({label for labels in self.confusion for label in labels}) > LABELS:
            self.confusion = None

    def document(self) -> dict[str, Any]:
        """Give plain values."""
        found: dict[str, Any] = {
            "rows": self.rows,
            "changed": self.changed,
            "share_changed": rounded(self.changed / self.rows) if self.rows else None,
            "interval": wilson(self.changed, self.rows),
        }
        if self.numbers.apart.count:
            found["numbers"] = self.numbers.document()
        if self.confusion:
            found["confusion"] = [
                {"recorded": old, "new": new, "rows": count, "example": dict(zip(("id", "row"), example, strict=True))}
                for (old, new), count in self.confusion.most_common()
                for example in [self.examples[old, new]]
            ]
        return found


def same(old: Any, new: Any) -> bool:
    """Compare leaves that are not two numbers; long lists of numbers may differ by the noise of floats."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return all(same(a, b) for a, b in zip(old, new, strict=True))
    if is_number(old) and is_number(new):
        return math.isclose(old, new, rel_tol=FLOAT_NOISE)
    return bool(type(old) is type(new) and old == new)
