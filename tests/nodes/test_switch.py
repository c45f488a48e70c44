"""Switch: a field, a header, the key, the time or a function chooses, and every row has an answer or a clear error."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NotRequired

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from typing_extensions import TypedDict

from hansang import Batch, Call, Service, UsageError, chain, node, split, switch
from hansang.errors import InvalidRow, ModelFailed, SchemaError
from hansang.site import Site
from hansang.testing import Clock, on_loop
from tests.nodes.ways import calls, counted, side, told, with_headers

A, B, C = side("a"), side("b"), side("c")


class Country(enum.Enum):
    KOREA = "kr"
    JAPAN = "jp"


class Order(BaseModel):
    country: Country
    size: Literal["s", "m", "l"] = "s"
    gift: bool | None = None
    amount: float = 0.0


class Loose(TypedDict):
    gift: NotRequired[bool]


def bad(value: Any) -> Any:
    """What the type checker would not let pass."""
    return value


async def answers(graph: Any, rows: list[Any], made: list[Call] | None = None) -> list[Any]:
    return [told(row) for row in (await graph(Batch.of(rows, made))).rows]


@on_loop
async def test_a_field_chooses_and_the_default_takes_the_rest() -> None:
    graph = switch("country", {"kr": A, "jp": B}, default=C)
    rows = [{"country": "kr"}, {"country": "us"}, {"country": "jp"}, {}, {"country": None}, {"country": ["kr"]}]
    assert await answers(graph, rows) == ["a", "c", "b", "c", "c", "c"]
    assert await answers(graph, [Order(country=Country.JAPAN), Order(country=Country.KOREA)]) == ["b", "a"]
    assert await answers(switch("country", {Country.KOREA: A}, default=C), [{"country": "kr"}]) == ["a"]
    assert await answers(switch("gift", {True: A, None: B}, default=C), [{"gift": True}, {}, {"gift": False}]) == [
        "a",
        "b",
        "c",
    ]


@on_loop
async def test_a_header_and_the_key_choose() -> None:
    graph = switch("header:X-Tier", {"gold": A}, default=C)
    assert await answers(graph, [{}, {}], with_headers({"x-tier": "gold"}, {})) == ["a", "c"]
    assert await answers(graph, [{}]) == ["c"]
    keyed = [Call(key="kim"), Call()]
    assert await answers(switch("key", {"kim": A}, default=C), [{}, {}], keyed) == ["a", "c"]
    assert await answers(switch("field:key", {"x": A}, default=C), [{"key": "x"}], keyed[:1]) == ["a"]


@on_loop
async def test_the_time_chooses_in_the_zone_that_is_asked_for() -> None:
    clock = Clock(datetime(2026, 11, 29, 22, 30, tzinfo=UTC).timestamp())  # a Sunday; Monday 7:30 in Seoul
    assert await answers(switch("time.hour", {22: A}, default=C, clock=clock), [{}]) == ["a"]
    assert await answers(switch("time.hour", {7: A}, default=C, clock=clock, tz="Asia/Seoul"), [{}]) == ["a"]
    assert await answers(switch("time.weekday", {6: A}, default=C, clock=clock), [{}]) == ["a"]
    assert await answers(switch("time.weekday", {0: A}, default=C, clock=clock, tz="Asia/Seoul"), [{}]) == ["a"]
    night = switch({"time.hour >= 22 and time.date == '2026-11-29'": A}, default=C, clock=clock)
    assert await answers(night, [{}, {}]) == ["a", "a"]
    clock.advance(3600)
    assert await answers(switch("time.hour", {23: A}, default=C, clock=clock), [{}]) == ["a"]
    clock.advance(3600)
    assert await answers(night, [{}]) == ["c"]


@on_loop
async def test_a_function_chooses_and_one_that_raises_fails_its_row_alone() -> None:
    graph = switch(lambda row: row["amount"] > 100, {True: A, False: B})
    found = (await graph(Batch.of([{"amount": 200}, {}, {"amount": 1}]))).rows
    assert (found[0], found[2]) == ("a", "b")
    assert isinstance(found[1], ModelFailed)
    assert "KeyError" in str(found[1])

    def refuse(row: Mapping[str, Any]) -> str:
        raise InvalidRow("not on Sundays")

    assert await answers(switch(refuse, {"x": A}, default=C), [{}]) == ["InvalidRow: not on Sundays"]


@on_loop
async def test_a_row_without_a_branch_says_what_was_expected_and_not_what_came() -> None:
    graph = switch("country", {"kr": A, "jp": B}, name="where")
    found = (await graph(Batch.of([{"country": "secret"}, {"country": "kr"}, {}], calls(3)))).rows
    assert found[1] == "a"
    assert isinstance(found[0], InvalidRow)
    assert found[0].errors == [
        {
            "loc": ["country"],
            "type": "no_branch",
            "msg": "Input should be one of 'kr', 'jp'; this value is none of them",
        }
    ]
    assert isinstance(found[2], InvalidRow)
    assert found[2].errors is not None
    assert found[2].errors[0]["msg"].endswith("it is missing")
    assert "secret" not in str(found[0])
    header = (await switch("header:x-tier", {"gold": A})(Batch.of([{}], calls(1)))).rows[0]
    assert header.errors[0]["loc"] == ["header", "x-tier"]


@on_loop
async def test_conditions_fire_in_their_order_and_may_have_names() -> None:
    graph = switch({"n > 10": A, "n > 5": B}, default=C)
    made = calls(3)
    assert await answers(graph, [{"n": 20}, {"n": 7}, {"n": 1}], made) == ["a", "b", "c"]
    assert [call.trail[0].variant for call in made] == ["n > 10", "n > 5", "default"]
    named = switch({"large": ("n > 10", A), "middle": ("n > 5", B)}, default=C)
    made = calls(3)
    assert await answers(named, [{"n": 20}, {"n": 7}, {"n": 1}], made) == ["a", "b", "c"]
    assert [call.trail[0].variant for call in made] == ["large", "middle", "default"]


@on_loop
async def test_rows_are_counted_by_their_branch_and_share_its_step() -> None:
    site = Site()
    graph = site.graph(switch("country", {"kr": A, Country.JAPAN: B}, default=C, name="where"))
    made = calls(4)
    await answers(graph, [{"country": name} for name in ("kr", "jp", "kr", "us")], made)
    assert counted(site, "hansang_switch_rows_total") == {"kr": 2, "jp": 1, "default": 1}
    assert made[0].trail[0] is made[2].trail[0]
    assert {(call.trail[0].node, call.trail[0].variant) for call in made} == {
        ("where", "kr"),
        ("where", "jp"),
        ("where", "default"),
    }


def test_a_variant_stands_on_one_line_whatever_the_key_is() -> None:
    graph = switch("country", {"a\r\nx-evil: 1": A}, default=C)
    assert [each["variant"] for each in graph.table()] == ["a x-evil: 1", "default"]


def test_the_table_can_be_printed() -> None:
    assert switch("country", {"kr": A, Country.JAPAN: B}, default=C).table() == [
        {"condition": "country == 'kr'", "variant": "kr", "node": "a", "default": False},
        {"condition": "country == 'jp'", "variant": "jp", "node": "b", "default": False},
        {"condition": "otherwise", "variant": "default", "node": "c", "default": True},
    ]
    assert switch({"old": ("age > 60", A)}, default=C).table()[0]["condition"] == "age > 60"
    assert len(switch("country", {"kr": A}).table()) == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: switch("country", {}), "has no table; give {value: node}"),
        (lambda: switch("country"), "has no table; give {value: node}"),
        (lambda: switch({}, default=A), "has no conditions"),
        (lambda: switch({"n > 1": A}), "needs default=: no condition may be true"),
        (lambda: switch({"n > 1": A}, {"x": B}, default=C), "leave the table out"),
        (lambda: switch(bad({7: A}), default=C), "7 is no condition; give text such as 'age < 18'"),
        (lambda: switch({"n > 1": A, "n >  1": B}, default=C), "'n > 1' stands there twice"),
        (lambda: switch("country", {"kr": 7}), "7 is not a node"),
        (lambda: switch("country", {"kr": A, Country.KOREA: B}), "two keys of the table mean the same value"),
        (lambda: switch("header:x-tier", {1: A}), "header:x-tier is text, never 1; write the key as text"),
        (lambda: switch("key", {1: A}), "key is text, never 1"),
        (lambda: switch("time.hour", {24: A}), "time.hour is 0 to 23, never 24"),
        (lambda: switch("time.weekday", {"mon": A}), "time.weekday is 0 to 6, never 'mon'"),
        (lambda: switch("time.second", {1: A}), "the time has no 'second'; it has time.year, time.month"),
        (lambda: switch("time.hour", {1: A}, tz="Seoul"), "no time zone 'Seoul'; give an IANA name"),
        (lambda: switch(bad(7), {1: A}), "7 is no rule; give a field's name, 'header:NAME', 'key' or a function"),
        (lambda: switch(asyncio.sleep, {1: A}), "sleep is async; a rule decides at once"),
    ],
)
def test_what_makes_no_switch_is_said_when_it_is_written(make: Any, words: str) -> None:
    with pytest.raises(UsageError) as error:
        make()
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("graph", "schema"),
    [
        (switch("size", {"s": A, "m": B, "l": C}), Order),
        (switch("country", {Country.KOREA: A, "jp": B}), Order),
        (switch("gift", {True: A, False: B, None: C}), Order),
        (switch("gift", {True: A, False: B, None: C}), Loose),
        (switch("size", {"s": A}, default=C), Order),
        (switch("amount", {1.0: A}, default=C), Order),
        (switch("time.weekday", dict.fromkeys(range(7), A)), Order),
        (split({"x": (switch("size", {"s": A, "m": B, "l": C}), 1)}), Order),
        (switch("gift", {True: switch("size", {"s": A, "m": B, "l": C})}, default=C), Order),
        (switch("size", {"s": A, "m": B, "l": C}) >> side("next"), Order),
        (switch({"amount > 3 and country is not None": A}, default=C), Order),
        (switch("anything", {1: A}, default=C), dict[str, Any]),
        (side("first") >> switch("made", {1: A}, default=C), Order),
    ],
)
def test_a_complete_table_needs_no_default(graph: Any, schema: Any) -> None:
    Service("shop", graph, input=schema).load()


@pytest.mark.parametrize(
    ("graph", "schema", "words"),
    [
        (switch("size", {"s": A, "m": B}), Order, "has no branch for size = 'l'; add it, or default="),
        (switch("gift", {True: A, False: B}), Order, "has no branch for gift = None"),
        (switch("gift", {True: A, False: B}), Loose, "has no branch for gift = None"),
        (switch("amount", {1.0: A}), Order, "needs default=: nobody knows all values of amount"),
        (switch("header:x", {"a": A}), Order, "needs default=: nobody knows all values of header:x"),
        (switch(lambda row: True, {True: A, False: B}), Order, "needs default="),
        (switch("size", {"s": A, "xl": B}, default=C), Order, "size is never 'xl'; it is one of 'l', 'm', 's'"),
        (switch("contry", {"kr": A}, default=C), Order, "looks at the field 'contry', which the rows do not have"),
        (switch({"hour > 3": A}, default=C), Order, "for the time give time.hour"),
        (side("first") >> switch("size", {"s": A, "m": B, "l": C}), Order, "needs default="),
        (split({"x": (switch("size", {"s": A}), 1)}), Order, "has no branch for size"),
        (switch("anything", {1: A}), dict[str, Any], "needs default="),
    ],
)
def test_a_rule_that_rows_cannot_follow_is_found_when_the_service_is_built(graph: Any, schema: Any, words: str) -> None:
    with pytest.raises(SchemaError) as error:
        Service("shop", graph, input=schema).load()
    assert words in str(error.value)


def test_a_rule_in_a_node_that_may_change_its_rows_is_taken_for_one_that_is_not_first() -> None:
    from dataclasses import dataclass

    from hansang import Node

    @dataclass(frozen=True, slots=True, eq=False)
    class Adds(Node):
        inner: Node

        async def __call__(self, batch: Batch) -> Batch:
            return await self.inner(batch.replace([{"made": 1} for _ in batch.rows]))

    Service("shop", Adds(switch("made", {1: A}, default=C)), input=Order).load()
    with pytest.raises(SchemaError, match="needs default="):
        Service("shop", Adds(switch("size", {"s": A, "m": B, "l": C})), input=Order).load()


rows = st.lists(
    st.fixed_dictionaries({"n": st.none() | st.integers(0, 3), "s": st.sampled_from(["x", "y", "한", ""])}),
    min_size=1,
    max_size=30,
)
graphs = st.sampled_from(
    [
        switch("n", {0: A, 1: B}, default=C),
        switch("n", {0: A, None: B}),
        switch("s", {"x": A, "한": B}),
        switch(lambda row: row["n"] + 1, {1: A, 2: B}, default=C),
        switch({"n > 1 and s != 'x'": A, "not n > 1": B}, default=C),
        switch("s", {"x": split({"p": (A, 1), "q": (B, 1)}, by=lambda row: f"n{row['n']}")}, default=C),
        switch("gone", {1: A}, default=switch("n", {2: B}, default=C)),
    ]
)


@settings(deadline=None)
@given(graph=graphs, rows=rows)
def test_columns_are_switched_as_their_rows_are_and_a_batch_as_its_rows_one_by_one(
    graph: Any, rows: list[dict[str, Any]]
) -> None:
    columns = {name: np.array([row[name] for row in rows], object) for name in ("n", "s")}

    async def main() -> None:
        online = await answers(graph, rows, calls(len(rows)))
        assert [told(row) for row in (await graph(Batch.of_columns(columns))).rows] == online
        alone = [(await answers(graph, [row], [Call(id=f"id-{place}")]))[0] for place, row in enumerate(rows)]
        assert alone == online

    asyncio.run(main())


@on_loop
async def test_an_empty_batch_stays_empty() -> None:
    for graph in (switch("n", {1: A}, default=C), switch({"n > 1": A}, default=C), split({A: 1, B: 1}, by="n")):
        assert (await graph(Batch.of([]))).rows == []


def test_over_http_the_branch_is_in_the_header_and_a_missing_one_is_422() -> None:
    @node
    def cheap(batch: Batch) -> list[dict[str, float]]:
        return [{"price": 1.0} for _ in batch.rows]

    graph = switch("header:x-tier", {"gold": cheap, "silver": chain(cheap)}, name="tier")
    service = Service("shop", switch("size", {"s": cheap}, default=graph_with_default(graph)), input=Order)

    async def main() -> tuple[httpx.Response, ...]:
        transport = httpx.ASGITransport(service.app)
        client = httpx.AsyncClient(transport=transport, base_url="http://test")
        async with service.lifespan(service.app), client:
            small = await client.post("/predict", json={"country": "kr"})
            row = {"country": "kr", "size": "m"}
            gold = await client.post("/predict", json=row, headers={"x-tier": "gold"})
            none = await client.post("/predict", json=row)
            return small, gold, none

    small, gold, none = asyncio.run(main())
    assert (small.status_code, small.headers["x-variant"]) == (200, "s")
    assert (gold.status_code, gold.headers["x-variant"]) == (200, "default,gold")
    assert none.status_code == 422
    assert none.json()["errors"][0]["loc"] == ["header", "x-tier"]


def graph_with_default(graph: Any) -> Any:
    """Give a switch without a default where nobody checks it: in a node of one's own it is not known to be first."""
    return node(graph.__call__)
