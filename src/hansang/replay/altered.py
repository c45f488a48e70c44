"""Which fields a record does not hold as they came: read from schemas, before anything is replayed or compared.

A field policy stands in a JSON schema as `x-hansang-policy`, an upload as `x-hansang-upload`; this is all that is known
of them here, so that it can be read from the schema of this process as well as from a server's `/openapi.json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hansang.record.policy import KEYWORD

UPLOAD_MARK = "x-hansang-upload"
UPLOAD, DROP, KEEP = "upload", "drop", "keep"
INSIDE = "in part: "
CHOICES = ("anyOf", "oneOf", "allOf")

Schema = Mapping[str, Any]


def altered_fields(
    schema: Schema, root: Schema, policies: Mapping[str, str] | None = None, accepted: Iterable[str] = ()
) -> dict[str, str]:
    """Name the fields of an object that are recorded in another form, with how: `hash`, `mask:4`, `drop`, `upload`.

    A field of which only a part is altered counts too. `root` is the document that `$ref`s point into; `policies` are
    declared outside of the schema, by path. `accepted` are fields whose recorded value is good enough.
    """
    found: dict[str, str] = {}
    known = {name: part for top in same_place(schema, root) for name, part in top.get("properties", {}).items()}
    for name, part in known.items():
        own = [how for place in same_place(part, root) if (how := how_of(place))]
        inner = [INSIDE + how for place in anywhere(part, root) if (how := how_of(place))]
        if own or inner:
            found[name] = DROP if DROP in own else (own or inner)[0]
    for path, how in (policies or {}).items():
        name, dot, _ = path.partition(".")
        if how != KEEP and (name in known or not known):
            found[name] = INSIDE + how if dot else how
    return {name: how for name, how in found.items() if name not in set(accepted)}


def how_of(schema: Schema) -> str:
    """Say how a value is altered by its own schema; empty when it is not."""
    if schema.get(UPLOAD_MARK):
        return UPLOAD
    how = str(schema.get(KEYWORD, KEEP))
    return "" if how == KEEP else how


def same_place(schema: Schema, root: Schema) -> Iterator[Schema]:
    """Give a schema and those that say something of the same value: behind a `$ref`, and its choices."""
    seen: list[int] = []
    todo = [schema]
    while todo:
        current = todo.pop()
        if id(current) not in seen:
            seen.append(id(current))
            yield current
            todo += [follow(current["$ref"], root)] if "$ref" in current else []
            todo += [part for word in CHOICES for part in current.get(word, ())]


def anywhere(schema: Schema, root: Schema) -> Iterator[Schema]:
    """Give a schema and all those inside of it, each once."""
    seen: list[int] = []
    todo: list[Any] = [schema]
    while todo:
        current = todo.pop()
        if isinstance(current, list):
            todo += current
        elif isinstance(current, Mapping) and id(current) not in seen:
            seen.append(id(current))
            yield current
            todo += [follow(current["$ref"], root)] if isinstance(current.get("$ref"), str) else []
            todo += [part for part in current.values() if isinstance(part, Mapping | list)]


def follow(reference: str, root: Schema) -> Schema:
    """Find what a `$ref` points to; nothing is known of one that points elsewhere."""
    place: Any = root
    for name in reference.removeprefix("#/").split("/"):
        place = place.get(name, {}) if isinstance(place, Mapping) else {}
    return place if isinstance(place, Mapping) else {}


def of_openapi(document: Any, path: str) -> tuple[dict[str, str], dict[str, str]]:
    """Read the altered fields of the rows and of the predictions of a route from a server's description of itself."""
    try:
        route = document["paths"][path]["post"]
        asked = route["requestBody"]["content"]
        answered = route["responses"]["200"]["content"]
    except (KeyError, TypeError):
        return {}, {}
    rows, predictions = (content.get("application/json", {}).get("schema", {}) for content in (asked, answered))
    return altered_fields(rows, document), altered_fields(predictions, document)
