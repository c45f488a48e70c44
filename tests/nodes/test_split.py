"""Split: sticky by a key that is found and recorded, forced for testers, the same online and offline."""

from __future__ import annotations

import asyncio
import enum
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from hansang import Batch, Call, Model, Service, UsageError, split
from hansang.errors import ModelFailed, SchemaError
from hansang.nodes.assign.keys import content, key_text
from hansang.record.read import connect
from hansang.site import Site
from hansang.testing import on_loop
from tests.nodes.ways import calls, counted, side, told, with_headers

A, B, C = side("a"), side("b"), side("c")
USERS = [f"user-{number}" for number in range(50)]


class Visit(BaseModel):
    user_id: str
    amount: float = 0.0


class Team(enum.Enum):
    RED = "red"


async def answers(node: Any, rows: list[Any], made: list[Call] | None = None) -> list[Any]:
    return [told(row) for row in (await node(Batch.of(rows, made))).rows]


EXPECTED = asyncio.run(answers(split({A: 50, B: 50}, by="user_id"), [{"user_id": user} for user in USERS]))


@on_loop
async def test_a_user_goes_to_one_side_however_the_key_comes() -> None:
    fields = split({A: 50, B: 50}, by="user_id")
    assert set(EXPECTED) == {"a", "b"}
    assert await answers(fields, [Visit(user_id=user) for user in USERS]) == EXPECTED
    assert await answers(fields, [{"user_id": user} for user in USERS], calls(50)) == EXPECTED
    headers = with_headers(*({"x-user": user} for user in USERS))
    assert await answers(split({A: 50, B: 50}, by="header:X-User"), [{}] * 50, headers) == EXPECTED
    keyed = [Call(key=user) for user in USERS]
    assert await answers(split({A: 50, B: 50}, by="key"), [{}] * 50, keyed) == EXPECTED
    function = split({A: 50, B: 50}, by=lambda row: row["user"]["id"])
    assert await answers(function, [{"user": {"id": user}} for user in USERS]) == EXPECTED


@on_loop
async def test_the_key_is_written_into_the_call_unless_there_is_one() -> None:
    made = [Call(), Call(key="first"), Call()]
    await split({A: 50, B: 50}, by="user_id")(Batch.of([{"user_id": "kim"}, {"user_id": "lee"}, {}], made))
    assert [call.key for call in made] == ["kim", "first", None]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("7", "7"),
        (7, "7"),
        (7.0, "7"),
        (np.int64(7), "7"),
        (7.5, "7.5"),
        (True, "True"),
        (Team.RED, "red"),
        ("", None),
        (None, None),
        (float("nan"), None),
    ],
)
def test_a_key_is_text_and_one_number_is_one_key(value: Any, text: str | None) -> None:
    assert key_text(value) == text


@on_loop
async def test_rows_without_a_key_are_assigned_by_their_prediction_and_counted() -> None:
    site = Site()
    graph = site.graph(split({A: 50, B: 50}, by="user_id"))
    ids = [Call(id=user) for user in USERS]
    assert await answers(graph, [{"user_id": None}] * 50, ids) == EXPECTED
    assert counted(site, "hansang_split_keyless_rows_total") == {"": 50}
    rows = [Call(id="one", row=number) for number in range(200)]
    assert set(await answers(split({A: 50, B: 50}), [{}] * 200, rows)) == {"a", "b"}


