"""Looks for caches around nodes that choose by what is not in the cache's key: one caller gets another one's side."""

from __future__ import annotations

from collections.abc import Iterator

from hansang.doctor.finding import Finding
from hansang.graph import Node, walk
from hansang.nodes.cached import Cached
from hansang.nodes.fallback import Fallback
from hansang.nodes.rules.source import Source
from hansang.nodes.split import Split
from hansang.nodes.switch import Switch
from hansang.service import Endpoint


def mixed_answers(endpoint: Endpoint) -> Iterator[Finding]:
    """Find every node inside a cache whose choice the cache's key does not hold."""
    for cache in walk(endpoint.graph, aside=False):
        if not isinstance(cache, Cached):
            continue
        for inner in walk(cache.node, aside=False):
            reasons = [*chosen_by(inner, cache)]
            if reasons:
                remedy = "put the cache inside, around each side: split({cached(a): 90, cached(b): 10}, …)"
                if all(reason.startswith("the header") for reason in reasons):
                    remedy += "; or name the header in vary="
                yield finding(endpoint, cache, inner, " and ".join(reasons), remedy)
            elif isinstance(inner, Fallback):
                reason = "how the first side fares at this moment"
                yield finding(endpoint, cache, inner, reason, "write fallback(cached(first), second)")


def finding(endpoint: Endpoint, cache: Cached, inner: Node, reason: str, remedy: str) -> Finding:
    """Say what gets mixed up."""
    kind = type(inner).__name__.lower()
    return Finding(
        "mixed answers",
        f"endpoint {endpoint.path}, cache {cache.label!r}",
        f"{kind} {inner.label!r} inside it chooses by {reason}, which is not in the cache's key: what one side said is "
        "given to rows that belong to another",
        remedy,
    )


def chosen_by(node: Node, cache: Cached) -> Iterator[str]:
    """Name what a node chooses by and the key of a cache does not hold."""
    if isinstance(node, Split):
        if node.by is None:
            yield "the prediction's id"
        for header in filter(None, [node.header]):
            if header not in cache.vary:
                yield f"the header {header!r}"
    if isinstance(node, Split | Switch):
        for source in node.sources:
            if not holds(cache, source):
                yield named(source)


def holds(cache: Cached, source: Source) -> bool:
    """Say whether rows of one key are alike in this; a function of a row is, where the whole row is the key."""
    if source.kind == "header":
        return source.name in cache.vary
    if source.kind == "field":
        return cache.key is None or callable(cache.key) or source.name in names_of(cache)
    return source.kind == "function" and cache.key is None


def names_of(cache: Cached) -> tuple[str, ...]:
    """Name the fields that a cache's key is made of."""
    return (cache.key,) if isinstance(cache.key, str) else tuple(cache.key)


def named(source: Source) -> str:
    """Say in words what a choice depends on."""
    words = {"header": f"the header {source.name!r}", "key": "the call's key", "time": f"the time's {source.name}"}
    return words.get(source.kind, f"{source.kind} {source.name!r}")
