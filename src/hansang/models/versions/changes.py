"""What changed between two schemas, and whether it breaks the clients of the first.

The rules are those of `check_compatible` where a service has the schema of its model's signature: a change breaks
exactly where a swap would refuse the version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from hansang.models.compatible import said, takes
from hansang.models.signature import Column, Param, Signature

Side = Literal["signature", "input", "output", "param"]


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a field; `before` and `after` are its types, None where it was not, or is no more."""

    side: Side
    field: str
    what: str
    before: str | None
    after: str | None
    breaks: bool

    def __str__(self) -> str:
        types = " to ".join(dict.fromkeys(each for each in (self.before, self.after) if each is not None))
        return f"{self.side} {self.field!r} {self.what} ({types})" if types else f"{self.side} {self.what}"


def changes(before: Signature | None, after: Signature | None) -> list[Change]:
    """Compare two signatures; of a version without one nothing is known."""
    if before is None:
        return [] if after is None else [Change("signature", "", "added", None, None, False)]
    if after is None:
        return [Change("signature", "", "removed", None, None, True)]
    return [*input_changes(before, after), *param_changes(before.params, after.params), *output_changes(before, after)]


def input_changes(before: Signature, after: Signature) -> Iterator[Change]:
    """Compare what is taken: a row that fitted before must fit now."""
    old = dict(zip(before.input_names, before.inputs, strict=True))
    new = dict(zip(after.input_names, after.inputs, strict=True))
    renamed = renames(old, new)
    for name, column in old.items():
        if name in renamed:
            yield Change("input", name, f"renamed to {renamed[name]!r}", said(column.type), None, True)
        elif name not in new:
            yield Change("input", name, "removed", said(column.type), None, True)
        else:
            yield from field_changes(name, column, new[name])
    for name, column in new.items():
        if name not in old and name not in renamed.values():
            what = "newly required" if column.required else "added, may be left out"
            yield Change("input", name, what, None, said(column.type), column.required)


def field_changes(name: str, old: Column, new: Column) -> Iterator[Change]:
    """Compare an input that both have."""
    before, after = said(old.type), said(new.type)
    if new.required and not old.required:
        yield Change("input", name, "required now", before, after, True)
    elif old.required and not new.required:
        yield Change("input", name, "may be left out now", before, after, False)
    if old.type != new.type:
        fits = takes(old.type, new.type)
        yield Change("input", name, "widened" if fits else "retyped", before, after, not fits)


def output_changes(before: Signature, after: Signature) -> Iterator[Change]:
    """Compare what is given: an answer must be one that a client reads today."""
    if not before.outputs:
        return
    old = dict(zip(before.output_names, before.outputs, strict=True))
    new = dict(zip(after.output_names, after.outputs, strict=True))
    renamed = renames(old, new)
    for name, column in old.items():
        if name in renamed:
            yield Change("output", name, f"renamed to {renamed[name]!r}", said(column.type), None, True)
        elif name not in new:
            yield Change("output", name, "removed", said(column.type), None, True)
        elif column.type != new[name].type:
            fits = takes(new[name].type, column.type)
            what = "narrowed" if fits else "retyped"
            yield Change("output", name, what, said(column.type), said(new[name].type), not fits)
    for name, column in new.items():
        if name not in old and name not in renamed.values():
            yield Change("output", name, "added", None, said(column.type), True)


def param_changes(before: Sequence[Param], after: Sequence[Param]) -> Iterator[Change]:
    """Compare the parameters, which all may be left out."""
    old, new = ({param.name: param for param in params} for params in (before, after))
    for name, param in old.items():
        if name not in new:
            yield Change("param", name, "removed", said(param.type), None, True)
        elif param.type != new[name].type:
            yield Change("param", name, "retyped", said(param.type), said(new[name].type), True)
        elif param.default != new[name].default:
            what = f"default {param.default!r} to {new[name].default!r}"
            yield Change("param", name, what, said(param.type), None, False)
    for name, param in new.items():
        if name not in old:
            yield Change("param", name, "added", None, said(param.type), False)


def renames(old: dict[str, Column], new: dict[str, Column]) -> dict[str, str]:
    """Pair a field that went with one that came, where the type is the same and no other field could be meant.

    It is a guess that helps to read; for the clients it is a field that went.
    """
    gone = [name for name in old if name not in new]
    come = [name for name in new if name not in old]
    found = {}
    for name in gone:
        alike = [other for other in come if new[other].type == old[name].type]
        rivals = [other for other in gone if old[other].type == old[name].type]
        if len(alike) == len(rivals) == 1 and new[alike[0]].required:
            found[name] = alike[0]
    return found
