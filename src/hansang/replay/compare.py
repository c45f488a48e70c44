"""Recorded and new answers side by side: one pass, constant memory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from hansang.replay.fields import Field, Leaf, Tolerance
from hansang.replay.flat import Flat, read_flat
from hansang.replay.quality import Quality, truths
from hansang.replay.sketch import Sketch, rounded, wilson

FIELDS = 200  # a map with ever new keys must not fill the memory
KINDS = 50
OTHERS = "other fields"


@dataclass(slots=True)
class Pair:
    """A recorded row and what is said to it now; an answer that is missing has an error.

    `time` is in UTC, without a zone. `unknown` marks a row that was answered, but the record does not hold the answer.
    """

    id: str
    row: int
    old: Flat | None
    old_error: str | None
    new: Flat | None
    new_error: str | None
    truth: str | None = None
    latency_ms: float | None = None
    time: datetime | None = None
    version: str | None = None
    unknown: bool = False


def pair_of(row: Mapping[str, Any]) -> Pair:
    """Make the recorded half of a pair from a row of `Selection.rows`."""
    failed = row["status"] >= 400
    before = None if failed else read_flat(row["output"])
    return Pair(
        row["id"],
        row["row"],
        before,
        f"{row['status']}: {row['error'] or ''}".rstrip(": ") if failed else None,
        None,
        None,
        row["truth"],
        row["latency_ms"],
        row["time"],
        row["version"],
        unknown=row["unknown"] or (before is None and not failed),
    )


@dataclass(slots=True)
class Comparison:
    """What became of all pairs; `hidden` are fields whose recorded values are not those that were sent, with how."""

    tolerance: Tolerance = field(default_factory=Tolerance)
    hidden: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0
    both: int = 0
    changed: int = 0
    newly_failed: int = 0
    newly_answered: int = 0
    failed_twice: int = 0
    unknown: int = 0
    told: int = 0
    unused_truths: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    fields: dict[str, Field] = field(default_factory=dict)
    quality: dict[str, Quality] = field(default_factory=dict)
    latency: Sketch = field(default_factory=Sketch)

    def add(self, pairs: Sequence[Pair]) -> list[bool]:
        """Take pairs in; says which rows changed: another answer, or an answer on one side only."""
        changed = [self._count(pair) for pair in pairs]
        leaves: dict[str, list[Leaf]] = {}
        places: dict[str, list[int]] = {}
        true: dict[str, list[tuple[Any, Any, Any]]] = {}
        for place, pair in enumerate(pairs):
            if pair.old is None or pair.new is None:
                continue
            for name in self._shown({**pair.old, **pair.new}):
                leaves.setdefault(name, []).append(((pair.id, pair.row), pair.old.get(name), pair.new.get(name)))
                places.setdefault(name, []).append(place)
            if pair.truth is not None:
                self._tell(pair, true)
        for name, some in leaves.items():
            for place, differs in zip(places[name], self._field(name).add(some), strict=True):
                changed[place] |= differs
        for name, triples in true.items():
            self.quality.setdefault(name, Quality()).add(triples)
        known = [pair.latency_ms for pair in pairs if pair.latency_ms is not None]
        self.latency.add(np.array(known, float))
        self.changed += sum(changed)
        return changed

    def _count(self, pair: Pair) -> bool:
        """Count a row by who answered it; says whether only one side did."""
        self.rows += 1
        if pair.new_error is not None:
            self.errors[pair.new_error if pair.new_error in self.errors or len(self.errors) < KINDS else "other"] += 1
        if pair.unknown and pair.new is not None:
            self.unknown += 1
            return False
        if pair.new is not None and pair.old is not None:
            self.both += 1
            return False
        if pair.new is None and pair.old is None and not pair.unknown:
            self.failed_twice += 1
            return False
        if pair.new is None:
            self.newly_failed += 1
        else:
            self.newly_answered += 1
        return True

    def _tell(self, pair: Pair, true: dict[str, list[tuple[Any, Any, Any]]]) -> None:
        """Put the truth beside both answers."""
        assert pair.truth is not None and pair.old is not None and pair.new is not None
        found = truths(pair.truth, pair.old, pair.new)
        self.told += bool(found)
        self.unused_truths += not found
        for name, truth in {name: found[name] for name in self._shown(found)}.items():
            if name in self.quality or len(self.quality) + len(true) < FIELDS:
                true.setdefault(name, []).append((pair.old[name], pair.new[name], truth))

    def _shown(self, names: Iterable[str]) -> list[str]:
        """Leave out the leaves of hidden fields."""
        return (
            [name for name in names if re.split(r"[.[]", name, maxsplit=1)[0] not in self.hidden]
            if self.hidden
            else list(names)
        )

    def _field(self, name: str) -> Field:
        known = self.fields.get(name)
        if known is None:
            name = name if len(self.fields) < FIELDS else OTHERS
            known = self.fields.setdefault(name, Field(name, self.tolerance))
        return known

    @property
    def compared(self) -> int:
        """The rows of which both answers are known, or at least that there is one on one side only."""
        return self.both + self.newly_failed + self.newly_answered

    @property
    def share_changed(self) -> float:
        """The share of the compared rows that changed."""
        return self.changed / self.compared if self.compared else 0.0

    def document(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "rows": self.rows,
            "answered_by_both": self.both,
            "changed": self.changed,
            "share_changed": rounded(self.share_changed),
            "interval": wilson(self.changed, self.compared),
            "newly_failed": self.newly_failed,
            "newly_answered": self.newly_answered,
            "failed_both_times": self.failed_twice,
            "recorded_answer_unknown": self.unknown,
            "fields_not_compared": dict(self.hidden),
            "errors": dict(self.errors.most_common()),
            "fields": {name: field.document() for name, field in sorted(self.fields.items())},
            "quality": {name: quality.document() for name, quality in sorted(self.quality.items())},
            "truths": {"used": self.told, "without_a_field": self.unused_truths},
            "recorded_latency_ms": self.latency.quantiles(0.5, 0.95, 0.99),
        }
