"""How a split assigns the rows of a batch: by a header, by an override of the key, else by the key's hash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from hansang.batch import Batch
from hansang.call import Call
from hansang.metrics import Counter
from hansang.nodes.assign.assignment import Assignment
from hansang.nodes.assign.keys import Key, keys_of, stand_ins
from hansang.nodes.rules.branch import FAILED, Branch, Choice
from hansang.nodes.rules.decision import Decision
from hansang.nodes.rules.source import Source, calls_of


@dataclass(frozen=True, slots=True)
class Assigned:
    """The rule of a split."""

    name: str
    weights: Mapping[str, float]
    source: Source | None
    overrides: Mapping[str, str]
    header: str | None
    keyless: Counter | None = None
    _assignment: Assignment = field(init=False, repr=False)
    _numbers: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_assignment", Assignment(self.name, self.weights))
        object.__setattr__(self, "_numbers", {label: number for number, label in enumerate(self.weights)})

    def choose(self, batch: Batch) -> Choice:
        """Give the number of each row's side, and write the keys into the calls."""
        keys, problems = keys_of(self.source, batch)
        calls = calls_of(batch)
        for call, key in zip(calls, keys, strict=False):
            if call.key is None:
                call.key = key
        chosen = self._assignment.sides(self._names(keys, batch))
        if self.overrides or (self.header and calls):
            for place, (label, why) in self._forced(keys, calls).items():
                chosen[place] = self._numbers[label]
                if calls:
                    calls[place].tag(f"{self.name}.forced", why)
        for place in problems:
            chosen[place] = FAILED
        return Choice(chosen, problems)

    def _names(self, keys: list[Key], batch: Batch) -> Sequence[str]:
        """Give what each row is assigned by."""
        missing = keys.count(None)
        if missing and self.source is not None and self.keyless is not None:
            self.keyless.add(missing)
        return stand_ins(keys, batch) if missing else cast(list[str], keys)

    def _forced(self, keys: Sequence[Key], calls: Sequence[Call]) -> dict[int, tuple[str, str]]:
        """Give the label of the rows that a header or an override puts somewhere; an unknown label is ignored."""
        forced: dict[int, tuple[str, str]] = {}
        for place, key in enumerate(keys if self.overrides else ()):
            if key is not None and key in self.overrides:
                forced[place] = (self.overrides[key], "override")
        if self.header:
            for place, call in enumerate(calls):
                label = call.headers.get(self.header)
                if label is not None and label in self._numbers:
                    forced[place] = (label, "header")
        return forced

    def explain(self, row: Any, call: Call, branches: Sequence[Branch]) -> Decision:
        """Say where one row goes, and why."""
        fork = Call(call.id, call.row, None, call.headers, call.key)
        batch = Batch([row], [fork])
        (key,), problems = keys_of(self.source, batch)
        (number,), _ = self.choose(batch)
        total = sum(self.weights.values())
        facts: dict[str, Any] = {
            "by": str(self.source) if self.source is not None else None,
            "key": key,
            "shares": {label: weight / total for label, weight in self.weights.items()},
        }
        if problems:
            return Decision("split", self.name, "", "", [f"the key cannot be found: {problems[0]}"], facts)
        forced = (fork.tags or {}).get(f"{self.name}.forced")
        variant = list(self.weights)[number]
        facts["forced"] = forced
        facts["draws"] = self._assignment.draw(*self._names([key], batch))
        why = [self._why(key, call)]
        for label, part in facts["shares"].items():
            why.append(f"{label}: share {part:.1%}, drew {facts['draws'].get(label, 0.0):.4f}")
        if forced:
            why.append(
                f"forced to {variant} by {'the header ' + str(self.header) if forced == 'header' else 'its key'}"
            )
        return Decision("split", self.name, variant, branches[number].node.label, why, facts, branches[number].node)

    def _why(self, key: Key, call: Call) -> str:
        if key is not None:
            return f"key {key!r}, from {self.source}"
        lacking = f"no {self.source} in this row" if self.source is not None else "no by="
        if call.id:
            return f"{lacking}: assigned by the prediction's id"
        return f"{lacking}: assigned by the prediction's id, anew for each request; offline by what is in the row"
