"""A switch by conditions in their order: the first one that is true for a row fires."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hansang.batch import Batch
from hansang.call import Call
from hansang.errors import UsageError
from hansang.nodes.rules.branch import Choice
from hansang.nodes.rules.decision import shown
from hansang.nodes.rules.expression import BUILTINS, Reader, number
from hansang.nodes.rules.fields import refuse_unknown
from hansang.nodes.rules.source import Source

MOST = 100
WORDS = {True: "true", False: "false", None: "neither true nor false"}


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions by the name of their branch; the branch after the last one is the default's.

    All conditions are one compiled function over the columns of what they look at. A row for which one cannot be
    evaluated (texts and numbers have no order, a division by zero) is looked at alone: this condition does not fire.
    """

    owner: str
    conditions: Mapping[str, str]
    sources: Sequence[Source] = field(init=False, repr=False)
    _choose: Callable[..., list[int]] = field(init=False, repr=False)
    _tests: Sequence[tuple[Callable[..., Any], Callable[..., Any]]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.conditions) > MOST:
            raise UsageError(f"{self.owner} has more than {MOST} conditions; give a table, or a function of the row")
        reader = Reader(self.owner)
        read = [reader.read(text) for text in self.conditions.values()]
        names = list(reader.names.values())
        chain = "".join(f"{place} if {ast.unparse(yes)} else " for place, (yes, _) in enumerate(read))
        row = ", ".join(["_", *names])
        put = object.__setattr__
        put(self, "sources", list(reader.names))
        columns = ", ".join(["range(_)", *names])
        put(self, "_choose", compiled(f"lambda {row}: [{chain}{len(read)} for {row}, in zip({columns})]"))
        tests = [tuple(compiled(f"lambda {', '.join(names)}: {ast.unparse(half)}") for half in pair) for pair in read]
        put(self, "_tests", tests)

    def choose(self, batch: Batch, at: datetime | None) -> Choice:
        """Give the number of the first condition that is true for each row."""
        columns = [source.values(batch, at) for source in self.sources]
        try:
            return Choice(self._choose(batch.size, *columns))
        except Exception:  # whatever the values are: the rows are looked at one by one
            return Choice([self._one(values) for values in rows_of(columns, batch.size)])

    def _one(self, values: tuple[Any, ...]) -> int:
        for place in range(len(self._tests)):
            if self.truth(place, values)[0]:
                return place
        return len(self._tests)

    def truth(self, place: int, values: tuple[Any, ...]) -> tuple[bool | None, str]:
        """Say whether a condition is true, false or neither (None), and for the latter why."""
        yes, no = self._tests[place]
        try:
            if yes(*values):
                return True, ""
            return (False, "") if no(*values) else (None, "a value is missing")
        except Exception as error:
            return None, f"{type(error).__name__}: {error}"

    def prove(self, schema: Any) -> None:
        """Raise `SchemaError` for a condition on a field that rows cannot have."""
        refuse_unknown(self.sources, schema, self.owner)

    def table(self) -> list[str]:
        """Write the conditions."""
        return list(self.conditions.values())

    def explain(self, row: Any, call: Call, at: datetime | None) -> tuple[list[str], dict[str, Any]]:
        """Say of each condition whether it is true, with the values that it compares."""
        batch = Batch([row], [call])
        columns = [source.values(batch, at) for source in self.sources]
        values = rows_of(columns, 1)[0]
        seen = {str(source): value for source, value in zip(self.sources, values, strict=True)}
        lines = [f"{name} is {shown(value)}" for name, value in seen.items()]
        told = []
        for place, (name, text) in enumerate(self.conditions.items()):
            truth, why = self.truth(place, values)
            told.append({"variant": name, "condition": text, "true": truth, "note": why})
            lines.append(f"{text}: {WORDS[truth]}{f' ({why})' if why else ''}")
        return lines, {"values": seen, "conditions": told}


def rows_of(columns: Sequence[Sequence[Any]], size: int) -> list[tuple[Any, ...]]:
    """Turn columns into rows; rows of nothing are empty."""
    return list(zip(*columns, strict=True)) if columns else [()] * size


def compiled(source: str) -> Any:
    """Compile what the reader has let pass; there is nothing in it but comparisons of its variables."""
    return eval(compile(source, "<conditions>", "eval"), {"__builtins__": BUILTINS, "number": number})
