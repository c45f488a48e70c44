"""What each policy leaves of a value, wherever in a schema it stands."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_serializer

from hansang.errors import SchemaError
from hansang.nodes.assign.keys import key_text
from hansang.record.plan import Keeper, is_declared, path_schema, plan_of, schemas_of
from hansang.record.policy import Drop, Hash, Keep, Mask, masked, secret_of, text_of

SECRET = secret_of("a secret that nobody guesses")


class Leaf(BaseModel):
    name: Annotated[str, Drop()]
    town: str = "t"


class Cat(BaseModel):
    kind: Literal["cat"]
    purrs: Annotated[str, Drop()]


class Dog(BaseModel):
    kind: Literal["dog"]
    barks: str


class Tree(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True)

    id: Annotated[int, Hash()] = Field(7, alias="theId")
    leaf: Leaf | None = None
    leaves: list[Leaf] = []
    whole: Annotated[Leaf | None, Drop()] = None
    pair: tuple[Annotated[str, Drop()], int] = ("p", 1)
    named: dict[str, Annotated[str, Mask(1)]] = {}
    texts: list[Annotated[str, Drop()]] = []
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    trees: list[Tree] = []
    shown: Annotated[str, Keep()] = "shown"
    written: Annotated[str, Drop()] = ""

    @field_serializer("written")
    def _write(self, value: str) -> str:
        return value.upper()


def kept(kind: Any, value: Any) -> Any:
    plan = plan_of(schemas_of(kind))
    assert plan is not None
    return json.loads(Keeper(plan, SECRET)(json.dumps(value).encode()))


def test_a_policy_holds_wherever_it_stands_in_a_schema() -> None:
    leaf = {"name": "secret", "town": "t"}
    inner = {"theId": 1, "leaves": [leaf], "written": "SECRET"}
    tree = {
        "theId": 7,
        "leaf": leaf,
        "leaves": [leaf, leaf],
        "whole": leaf,
        "pair": ["secret", 1],
        "named": {"a": "secret"},
        "texts": ["secret"],
        "pet": {"kind": "cat", "purrs": "secret"},
        "trees": [inner, {"trees": [inner]}],
        "shown": "shown",
        "written": "SECRET",
    }
    left = kept(Tree, tree)
    assert "secret" not in json.dumps(left).lower()
    assert left["theId"] == SECRET.hash(7) and left["trees"][1]["trees"][0]["theId"] == SECRET.hash(1)
    assert (left["leaf"], left["leaves"], left["pair"]) == ({"town": "t"}, [{"town": "t"}] * 2, [None, 1])
    assert (left["named"], left["texts"], left["pet"]) == ({"a": "*****t"}, [], {"kind": "cat"})
    assert "whole" not in left and "written" not in left and left["shown"] == "shown"


def test_a_field_goes_by_its_alias_and_by_its_name() -> None:
    assert kept(Tree, {"id": 7, "theId": 7}) == {"id": SECRET.hash(7), "theId": SECRET.hash(7)}


def test_a_schema_without_policies_has_no_plan() -> None:
    class Plain(BaseModel):
        x: Annotated[int, Keep()]
        others: dict[str, list[int]] = {}

    assert plan_of(schemas_of(Plain)) is None


def test_the_strictest_policy_counts() -> None:
    plan = plan_of(
        [*schemas_of(Leaf), path_schema("town", "hash"), path_schema("town", "mask"), path_schema("name", "keep")]
    )
    assert plan is not None
    assert json.loads(Keeper(plan, SECRET)(b'{"name":"n","town":"t"}')) == {"town": SECRET.hash("t")}


def test_a_path_goes_through_arrays_and_must_exist() -> None:
    schemas = schemas_of(Tree)
    plan = plan_of([path_schema("trees.leaf.town", "drop")])
    assert plan is not None
    assert Keeper(plan, None)(b'[{"trees":[[{"leaf":{"town":1,"x":2}}]]}]') == b'[{"trees":[[{"leaf":{"x":2}}]]}]'
    assert all(is_declared(path, schemas) for path in ("trees.leaf.town", "theId", "id", "named.any", "pet.barks"))
    assert not any(is_declared(path, schemas) for path in ("trees.leaf.twon", "leaf.town.x", "nothing", "pair.x"))


def test_a_policy_on_the_names_of_an_object_is_refused() -> None:
    with pytest.raises(SchemaError, match="names of an object"):
        plan_of(schemas_of(dict[Annotated[str, Hash()], int]))
    with pytest.raises(SchemaError, match="'hide' is no policy"):
        plan_of([{"x-hansang-policy": "hide"}])


def test_what_cannot_be_read_is_not_kept() -> None:
    plan = plan_of(schemas_of(Leaf))
    assert plan is not None and Keeper(plan, None)(b'{"name": "sec') == b""


@given(st.text())
def test_a_mask_keeps_the_length_and_never_shows_more_than_a_third(text: str) -> None:
    mask = masked(text, 4)
    assert len(mask) == len(text)
    shown = [sign for sign, was in zip(mask, text, strict=True) if sign == was and sign not in " -_.,:;/@+()*"]
    assert len(shown) <= min(4, len(text) // 3)


@given(st.one_of(st.text(min_size=1), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans()))
def test_the_hash_of_a_field_is_that_of_the_key_that_a_split_makes_of_it(value: Any) -> None:
    assert text_of(value) == key_text(value)


def test_hashes_are_equal_for_equal_values_and_need_the_secret() -> None:
    assert SECRET.hash({"a": 1, "b": [2]}) == SECRET.hash({"b": [2], "a": 1}) != SECRET.hash({"a": 1, "b": [3]})
    assert SECRET.hash("x") != secret_of("another secret of some length").hash("x")
    assert "guess" not in repr(SECRET)
