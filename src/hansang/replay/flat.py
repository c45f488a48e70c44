"""Answers as flat values, so that two of them can be compared field by field."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from hansang.models.signature import OUTPUT

LONGEST_LIST = 16  # elements that are compared one by one
Flat = dict[str, Any]


def flat(value: Any) -> Flat:
    """Give the leaves of an answer by their paths, as `box.x` and `scores[0]`; a bare value is called `prediction`.

    A field that is null is as good as absent. A list of more than 16 elements is one leaf.
    """
    found: Flat = {}
    if not isinstance(value, dict):
        spread(OUTPUT, value, found)
        return found
    for name, inner in value.items():
        if isinstance(inner, dict | list):
            spread(name, inner, found)
        elif inner is not None:
            found[name] = inner
    return found


def spread(name: str, value: Any, found: Flat) -> None:
    """Put the leaves of a value into `found`."""
    if value is None:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            spread(f"{name}.{key}", inner, found)
    elif isinstance(value, list) and len(value) <= LONGEST_LIST:
        for place, inner in enumerate(value):
            spread(f"{name}[{place}]", inner, found)
    else:
        found[name] = value


def read_flat(text: str | None) -> Flat | None:
    """Give the leaves of a recorded answer; None where there is none that can be read."""
    if text is None:
        return None
    try:
        return flat(from_json(text))
    except ValueError:
        return None


def is_number(value: Any) -> bool:
    """Say whether a leaf is a number; a truth value is a label."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def label_of(value: Any) -> str:
    """Name a leaf that is no number, or one of another kind than on the other side."""
    if value is None:
        return "none"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else text[:59] + "…"
