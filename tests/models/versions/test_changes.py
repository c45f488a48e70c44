"""What a change of schema means for clients, beside what a swap would refuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hansang.errors import SchemaError
from hansang.models.compatible import check_compatible
from hansang.models.signature import Array, Column, Param, Scalar, Signature, Type
from hansang.models.versions.changes import changes

LONG, INTEGER, DOUBLE, TEXT = Scalar("long"), Scalar("integer"), Scalar("double"), Scalar("string")
KINDS: list[Type] = [LONG, INTEGER, DOUBLE, TEXT, Array(LONG)]


def columns(fields: dict[str, Type], optional: tuple[str, ...] = ()) -> tuple[Column, ...]:
    return tuple(Column(name, kind, name not in optional) for name, kind in fields.items())


BEFORE = Signature(columns({"a": LONG, "b": TEXT}, ("b",)), columns({"y": DOUBLE}), (Param("alpha", DOUBLE, 1.0),))
PARAMS = BEFORE.params


@pytest.mark.parametrize(
    ("after", "said", "breaks"),
    [
        (BEFORE, [], False),
        (None, ["signature removed"], True),
        (
            Signature(columns({"b": TEXT}, ("b",)), BEFORE.outputs, PARAMS),
            ["input 'a' removed (long)"],
            True,
        ),
        (
            Signature(columns({"c": LONG, "b": TEXT}, ("b",)), BEFORE.outputs, PARAMS),
            ["input 'a' renamed to 'c' (long)"],
            True,
        ),
        (
            Signature(columns({"a": INTEGER, "b": TEXT}, ("b",)), BEFORE.outputs, PARAMS),
            ["input 'a' retyped (long to integer)"],
            True,
        ),
        (
            Signature(columns({"a": DOUBLE, "b": TEXT}, ("b",)), BEFORE.outputs, PARAMS),
            ["input 'a' widened (long to double)"],
            False,
        ),
        (
            Signature(columns({"a": LONG, "b": TEXT}), BEFORE.outputs, PARAMS),
            ["input 'b' required now (string)"],
            True,
        ),
        (
            Signature(columns({"a": LONG, "b": TEXT}, ("a", "b")), BEFORE.outputs, PARAMS),
            ["input 'a' may be left out now (long)"],
            False,
        ),
        (
            Signature(columns({"a": LONG, "b": TEXT, "c": TEXT}, ("b",)), BEFORE.outputs, PARAMS),
            ["input 'c' newly required (string)"],
            True,
        ),
        (
            Signature(columns({"a": LONG, "b": TEXT, "c": TEXT}, ("b", "c")), BEFORE.outputs, PARAMS),
            ["input 'c' added, may be left out (string)"],
            False,
        ),
        (Signature(BEFORE.inputs, columns({"z": DOUBLE}), PARAMS), ["output 'y' renamed to 'z' (double)"], True),
        (Signature(BEFORE.inputs, columns({"y": TEXT}), PARAMS), ["output 'y' retyped (double to string)"], True),
        (Signature(BEFORE.inputs, columns({"y": LONG}), PARAMS), ["output 'y' narrowed (double to long)"], False),
        (
            Signature(BEFORE.inputs, columns({"y": DOUBLE, "z": TEXT}), PARAMS),
            ["output 'z' added (string)"],
            True,
        ),
        (Signature(BEFORE.inputs, (), PARAMS), ["output 'y' removed (double)"], True),
        (Signature(BEFORE.inputs, BEFORE.outputs), ["param 'alpha' removed (double)"], True),
        (
            Signature(BEFORE.inputs, BEFORE.outputs, (Param("alpha", TEXT, "1"),)),
            ["param 'alpha' retyped (double to string)"],
            True,
        ),
        (
            Signature(BEFORE.inputs, BEFORE.outputs, (Param("alpha", DOUBLE, 2.0), Param("beta", LONG, 1))),
            ["param 'alpha' default 1.0 to 2.0 (double)", "param 'beta' added (long)"],
            False,
        ),
    ],
)
def test_each_change_is_named_and_said_to_break_clients_or_not(
    after: Signature | None, said: list[str], breaks: bool
) -> None:
    found = changes(BEFORE, after)
    assert [str(change) for change in found] == said
    assert any(change.breaks for change in found) is breaks


def test_a_version_without_a_signature_has_no_clients_that_could_break() -> None:
    assert changes(None, None) == []
    assert [change.breaks for change in changes(None, BEFORE)] == [False]


def test_of_two_fields_that_could_be_meant_none_is_called_the_new_name() -> None:
    before, after = columns({"a": LONG, "b": LONG}), columns({"c": LONG, "d": LONG})
    words = [change.what for change in changes(Signature(before), Signature(after))]
    assert words == ["removed", "removed", "newly required", "newly required"]


def some_columns() -> some.SearchStrategy[tuple[Column, ...]]:
    names = some.sampled_from("abcd")
    fields = some.dictionaries(names, some.tuples(some.sampled_from(KINDS), some.booleans()), min_size=1)
    return fields.map(lambda found: tuple(Column(name, kind, need) for name, (kind, need) in found.items()))


SIGNATURES = some.builds(
    Signature,
    some_columns(),
    some.one_of(some.just(()), some_columns()),
    some.lists(some.builds(Param, some.sampled_from("pq"), some.sampled_from(KINDS)), unique_by=lambda p: p.name).map(
        tuple
    ),
)


@given(SIGNATURES, some.one_of(some.none(), SIGNATURES))
def test_a_change_breaks_exactly_where_a_swap_would_refuse_the_version(
    before: Signature, after: Signature | None
) -> None:
    try:
        check_compatible(before, after, closed=True)
        refused = False
    except SchemaError:
        refused = True
    assert any(change.breaks for change in changes(before, after)) is refused
