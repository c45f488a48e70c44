"""Nodes that say who they are, and looking at what became of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hansang import Batch, Call, Node, node
from hansang.site import Site


def side(name: str) -> Node:
    """A node that answers with its name."""

    def answer(batch: Batch) -> list[str]:
        return [name] * len(batch)

    answer.__name__ = name
    return node(answer)


def calls(count: int, **facts: Any) -> list[Call]:
    return [Call(id=f"id-{place}", **facts) for place in range(count)]


def with_headers(*headers: Mapping[str, str]) -> list[Call]:
    return [Call(id=f"id-{place}", headers=each) for place, each in enumerate(headers)]


def counted(site: Site, name: str) -> dict[str, float]:
    """Give a counter's numbers by variant."""
    return {
        sample.labels.get("variant", ""): sample.value
        for family in site.metrics.collect()
        for sample in family.samples
        if sample.name == name and sample.value
    }


def told(row: Any) -> Any:
    return f"{type(row).__name__}: {row}" if isinstance(row, Exception) else row
