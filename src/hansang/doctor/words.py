"""Checks that read what is declared: schemas, deadlines, owners, the record's settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from hansang.codec import resolved
from hansang.doctor.finding import Finding
from hansang.doctor.mixed import mixed_answers
from hansang.doctor.past import lost_rows
from hansang.service import Endpoint, Service
from hansang.settings import Settings

BOUNDS = {
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    "string": ("maxLength", "pattern", "format"),
    "array": ("maxItems",),
}
NAMED = 8
LARGEST_INT32 = 2**31 - 1


def declared(service: Service, settings: Settings, inputs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Finding]:
    """Find what a service should say of itself and does not; `inputs` are recorded rows by endpoint."""
    found = [*nobody_knows(service), *no_logging(settings)]
    for endpoint in service.endpoints:
        found += no_deadline(endpoint)
        found += mixed_answers(endpoint)
        found += no_bounds(endpoint, inputs.get(endpoint.path, ()))
    return found


def nobody_knows(service: Service) -> Iterator[Finding]:
    """Look for an owner and a description."""
    missing = [name for name in ("owner", "description") if not getattr(service, name)]
    if "description" in missing and any(endpoint.description for endpoint in service.endpoints):
        missing.remove("description")
    if missing:
        yield Finding(
            "nobody knows",
            f"service {service.name!r}",
            f"it has no {' and no '.join(missing)}, so whoever is on call does not know what it is for or whom to ask",
            f"Service({service.name!r}, …, {', '.join(f'{name}=…' for name in missing)}); "
            "both are shown in /metadata and on the documentation page",
        )


def no_logging(settings: Settings) -> Iterator[Finding]:
    """Look whether answers are recorded, and whether some of the record is lost."""
    if not settings.record:
        yield Finding(
            "no logging",
            "the setting record",
            "the prediction record is off: nobody can say later what was predicted, nor whether it was right",
            "set HANSANG_RECORD=true; fields that must not be kept can be hashed, masked or dropped instead",
        )
    lost = lost_rows(settings.records)
    if lost:
        yield Finding(
            "no logging",
            str(settings.records),
            f"{lost} recorded rows cannot be read back; their segments are kept under corrupt/",
            "look at the disk's health; HANSANG_RECORD_DURABILITY=sync also survives a power loss",
        )


def no_deadline(endpoint: Endpoint) -> Iterator[Finding]:
    """Look for a deadline."""
    if endpoint.deadline is None:
        yield Finding(
            "no deadline",
            f"endpoint {endpoint.path}",
            "a request that brings no x-deadline-ms waits as long as the queue is, and its row is predicted for a "
            "caller who may have given up",
            "Service(…, deadline=0.2) gives every request one, in seconds",
        )


def no_bounds(endpoint: Endpoint, inputs: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Look for fields whose values are not limited; recorded rows say what limits would fit."""
    if endpoint.declared:
        return
    schema = TypeAdapter(endpoint.row).json_schema()
    fields = resolved(schema, schema).get("properties", {})
    loose = [name for name, kind in fields.items() if unlimited(kind, schema)]
    if not loose:
        return
    named = ", ".join(f"{name}{seen(name, inputs)}" for name in loose[:NAMED])
    more = f" and {len(loose) - NAMED} more" if len(loose) > NAMED else ""
    yield Finding(
        "no bounds",
        f"endpoint {endpoint.path}",
        f"any value passes in {named}{more}: a wrong unit or a huge text reaches the model, which answers all the same",
        "declare limits in the input schema: Field(ge=0, le=120), Field(max_length=100), Literal[…]",
    )


def unlimited(kind: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    """Say whether a field's values have no limit of any sort."""
    kind = resolved(kind, root)
    choices = kind.get("anyOf") or kind.get("oneOf")
    if choices:
        return any(unlimited(choice, root) for choice in choices)
    if "enum" in kind or "const" in kind or kind.get("x-hansang-upload"):
        return False
    bounds = BOUNDS.get(str(kind.get("type")))
    return bounds is not None and not any(name in kind and not of_the_type(kind[name]) for name in bounds)


def of_the_type(bound: Any) -> bool:
    """Say whether a limit is only that of a number type, as schemas made from a model's signature have it."""
    return isinstance(bound, int | float) and abs(bound) >= LARGEST_INT32


def seen(name: str, inputs: Sequence[Mapping[str, Any]]) -> str:
    """Say which values were recorded of a field: its range, or its longest text."""
    values = [row[name] for row in inputs if row.get(name) is not None]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if numbers:
        return f" (recorded: {min(numbers):g} to {max(numbers):g})"
    texts = [value for value in values if isinstance(value, str | list)]
    return f" (recorded: up to {max(map(len, texts))} long)" if texts else ""
