"""The OpenAPI document: what the prediction routes take and give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import FastAPI
from pydantic import TypeAdapter

from hansang.codec import with_null
from hansang.graph import walk
from hansang.nodes.staged import Staged
from hansang.server.feedback_openapi import feedback_operations
from hansang.service import Endpoint, Service

if TYPE_CHECKING:
    from hansang.codec import Codec
    from hansang.server.serving import Serving

REF = "#/components/schemas/{model}"

PROBLEM_SCHEMA = {
    "type": "object",
    "title": "Problem",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["loc", "type", "msg"],
                "properties": {
                    "loc": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
                    "type": {"type": "string"},
                    "msg": {"type": "string"},
                },
            },
        },
    },
}
PROBLEMS = {
    400: "The body cannot be read",
    413: "The body is too large",
    415: "The content type is not read here",
    422: "A row does not fit the schema",
    500: "The model failed",
    503: "Overloaded, starting or draining; see Retry-After",
    504: "The deadline passed",
}
HEADERS = {
    "x-prediction-id": {"schema": {"type": "string", "format": "uuid"}, "description": "Names the prediction."},
    "x-model-version": {"schema": {"type": "string"}, "description": "The versions of the models that answered."},
}
LOCATION = {"schema": {"type": "string"}, "description": "Where the answer that comes later will be: /jobs/{id}."}


def describe(app: FastAPI, service: Service) -> None:
    """Make the application's OpenAPI document say what the models say, once they are loaded."""
    plain = app.openapi
    described: list[Any] = []

    def openapi() -> dict[str, Any]:
        document = plain()
        serving: Serving | None = getattr(app.state, "serving", None)
        if serving is None or serving.state == "starting" or serving in described:
            return document
        described[:] = [serving]
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = PROBLEM_SCHEMA
        document["info"]["description"] = with_picture(service.description)
        document["paths"].update(feedback_operations())
        for endpoint in service.endpoints:
            turn = serving.turns.get(endpoint.path)
            if turn is None or turn.media:  # a node's bodies are not JSON
                continue
            path = document["paths"].setdefault(endpoint.path, {})
            if not endpoint.declared:
                theirs = path.get("post", {})
                path["post"] = ours = operation(endpoint, turn.codec, schemas)
                ours["parameters"] += theirs.get("parameters", [])
                ours |= {"security": theirs["security"]} if "security" in theirs else {}
            elif "post" in path:
                path["post"]["responses"] |= responses(endpoint, turn.codec, schemas)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def with_picture(description: str, endpoint: Endpoint | None = None) -> str:
    """Put the picture of the graphs below a description in Markdown; the address is beside the page's own."""
    query = f"?endpoint={quote(endpoint.path, safe='/')}" if endpoint is not None else ""
    picture = f"![The graph](graph.svg{query})" if endpoint is None else f"[The picture of its graph](graph.svg{query})"
    return "\n\n".join(filter(None, (description, picture)))


def operation(endpoint: Endpoint, codec: Codec, schemas: dict[str, Any]) -> dict[str, Any]:
    """Describe one prediction route."""
    row = component(codec.input, schemas, f"{endpoint.name}-row", "validation")
    one_or_many = {"oneOf": [row, {"type": "array", "items": row, "minItems": 1}]}
    content: dict[str, Any] = {"schema": one_or_many}
    sample = endpoint.sample()
    if sample is not None and not codec.uploads:
        content["examples"] = {"one": {"value": sample}, "many": {"value": [sample, sample]}}
    request = {"application/json": content}
    if codec.uploads:
        request = {"multipart/form-data": {"schema": form_schema(codec)}, "application/json": content}
    return {
        "operationId": endpoint.name,
        "summary": "Predict one row (an object) or many (an array)",
        "description": with_picture(endpoint.description, endpoint),
        "tags": ["predictions"],
        "parameters": [
            parameter("x-request-id", {"type": "string", "maxLength": 200}, "Comes back with the answer."),
            parameter("x-deadline-ms", {"type": "number", "exclusiveMinimum": 0}, "Answer 504 after so long."),
        ],
        "requestBody": {"required": True, "content": request},
        "responses": responses(endpoint, codec, schemas),
    }


def responses(endpoint: Endpoint, codec: Codec, schemas: dict[str, Any]) -> dict[str, Any]:
    """Describe the answers of a prediction route."""
    answer: dict[str, Any] = {}
    if codec.output is not None:
        answer = component(codec.output, schemas, f"{endpoint.name}-prediction", "serialization")
    failed = {"type": "object", "properties": {"error": {"$ref": REF.format(model="Problem")}}, "required": ["error"]}
    answers = {"oneOf": [answer, {"type": "array", "items": answer}]} if answer else {}
    mixed = {"type": "array", "items": {"anyOf": [answer, failed]}}
    later = any(isinstance(node, Staged) for node in walk(endpoint.graph))
    headers = {**HEADERS, "location": LOCATION} if later else HEADERS
    return {
        "200": {
            "description": "Predictions",
            "headers": headers,
            "content": {"application/json": {"schema": answers}},
        },
        "207": {
            "description": "Some rows of the array failed; each stands in its place as {error: Problem}",
            "headers": headers,
            "content": {"application/json": {"schema": mixed}},
        },
        **problem_responses(),
    }


def problem_responses() -> dict[str, Any]:
    """Describe the answers that are not predictions."""
    content = {"application/problem+json": {"schema": {"$ref": REF.format(model="Problem")}}}
    known = {str(status): {"description": text, "content": content} for status, text in PROBLEMS.items()}
    return {**known, "default": {"description": "A problem of the service's own", "content": content}}


def parameter(name: str, schema: dict[str, Any], text: str) -> dict[str, Any]:
    """Describe an optional header."""
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": text}


def component(adapter: TypeAdapter[Any], schemas: dict[str, Any], name: str, mode: Any) -> dict[str, Any]:
    """Put a schema and its parts among the document's components, and give a reference to it."""
    schema = adapter.json_schema(ref_template=REF, mode=mode)
    if mode == "serialization":
        schema = with_null(schema)
    schemas.update(schema.pop("$defs", {}))
    title = str(schema.get("title", name)).replace(" ", "-")
    if "$ref" in schema:
        return schema
    if title in schemas and schemas[title] != schema:
        title = name
    schemas[title] = schema
    return {"$ref": REF.format(model=title)}


def form_schema(codec: Codec) -> dict[str, Any]:
    """Describe the form of a schema with files; a file field may hold several files, one a row."""
    schema = dict(codec.input.json_schema(ref_template=REF))
    schema.pop("$defs", None)
    properties = dict(schema.get("properties", {}))
    for name in codec.uploads:
        properties[name] = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}
    return {**schema, "properties": properties, "title": f"{schema.get('title', 'Row')} form"}
