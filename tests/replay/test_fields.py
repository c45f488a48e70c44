"""Answers compared leaf by leaf."""

from __future__ import annotations

from typing import Any

import pytest

from hansang.errors import UsageError
from hansang.replay.compare import FIELDS, OTHERS, Comparison, Pair
from hansang.replay.fields import LABELS, Tolerance
from hansang.replay.flat import flat
from hansang.replay.quality import truths

ID = "01a20ec8-ea77-7000-8a26-298b305f3c81"


def compared(*answers: tuple[Any, Any]) -> dict[str, Any]:
    comparison = Comparison()
    comparison.add([Pair(ID, n, flat(old), None, flat(new), None) for n, (old, new) in enumerate(answers)])
    return comparison.document()


def test_leaves_are_named_by_their_paths() -> None:
    assert flat({"box": {"x": 1, "y": None}, "scores": [0.5, {"a": "b"}]}) == {
        "box.x": 1,
        "scores[0]": 0.5,
        "scores[1].a": "b",
    }
    assert flat(2.5) == {"prediction": 2.5}
    assert flat({"all": list(range(17))}) == {"all": list(range(17))}


def test_the_noise_of_floats_is_no_change() -> None:
    assert compared((0.1 + 0.2, 0.3), ({"a": [0.3] * 20}, {"a": [0.1 + 0.2] * 20}))["changed"] == 0
    assert compared((0.3, 0.3001), ({"a": [0.3] * 20}, {"a": [0.4] * 20}))["changed"] == 2


def test_a_value_of_another_kind_or_none_is_a_change() -> None:
    found = compared(({"a": 1}, {"a": "1"}), ({"a": True}, {"a": 1}), ({"a": 1}, {}), ({"a": 1}, {"a": 1.0}))
    assert found["changed"] == 3
    assert found["fields"]["a"]["rows"] == 4


def test_whole_numbers_can_be_labels_and_fractions_cannot() -> None:
    found = compared((0, 1), (1, 1))["fields"]["prediction"]
    assert [(each["recorded"], each["new"], each["rows"]) for each in found["confusion"]] == [
        ("0", "1", 1),
        ("1", "1", 1),
    ]
    assert found["confusion"][0]["example"] == {"id": ID, "row": 0}
    assert "confusion" not in compared((0, 1), (0.5, 1))["fields"]["prediction"]


def test_free_text_has_no_table_of_labels() -> None:
    found = compared(*((f"text {n}", f"text {n}") for n in range(LABELS + 1)))["fields"]["prediction"]
    assert "confusion" not in found
    assert found["rows"] == LABELS + 1


def test_a_map_with_ever_new_keys_is_counted_together() -> None:
    found = compared(*(({f"key {n}": n}, {f"key {n}": n + 1}) for n in range(1, FIELDS + 50)))
    assert len(found["fields"]) == FIELDS + 1
    assert found["fields"][OTHERS]["changed"] == 49
    assert found["changed"] == FIELDS + 49


def test_a_truth_finds_its_field() -> None:
    old, new = {"minutes": 3.0, "kind": "short"}, {"minutes": 4.0, "kind": "long"}
    assert truths("7", old, new) == {"minutes": 7}
    assert truths('"long"', old, new) == {"kind": "long"}
    assert truths('{"kind": "long", "colour": 1}', old, new) == {"kind": "long"}
    assert truths("true", old, new) == {}
    assert truths("7", {"a": 1, "b": 2}, {"a": 1, "b": 2}) == {}


def test_a_tolerance_is_absolute_or_a_part() -> None:
    assert Tolerance.of("0.5") == Tolerance(absolute=0.5)
    assert Tolerance.of("1 %") == Tolerance(relative=0.01)
    with pytest.raises(UsageError, match=r"the tolerance 'much' is not understood; write 0\.5, or 1%"):
        Tolerance.of("much")
