"""Conditions as text: what they mean, what missing values do, and what cannot stand there."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from hansang import Batch, Call, UsageError, switch
from hansang.nodes.rules.conditions import MOST
from tests.nodes.ways import side, with_headers

YES, NO = side("yes"), side("no")


def fires(condition: str, row: Any, call: Call | None = None, **options: Any) -> bool:
    """Say whether a condition is true for a row; alone, and beside another row that cannot be compared."""
    graph = switch({condition: YES}, default=NO, **options)
    made = call or Call(headers={"x-tier": "gold"}, key="kim")

    async def main() -> bool:
        alone = (await graph(Batch.of([row], [made]))).rows
        beside = (await graph(Batch.of([row, {"n": {}, "text": 7}], [made, Call()]))).rows
        assert beside[0] == alone[0]
        return bool(alone[0] == "yes")

    return asyncio.run(main())


class Reading(BaseModel):
    n: int
    text: str | None = None


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("n == 3", True),
        ("n < 3 or n >= 3", True),
        ("n < 3 and n >= 3", False),
        ("not n < 3", True),
        ("1 < n < 5", True),
        ("1 < n < 3", False),
        ("n in (1, 2, 3)", True),
        ("n not in [1, 2, 3]", False),
        ("text in {'a', 'b'}", True),
        ("'a' in text", True),
        ("n * 2 + 1 == 7", True),
        ("n % 2 == 1", True),
        ("-n == -3", True),
        ("n // 2 == 1 and n / 2 == 1.5", True),
        ("flag", True),
        ("not flag", False),
        ("header['x-tier'] == 'gold'", True),
        ("header['X-Tier'] == 'gold'", True),
        ("key == 'kim'", True),
        ("row['petal length (cm)'] > 2", True),
        ("row['key'] == 'own'", True),
        ("나이 >= 18 and text == 'a'", True),
        ("True", True),
        ("False", False),
        ("n < 1e999", True),
        (" n == 3 ", True),
    ],
)
def test_a_condition_means_what_python_means(condition: str, expected: bool) -> None:
    row = {"n": 3, "text": "a", "flag": True, "petal length (cm)": 2.5, "key": "own", "나이": 20}
    assert fires(condition, row) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("gone == 3", False),
        ("gone != 3", False),
        ("not gone == 3", False),
        ("gone", False),
        ("not gone", False),
        ("gone < 3 or n == 3", True),
        ("n == 3 or gone < 3", True),
        ("gone < 3 and n == 3", False),
        ("not (gone < 3 and n == 4)", True),
        ("gone in (1, 2)", False),
        ("gone not in (1, 2)", False),
        ("gone + 1 > 0", False),
        ("gone is None", True),
        ("gone == None", True),
        ("not gone is not None", True),
        ("gone is not None", False),
        ("n is None", False),
        ("n is not None and n == 3", True),
        ("gone is None or gone == 3", True),
        ("header['x-none'] != 'gold'", False),
        ("null == 3", False),
    ],
)
def test_a_missing_value_makes_a_comparison_neither_true_nor_false(condition: str, expected: bool) -> None:
    assert fires(condition, {"n": 3, "null": None}) is expected


@pytest.mark.parametrize(
    "condition",
    [
        "n < 'a'",
        "not n < 'a'",
        "n / 0 > 1",
        "n % 0 == 1",
        "text * 2 == 'aa'",
        "text + 1 == 2",
        "array < 3",
        "'a' in n",
    ],
)
def test_what_cannot_be_evaluated_does_not_fire_and_fails_nobody(condition: str) -> None:
    assert not fires(condition, {"n": 3, "text": "a", "array": np.arange(3)})


def test_a_text_cannot_be_made_long_by_a_row() -> None:
    assert not fires("text * n == 'x'", {"text": "x" * 1000, "n": 10**12})
    assert not fires("text % n == 'x'", {"text": "%1000000000d", "n": 1})


def test_rows_may_be_models_and_their_fields_may_be_missing_from_some() -> None:
    assert fires("n == 3 and text is None", Reading(n=3))
    assert fires("n == 3", Reading(n=3))


@pytest.mark.parametrize(
    ("condition", "why", "place"),
    [
        ("len(text) > 3", "calls are not allowed; give a function of the row", "^^^^^^^^^"),
        ("a.b == 1", "this is not allowed; what there is: fields", "^^^"),
        ("n.__class__ == 1", "this is not allowed", "^^^^^^^^^^^"),
        ("__import__ == 1", "this is not allowed", "^^^^^^^^^^"),
        ("_n == 1", "this is not allowed", "^^"),
        ("row['__class__'] == 1", "this is not allowed", "^^^^^^^^^^^^^^^^"),
        ("이름 == 1 and open('x')", "this is not a condition", " " * 12 + "^^^^^^^^^"),
        ("n == 3 +", "invalid syntax", "        ^"),
        ("time.second == 1", "the time has no 'second'; it has time.year", "^^^^^^^^^^^"),
        ("time == 3", "write time.hour, or row['time']", "^^^^"),
        ("header == 3", "write header['x-tier'], or row['header']", "^^^^^^"),
        ("n == (1, 2)", "a list stands only after 'in'", "     ^^^^^^"),
        ("n in ()", "the list is empty", "     ^^"),
        ("n in (1, m)", "only constants stand in a list", "         ^"),
        ("n in (1, None)", "None is compared only by 'is None'", "         ^^^^"),
        ("n < None", "None is compared only by 'is None'", "    ^^^^"),
        ("(n < 1) == True", "a condition is not a value", " ^^^^^"),
        ("n is 3", "'is' asks for None only", "^^^^^^"),
        ("n + 'a' > 2", "arithmetic is for numbers", "    ^^^"),
        ("n ** 9 > 2", "this is not allowed here", "^^^^^^"),
        ("n == b'a'", "this is not allowed here", "     ^^^^"),
        ("n == 1j", "this is not allowed here", "     ^^"),
        ("f'{n}' == 'a'", "this is not allowed here", "^^^^^^"),
        ("n[0] == 1", "this is not allowed", "^^^^"),
        ("lambda: 1", "this is not a condition", "^^^^^^^^^"),
        ("[x for x in n]", "this is not a condition", "^^^^^^^^^^^^^^"),
        ("n if n else n", "this is not a condition", "^^^^^^^^^^^^^"),
        ("(m := 3) > 2", "this is not allowed here", " ^^^^^^"),
        ("3", "this is not a condition; compare it with something", "^"),
        ("None", "this is not a condition", "^^^^"),
        ("n == 1; n", "invalid syntax", "      ^"),
    ],
)
def test_a_bad_condition_is_refused_when_it_is_written_and_the_place_is_shown(
    condition: str, why: str, place: str
) -> None:
    with pytest.raises(UsageError) as error:
        switch({condition: YES}, default=NO, name="tier")
    first, text, mark = str(error.value).split("\n")
    assert first.startswith("switch 'tier': a condition cannot be used: ")
    assert why in first
    assert text == f"    {condition}"
    assert mark.startswith(f"    {place}")


@pytest.mark.parametrize(
    "condition", ["not " * 5000 + "n", "(" * 300 + "n" + ")" * 300, "n == 1\0", "n <\n" * 100, "", " "]
)
def test_whatever_the_text_is_it_is_an_error_in_short(condition: str) -> None:
    with pytest.raises(UsageError) as error:
        switch({condition: YES}, default=NO)
    assert len(str(error.value)) < 400


def test_the_most_conditions_work_and_one_more_is_refused() -> None:
    graph = switch({f"n == {number}": YES for number in range(MOST)}, default=NO)
    assert asyncio.run(graph(Batch.of([{"n": MOST - 1}, {"n": MOST}]))).rows == ["yes", "no"]
    with pytest.raises(UsageError, match="give a table, or a function of the row"):
        switch({f"n == {number}": YES for number in range(MOST + 1)}, default=NO)


# --- against a reading of its own: Kleene's logic of true, false and neither ---

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
}
NAMES = "abc"

leaves = st.tuples(st.just("compare"), st.sampled_from(NAMES), st.sampled_from(list(OPERATORS)), st.integers(0, 3))
trees: st.SearchStrategy[Any] = st.recursive(
    leaves
    | st.tuples(st.just("none"), st.sampled_from(NAMES), st.booleans())
    | st.tuples(st.just("bare"), st.sampled_from(NAMES)),
    lambda inner: (
        st.tuples(st.just("not"), inner)
        | st.tuples(st.just("and"), inner, inner)
        | st.tuples(st.just("or"), inner, inner)
    ),
    max_leaves=8,
)


def written(tree: Any) -> str:
    match tree:
        case ("compare", name, sign, value):
            return f"{name} {sign} {value}"
        case ("none", name, yes):
            return f"{name} is {'None' if yes else 'not None'}"
        case ("bare", name):
            return str(name)
        case ("not", inner):
            return f"not ({written(inner)})"
        case (word, left, right):
            return f"({written(left)}) {word} ({written(right)})"
    raise AssertionError(tree)


def truth(tree: Any, row: dict[str, int | None]) -> bool | None:
    match tree:
        case ("compare", name, sign, value):
            return None if row[name] is None else bool(OPERATORS[sign](row[name], value))
        case ("none", name, yes):
            return (row[name] is None) is yes
        case ("bare", name):
            return None if row[name] is None else bool(row[name])
        case ("not", inner):
            found = truth(inner, row)
            return None if found is None else not found
        case (word, left, right):
            pair = [truth(left, row), truth(right, row)]
            decisive = word == "or"
            return decisive if decisive in pair else None if None in pair else not decisive
    raise AssertionError(tree)


values = st.fixed_dictionaries({name: st.none() | st.integers(0, 3) for name in NAMES})


@settings(deadline=None, max_examples=200)
@given(conditions=st.lists(trees, min_size=1, max_size=4), rows=st.lists(values, min_size=1, max_size=8))
def test_the_first_condition_that_is_true_fires_and_columns_give_the_same(
    conditions: list[Any], rows: list[dict[str, int | None]]
) -> None:
    table = {f"{place}": (written(tree), side(str(place))) for place, tree in enumerate(conditions)}
    graph = switch(table, default=side("default"))
    expected = []
    for row in rows:
        places = [str(place) for place, tree in enumerate(conditions) if truth(tree, row) is True]
        expected.append(places[0] if places else "default")
    columns = {name: np.array([row[name] for row in rows], object) for name in NAMES}

    async def main() -> None:
        assert (await graph(Batch.of(rows))).rows == expected
        assert (await graph(Batch.of_columns(columns))).rows == expected
        assert (await graph(Batch.of(rows, with_headers(*({} for _ in rows))))).rows == expected

    asyncio.run(main())
    told = graph.explain(rows[0])
    assert told.variant == expected[0]
    assert [each["true"] for each in told.facts["conditions"]] == [truth(tree, rows[0]) for tree in conditions]
