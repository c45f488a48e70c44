"""Whether the clients of one version can live with another."""

from __future__ import annotations

from collections.abc import Iterator

from hansang.errors import SchemaError
from hansang.models.signature import Anything, Array, Column, Map, Object, Scalar, Signature, Tensor, Type

WIDER = {
    "integer": {"integer", "long", "float", "double"},
    "long": {"long", "float", "double"},
    "float": {"float", "double"},
    "double": {"double", "float"},  # the rows stay doubles; a runtime that computes in 32 bits rounds them itself
}


def check_compatible(served: Signature | None, other: Signature | None, closed: bool) -> None:
    """Refuse, by a `SchemaError`, a version that cannot answer the rows of a service, or answers them otherwise.

    `served` is what the service took and gave when it started. `closed` says that its schema was made of that
    signature: then no field may go either, since the clients send it and the schema made of the other one would refuse
    it at the next start.
    """
    if served is None:
        return
    if other is None:
        raise SchemaError("it has no signature, but the version that the service started with has one; log it with one")
    faults = [*input_faults(served, other, closed), *output_faults(served, other)]
    if faults:
        raise SchemaError("; ".join(faults))


def input_faults(served: Signature, other: Signature, closed: bool) -> Iterator[str]:
    """Say which inputs do not fit."""
    before = dict(zip(served.input_names, served.inputs, strict=True))
    after = dict(zip(other.input_names, other.inputs, strict=True))
    for name, column in after.items():
        known = before.get(name)
        if known is None:
            if column.required:
                yield f"it needs the input {name!r}, which the service does not have"
        elif column.required and not known.required:
            yield f"it needs the input {name!r}, which may be left out"
        elif not takes(known.type, column.type):
            yield f"its input {name!r} is {said(column.type)}, the service's is {said(known.type)}"
    for name in before.keys() - after.keys() if closed else ():
        yield f"it does not take the input {name!r}, which clients send"
    for param in served.params:
        if all(param.name != each.name or param.type != each.type for each in other.params):
            yield f"it does not take the parameter {param.name!r} as clients send it"


def output_faults(served: Signature, other: Signature) -> Iterator[str]:
    """Say which outputs are not those of the service."""
    if not served.outputs:
        return
    before = dict(zip(served.output_names, served.outputs, strict=True))
    after = dict(zip(other.output_names, other.outputs, strict=True))
    for name in before.keys() - after.keys():
        yield f"it does not give the output {name!r}"
    for name in after.keys() - before.keys():
        yield f"it gives the output {name!r}, which the service does not have"
    for name in before.keys() & after.keys():
        if not takes(after[name].type, before[name].type):
            yield f"its output {name!r} is {said(after[name].type)}, the service's is {said(before[name].type)}"


def takes(given: Type, wanted: Type) -> bool:
    """Say whether every value of one type is one of the other."""
    if isinstance(wanted, Anything):
        return True
    match given, wanted:
        case Scalar(), Scalar():
            fits = wanted.kind in WIDER.get(given.kind, {given.kind})
        case Tensor(), Tensor():
            fits = given.dtype == wanted.dtype and lengths(given.shape, wanted.shape)
        case Array(), Array():
            fits = takes(given.items, wanted.items)
        case Map(), Map():
            fits = takes(given.values, wanted.values)
        case Object(), Object():
            fits = properties(given.properties, wanted.properties)
        case _:
            fits = given == wanted
    return fits


def lengths(given: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Say whether tensors of one shape have the other."""
    return len(given) == len(wanted) and all(b in (-1, a) for a, b in zip(given, wanted, strict=True))


def properties(given: tuple[Column, ...], wanted: tuple[Column, ...]) -> bool:
    """Say whether objects with some properties have the others, and no more."""
    known = {column.name: column for column in given}
    if known.keys() != {column.name for column in wanted}:
        return False
    return all(
        takes(known[column.name].type, column.type) and (known[column.name].required or not column.required)
        for column in wanted
    )


def said(kind: Type) -> str:
    """Name a type."""
    return kind.kind if isinstance(kind, Scalar) else str(kind)
