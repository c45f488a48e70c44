"""A cache around a choice that its key does not hold is found, and one around a choice that it holds is not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from hansang import Batch, Service, cached, fallback, node, split, switch
from hansang.doctor.mixed import mixed_answers


class Row(BaseModel):
    user: str
    age: int


@node
def a(batch: Batch) -> list[float]:
    return [1.0] * len(batch)


@node
def b(batch: Batch) -> list[float]:
    return [2.0] * len(batch)


def found(graph: Any) -> list[str]:
    service = Service("shop", graph, input=Row, output=float)
    return [f"{each.evidence} -> {each.remedy}" for each in mixed_answers(service.endpoints[0])]


def sides(**options: Any) -> Any:
    return split({a: 1, b: 1}, **options)


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (cached(sides()), "chooses by the prediction's id"),
        (cached(sides(by="header:x-user")), "chooses by the header 'x-user'"),
        (cached(sides(by="key")), "chooses by the call's key"),
        (cached(sides(by="user"), key="age"), "chooses by field 'user'"),
        (cached(sides(by=lambda row: row.user), key=["age"]), "chooses by function"),
        (cached(sides(by="user", header="x-side")), "chooses by the header 'x-side'"),
        (cached(switch("time.hour", {9: a}, default=b)), "chooses by the time's hour"),
        (cached(a >> switch({"header['x-tier'] == 'gold'": a}, default=b)), "chooses by the header 'x-tier'"),
        (cached(fallback(a, b)), "chooses by how the first side fares"),
    ],
)
def test_a_choice_that_the_key_does_not_hold_is_found(graph: Any, reason: str) -> None:
    (said,) = found(graph)
    assert reason in said


def test_the_remedy_names_vary_only_where_it_helps() -> None:
    assert "vary=" in found(cached(sides(by="header:x-user")))[0]
    assert "vary=" not in found(cached(sides(by="key")))[0]


@pytest.mark.parametrize(
    "graph",
    [
        cached(a),
        cached(sides(by="user")),
        cached(sides(by="user"), key=["user", "age"]),
        cached(sides(by=lambda row: row.user)),
        cached(sides(by="header:X-User"), vary="X-User"),
        cached(switch({"age < 18": a}, default=b)),
        split({cached(a): 1, cached(b): 1}, labels=["a", "b"]),
        fallback(cached(a), b),
    ],
)
def test_a_choice_that_the_key_holds_is_left_in_peace(graph: Any) -> None:
    assert found(graph) == []
