"""A service and its graphs as plain data: what `/metadata`, `hansang describe` and the pictures tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from hansang.codec import resolved, upload_fields
from hansang.graph import Node
from hansang.joints.check import Joint
from hansang.joints.fit import in_words
from hansang.outline import in_short, outline
from hansang.service import Endpoint, Service

BOUNDS = (
    ("minimum", "≥ {}"),
    ("exclusiveMinimum", "> {}"),
    ("maximum", "≤ {}"),
    ("exclusiveMaximum", "< {}"),
    ("minLength", "length ≥ {}"),
    ("maxLength", "length ≤ {}"),
    ("minItems", "items ≥ {}"),
    ("maxItems", "items ≤ {}"),
    ("pattern", "like {}"),
)
WORDS = {"string": "text", "object": "object", "array": "list", "null": "null"}


def service_data(service: Service) -> dict[str, Any]:
    """Tell what a service is: its endpoints with schemas, graph and joints, and its models; it is loaded."""
    return {
        "name": service.name,
        "version": service.version,
        "description": service.description,
        "owner": service.owner,
        "endpoints": [endpoint_data(endpoint) for endpoint in service.endpoints],
        "models": [model_data(model) for model in service.models],
    }


def endpoint_data(endpoint: Endpoint) -> dict[str, Any]:
    """Tell what one endpoint takes, does and gives."""
    deadline = endpoint.deadline * 1000.0 if endpoint.deadline is not None else None
    return {
        "path": endpoint.path,
        "name": endpoint.name,
        "description": endpoint.description,
        "deadline_ms": deadline,
        "input": schema_data(endpoint.given, "validation"),
        "output": schema_data(endpoint.prediction, "serialization"),
        "graph": graph_data(endpoint.placed),
        "joints": [joint_data(joint) for joint in endpoint.joints],
    }


def model_data(model: Any) -> dict[str, Any]:
    """Tell which model is loaded."""
    loaded = model.loaded
    uri = loaded.artifact.uri if loaded.artifact is not None else None
    return {"name": loaded.name, "version": loaded.version, "runtime": loaded.runtime.name, "uri": uri}


def graph_data(node: Node) -> dict[str, Any]:
    """Tell how a graph is put together, node in node."""
    shape = outline(node)
    data: dict[str, Any] = {"kind": shape.kind, "node": shape.word, "label": shape.label, "notes": list(shape.notes)}
    if shape.place:
        data["place"] = shape.place
    if shape.sides:
        data["sides"] = [
            {"name": side.name, "note": side.note, "aside": side.aside, "graph": graph_data(side.node)}
            for side in shape.sides
        ]
    return data


def joint_data(joint: Joint) -> dict[str, Any]:
    """Tell what a joint joins, and whether both sides are known."""
    giver, taker = joint.giver, joint.taker
    return {
        "from": giver.name.removeprefix("the "),
        "to": taker.name.removeprefix("the "),
        "gives": in_words(giver.type) if giver.known else None,
        "takes": in_words(taker.type) if taker.known else None,
        "checked": joint.checked,
    }


# --- schemas in short ---


def schema_data(schema: Any, mode: Any) -> dict[str, Any] | None:
    """Tell a schema's name and its fields in a few words each; `None` where nothing is known."""
    if schema is None or schema is Any:
        return None
    try:
        document = TypeAdapter(schema).json_schema(mode=mode)
    except Exception:  # a type that a function of the request returns need not be one that pydantic reads
        return {"name": in_words(schema), "fields": {}}
    top = resolved(document, document)
    uploads = upload_fields(document)
    fields: dict[str, str] = {}
    for name, kind in top.get("properties", {}).items():
        words = "file" if name in uploads else field_words(kind, document)
        optional = mode == "validation" and name not in top.get("required", ())
        fields[name] = f"{words}, optional" if optional else words
    if not fields and "additionalProperties" in top and top["additionalProperties"]:
        inner = top["additionalProperties"]
        fields["…"] = field_words(inner, document) if isinstance(inner, Mapping) else "anything"
    return {"name": in_words(schema), "fields": fields}


def field_words(kind: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """Say in a few words what a field holds."""
    kind = resolved(kind, root) if "$ref" in kind else kind
    choices = kind.get("anyOf") or kind.get("oneOf")
    if choices:
        return " or ".join(dict.fromkeys(field_words(choice, root) for choice in choices))
    if "const" in kind:
        return repr(kind["const"])
    if kind.get("enum"):
        return " or ".join(map(repr, kind["enum"]))
    type_name = kind.get("type")
    names = [type_name] if isinstance(type_name, str) else list(type_name or ())
    words = " or ".join(WORDS.get(name, name) for name in names) or "anything"
    if type_name == "array" and isinstance(kind.get("items"), Mapping):
        words = f"list of {field_words(kind['items'], root)}"
    elif type_name == "object" and kind.get("title"):
        words = str(kind["title"])
    if kind.get("format") in ("date-time", "date", "time", "uuid", "binary"):
        words = str(kind["format"])
    return ", ".join([words, *bounds(kind)])


def bounds(kind: Mapping[str, Any]) -> list[str]:
    """Say the bounds of a value; those of 32 and 64 bits go without saying."""
    low, high = kind.get("minimum"), kind.get("maximum")
    if isinstance(high, int | float) and abs(high) >= 2**31 - 1:
        kind = {key: value for key, value in kind.items() if key not in ("minimum", "maximum")}
    elif low is not None and high is not None:
        rest = {key: value for key, value in kind.items() if key not in ("minimum", "maximum")}
        return [f"{low:g} to {high:g}", *bounds(rest)]
    return [text.format(in_short(kind[key])) for key, text in BOUNDS if key in kind]