def test_rows_without_a_key_and_without_an_id_are_assigned_by_their_content() -> None:
    row = {"n": 1, "tags": {"x", "y", "z"}, "raw": b"\xff", "array": np.arange(3)}
    code = (
        "import numpy as np; from hansang.nodes.assign.keys import content; "
        "print(content({'n': 1, 'tags': {'z', 'y', 'x'}, 'raw': b'\\xff', 'array': np.arange(3)}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout.strip() == content(row)
    assert content({**row, "n": 2}) != content(row)


@on_loop
async def test_an_override_puts_a_key_on_its_side_and_is_recorded() -> None:
    graph = split({A: 100, B: 0}, by="user_id", overrides={"tester-7": "b"})
    made = calls(2)
    assert await answers(graph, [{"user_id": "tester-7"}, {"user_id": "kim"}], made) == ["b", "a"]
    assert [call.tags for call in made] == [{"split.forced": "override"}, None]


@on_loop
async def test_a_header_names_a_side_before_anything_else_and_an_unknown_one_is_ignored() -> None:
    graph = split({A: 100, B: 0}, by="user_id", overrides={"tester-7": "b"}, header="X-Variant")
    made = with_headers({"x-variant": "b"}, {"x-variant": "zzz"}, {}, {"x-variant": "a"})
    rows = [{"user_id": user} for user in ("kim", "kim", "kim", "tester-7")]
    assert await answers(graph, rows, made) == ["b", "a", "a", "a"]
    assert [call.tags for call in made] == [
        {"split.forced": "header"},
        None,
        None,
        {"split.forced": "header"},
    ]


@on_loop
async def test_a_header_forces_nothing_unless_it_is_asked_for() -> None:
    graph = split({A: 100, B: 0}, by="user_id")
    assert await answers(graph, [{"user_id": "kim"}], with_headers({"x-variant": "b"})) == ["a"]


@on_loop
async def test_a_function_that_raises_fails_its_row_alone() -> None:
    graph = split({A: 100, B: 0}, by=lambda row: row["user"])
    found = (await graph(Batch.of([{"user": "kim"}, {}, {"user": "lee"}], calls(3)))).rows
    assert (found[0], found[2]) == ("a", "a")
    assert isinstance(found[1], ModelFailed)
    assert "KeyError" in str(found[1])


@on_loop
async def test_rows_say_in_their_trail_where_they_went_and_share_the_step() -> None:
    site = Site()
    graph = site.graph(split({"champion": (A, 50), "challenger": (B, 50)}, by="user_id", name="prices"))
    made = calls(50)
    found = await answers(graph, [{"user_id": user} for user in USERS], made)
    labels = {"a": "champion", "b": "challenger"}
    assert [(call.trail[0].node, call.trail[0].variant) for call in made] == [("prices", labels[x]) for x in found]
    assert len({id(call.trail[0]) for call in made}) == 2
    assert counted(site, "hansang_split_rows_total") == {labels[x]: found.count(x) for x in "ab"}


rows = st.lists(
    st.fixed_dictionaries({"user_id": st.sampled_from(["", "kim", "lee", "park", "한"]), "n": st.integers(0, 9)}),
    min_size=1,
    max_size=40,
)


@settings(deadline=None)
@given(rows=rows, by=st.sampled_from([None, "user_id", "n"]))
def test_columns_are_split_as_their_rows_are_and_a_batch_as_its_rows_one_by_one(
    rows: list[dict[str, Any]], by: str | None
) -> None:
    graph = split({A: 50, B: 30, C: 20}, by=by, overrides={"kim": "c"} if by else None)
    columns = {"user_id": np.array([row["user_id"] for row in rows], object), "n": np.array([row["n"] for row in rows])}

    async def main() -> None:
        offline = (await graph(Batch.of_columns(columns))).rows
        assert offline == await answers(graph, rows)
        assert offline == [(await answers(graph, [row]))[0] for row in rows]

    asyncio.run(main())


@on_loop
async def test_the_sides_of_columns_have_trails_of_their_own() -> None:
    seen: dict[str, list[str]] = {}

    def look(batch: Batch) -> list[int]:
        seen["b"] = [step.variant for step in batch.calls[0].trail]
        return [0] * len(batch)

    graph = split({"a": (A, 50), "b": (look, 50)}, by="user_id")
    await graph(Batch.of_columns({"user_id": np.array(USERS, object)}))
    assert seen["b"] == ["b"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: split({}), "has no sides; give {node: weight, node: weight}"),
        (lambda: split({A: -1, B: 2}), "the weight of 'a' is -1; give a number, 0 or more"),
        (lambda: split({A: float("inf"), B: 2}), "the weight of 'a' is inf"),
        (lambda: split({A: True, B: 2}), "the weight of 'a' is True"),
        (lambda: split({A: 0, B: 0}), "all weights are 0; give one side more"),
        (lambda: split({A: 1, side("a"): 2}), "two sides are called 'a'; give labels=('champion', 'challenger')"),
        (lambda: split({A: 1, B: 2}, labels=("x",)), "1 labels for 2 sides; give one a side"),
        (lambda: split({A: 1, B: 2}, labels=("x", "y,z")), "'y,z' is not a label; give text on one line"),
        (lambda: split({"x": A, "y": B}), "the side 'x' is Function"),
        (lambda: split({"x": (A, 1), B: 2}), "label all sides in one way"),
        (lambda: split({"x": (A, 1)}, labels=("y",)), "label all sides in one way"),
        (lambda: split({7: 1}), "7 is not a node"),
        (lambda: split({A: 1}, by="u", overrides={"kim": "z"}), "the override of 'kim' names 'z'; the sides are: a"),
        (lambda: split({A: 1}, overrides={"kim": "a"}), "has overrides by key, but no key; say with by= where it is"),
        (lambda: split({A: 1}, by="time.hour"), "cannot keep rows together by 'time.hour'"),
        (lambda: split({A: 1}, by=""), "'' is no rule; give a field's name, 'header:NAME', 'key' or a function"),
        (lambda: split({A: 1}, by="header:"), "'header:' names no header"),
        (lambda: split({A: 1}, by=asyncio.sleep), "sleep is async; a rule decides at once"),
    ],
)
def test_what_makes_no_split_is_said_when_it_is_written(make: Any, words: str) -> None:
    with pytest.raises(UsageError) as error:
        make()
    assert words in str(error.value)


