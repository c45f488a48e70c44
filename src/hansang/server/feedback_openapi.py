"""The OpenAPI document of feedback: what the routes take and give."""

from __future__ import annotations

from typing import Any

from hansang.server.feedback_rows import Truth, UnnamedTruth
from hansang.server.posting import LONGEST_KEY

COUNTS = {
    "type": "object",
    "required": ["accepted"],
    "properties": {
        "accepted": {"type": "integer", "description": "Rows that are kept now."},
        "rejected": {
            "type": "array",
            "description": "Rows that are not, by their place in the array.",
            "items": {
                "type": "object",
                "required": ["row", "error"],
                "properties": {"row": {"type": "integer"}, "error": {"$ref": "#/components/schemas/Problem"}},
            },
        },
    },
}
STATUSES = {
    400: "The body cannot be read",
    404: "No such prediction is kept, or feedback is not taken here",
    413: "The body is too large",
    415: "The content type is not read here",
    422: "A row does not fit",
    503: "The record cannot be written, or the service is starting",
}


def feedback_operations() -> dict[str, Any]:
    """Describe the routes of feedback."""
    one = UnnamedTruth.model_json_schema()
    one["properties"].pop("id")
    named = Truth.model_json_schema()
    many = {"type": "array", "minItems": 1, "items": named}
    id = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
    either = {"oneOf": [one, {"type": "array", "minItems": 1, "items": one}]}
    return {
        "/feedback/{id}": {"post": operation("feedback", "Say what was true of a prediction", either, [id])},
        "/feedback": {"post": operation("feedback_many", "Say what was true of many predictions", many, [])},
    }


def operation(name: str, summary: str, schema: dict[str, Any], parameters: list[Any]) -> dict[str, Any]:
    """Describe one route."""
    key = {"name": "Idempotency-Key", "in": "header", "required": False}
    key |= {"schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY}}
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    counts = {"application/json": {"schema": COUNTS}}
    return {
        "operationId": name,
        "summary": summary,
        "tags": ["feedback"],
        "parameters": [*parameters, key],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": {"description": "All rows are kept", "content": counts},
            "207": {"description": "Some rows of the array are kept", "content": counts},
            **{str(status): {"description": text, "content": content} for status, text in STATUSES.items()},
        },
    }
