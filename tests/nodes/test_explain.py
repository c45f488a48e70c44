"""What the switches and splits of a graph decide about an example row, and why."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np

from hansang import Call, split, switch
from hansang.nodes.explain import explain
from hansang.site import Site
from hansang.testing import Clock
from tests.nodes.ways import counted, side

A, B, C = side("a"), side("b"), side("c")
NIGHT = Clock(datetime(2026, 11, 24, 23, 15, tzinfo=UTC).timestamp())


def test_it_says_which_rule_fires_and_why() -> None:
    prices = split({A: 90, B: 10}, by="user_id", name="prices")
    graph = switch(
        {"time.hour < 6 or time.hour >= 22": prices, "header['x-tier'] == 'gold'": B},
        default=C,
        name="night",
        clock=NIGHT,
    )
    found = explain(graph >> side("after"), {"user_id": "kim"}, Call(headers={"x-tier": "gold"}))
    assert str(found) == (
        "switch night: time.hour < 6 or time.hour >= 22 -> prices\n"
        "  time.hour is 23\n"
        "  header:x-tier is 'gold'\n"
        "  time.hour < 6 or time.hour >= 22: true\n"
        "  header['x-tier'] == 'gold': true\n"
        "split prices: a\n"
        "  key 'kim', from user_id\n"
        "  a: share 90.0%, drew 0.1397\n"
        "  b: share 10.0%, drew 0.6450"
    )
    data = found.plain()
    assert json.loads(json.dumps(data)) == data
    first, second = data["decisions"]
    assert (first["kind"], first["node"], first["side"]) == ("switch", "night", "prices")
    assert first["values"] == {"time.hour": 23, "header:x-tier": "gold"}
    assert [each["true"] for each in first["conditions"]] == [True, True]
    assert (second["variant"], second["key"], second["shares"]) == ("a", "kim", {"a": 0.9, "b": 0.1})


def test_the_default_a_missing_value_and_a_row_without_a_branch_are_told() -> None:
    missing = explain(switch({"age < 18": A}, default=C), {})
    assert "age < 18: neither true nor false (a value is missing)" in str(missing)
    assert "nothing else fires: the default" in str(missing)
    lost = explain(switch("country", {"kr": A}, name="where"), {"country": "us"})
    assert str(lost).startswith("switch where: no branch\n  country is 'us'\n  country == 'kr': false\n  the row fails")
    assert lost.decisions[0].chosen is None
    odd = explain(switch({"n < 'a'": A}, default=C), {"n": 3})
    assert "neither true nor false (TypeError" in str(odd)


def test_a_function_is_asked_and_what_it_raises_is_told() -> None:
    graph = switch(lambda row: row["n"] > 1, {True: A, False: B})
    assert explain(graph, {"n": 3}).decisions[0].variant == "True"
    assert "KeyError" in str(explain(graph, {}))
    assert "KeyError" in str(explain(split({A: 1, B: 1}, by=lambda row: row["n"]), {}))


def test_a_forced_row_and_one_without_a_key_say_so() -> None:
    graph = split({A: 100, B: 0}, by="user_id", overrides={"tester": "b"}, header="x-variant")
    assert "forced to b by its key" in str(explain(graph, {"user_id": "tester"}))
    assert "forced to b by the header x-variant" in str(explain(graph, {}, Call(headers={"x-variant": "b"})))
    assert "no user_id in this row: assigned by the prediction's id, anew for each request" in str(explain(graph, {}))
    assert "no user_id in this row: assigned by the prediction's id" in str(explain(graph, {}, Call(id="id-1")))


def test_what_stands_behind_another_node_is_named_and_not_guessed() -> None:
    later = switch("score", {1: A}, default=split({A: 1, B: 1}, name="inner"), name="later")
    found = explain(side("model") >> later, {"score": 1})
    assert found.decisions == []
    assert list(found.behind) == ["later", "inner"]
    assert str(found) == "not known before the nodes ahead have answered: later, inner"
    assert str(explain(A, {})) == "this graph has no switch and no split"


def test_explaining_changes_neither_the_call_nor_the_counters() -> None:
    site = Site()
    graph = site.graph(switch("n", {1: split({A: 1, B: 1}, by="user_id")}, default=C))
    call = Call(id="id-1")
    found = explain(graph, {"n": 1, "user_id": "kim"}, call)
    assert len(found.decisions) == 2
    assert (call.key, call.tags, call.trail) == (None, None, [])
    assert counted(site, "hansang_switch_rows_total") == {}


def test_values_of_any_kind_become_plain_data() -> None:
    row: dict[str, Any] = {"image": np.zeros((2, 2)), "who": object()}
    data = explain(switch({"image == 1 or who == 2": A}, default=C), row).plain()
    assert json.dumps(data)