def test_the_repr_tells_the_whole_configuration() -> None:
    text = repr(split({A: 90, B: 10}, by="user_id", overrides={"tester": "b"}, header="x-variant"))
    for part in ("weights={'a': 90.0, 'b': 10.0}", "by='user_id'", "overrides={'tester': 'b'}", "header='x-variant'"):
        assert part in text


def test_a_field_that_the_rows_do_not_have_is_found_when_the_service_is_built() -> None:
    service = Service("shop", split({A: 90, B: 10}, by="user"), input=Visit)
    with pytest.raises(SchemaError, match=r"split 'split' looks at the field 'user', .* did you mean 'user_id'\?"):
        service.load()
    Service("shop", split({A: 90, B: 10}, by="user"), input=dict[str, Any]).load()
    Service("shop", side("first") >> split({A: 90, B: 10}, by="user"), input=Visit).load()


def test_an_answer_and_its_record_say_which_side_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def price(batch: Batch) -> list[float]:
        return [row.amount for row in batch.rows]

    sides = {"champion": (Model(price, name="one"), 50), "challenger": (Model(price, name="two"), 50)}
    service = Service("shop", split(sides, by="user_id", header="x-variant"), input=Visit)
    variants = asyncio.run(asked(service))
    assert variants["user-0"] == variants["again"]
    assert variants["forced"] == "challenger"
    rows = connect(tmp_path / ".hansang/records").sql("select key, variant, model, tags from predictions").fetchall()
    assert len(rows) == 22
    for key, variant, model, _ in rows:
        assert variant == variants[key]
        assert model == {"champion": "one", "challenger": "two"}[variant]
    assert [tags for *_, tags in rows if tags] == ['{"split.forced":"header"}']


async def asked(service: Service) -> dict[str, str]:
    """Ask for some users; gives the variant of each by the header of its answer."""
    transport = httpx.ASGITransport(service.app)
    found = {}
    async with service.lifespan(service.app), httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for user in USERS[:20]:
            answer = await client.post("/predict", json={"user_id": user, "amount": 1})
            assert answer.status_code == 200
            found[user] = answer.headers["x-variant"]
        again = await client.post("/predict", json={"user_id": USERS[0]})
        found["again"] = again.headers["x-variant"]
        forced = await client.post("/predict", json={"user_id": "forced"}, headers={"X-Variant": "challenger"})
        found["forced"] = forced.headers["x-variant"]
    return found
