from __future__ import annotations

import pytest

from hansang.errors import ModelError, ModelNotFound
from hansang.models.moves import ROLLOUT, move_alias, read_move
from hansang.models.registries.sqlite import SqliteRegistry
from hansang.models.uri import locate, open_registry


def test_a_move_says_who_did_it_when_and_why(steps_copy: str) -> None:
    registry = open_registry(steps_copy)
    move = move_alias(registry, "steps", "3", why="better on Mondays", who="ann", evidence={"gain": 0.02})
    assert (move.before, move.after, move.alias, move.action) == ("1", "3", "champion", "promote")
    assert locate("models:/steps", registry=steps_copy).version == "3"
    assert read_move(registry.registered("steps").tags) == move == read_move(registry.tags("steps", "3"))
    assert move.who == "ann" and move.when.endswith("Z") and move.evidence == {"gain": 0.02}


def test_an_alias_can_be_set_anew_and_taken_away(steps_copy: str) -> None:
    registry = open_registry(steps_copy)
    assert move_alias(registry, "steps", "2", alias="challenger", action="start", why="try it").before is None
    assert registry.registered("steps").aliases == {"champion": "1", "challenger": "2"}
    move = move_alias(registry, "steps", None, alias="challenger", action="abort", why="no use")
    assert (move.before, move.after) == ("2", None)
    assert registry.registered("steps").aliases == {"champion": "1"}
    found = read_move(registry.tags("steps", "2"))
    assert found is not None and found.action == "abort"


def test_a_move_that_was_decided_on_an_older_state_is_refused(steps_copy: str) -> None:
    registry = open_registry(steps_copy)
    move_alias(registry, "steps", "2", why="first", expected="1")
    with pytest.raises(ModelError, match="champion of 'steps' is version 2, not version 1; somebody moved it"):
        move_alias(registry, "steps", "3", why="second", expected="1")
    with pytest.raises(ModelError, match="champion of 'steps' is version 2, not nowhere"):
        move_alias(registry, "steps", "3", why="second", expected=None)
    assert registry.registered("steps").aliases["champion"] == "2"
    assert ROLLOUT not in registry.tags("steps", "3")


class Contested(SqliteRegistry):
    """A registry in which somebody else moves the alias right after us."""

    def set_alias(self, name: str, alias: str, version: str) -> None:
        super().set_alias(name, alias, version)
        super().set_alias(name, alias, "5")


def test_whoever_loses_a_race_is_told(steps_copy: str) -> None:
    with pytest.raises(ModelError, match="champion of 'steps' is version 5 by now"):
        move_alias(Contested(steps_copy), "steps", "2", why="mine")


def test_a_version_that_is_not_there_is_not_promoted(steps_copy: str) -> None:
    registry = open_registry(steps_copy)
    with pytest.raises(ModelNotFound, match="model 'steps' has no version 99"):
        move_alias(registry, "steps", "99", why="a slip")
    assert registry.registered("steps").aliases["champion"] == "1"


def test_evidence_that_is_too_long_for_a_tag_is_left_out(steps_copy: str) -> None:
    registry = open_registry(steps_copy)
    move_alias(registry, "steps", "2", why="much", evidence={"all": "x" * 9000})
    found = read_move(registry.tags("steps", "2"))
    assert found is not None and found.evidence == {} and found.why == "much"


def test_tags_of_another_hand_are_no_move() -> None:
    assert read_move({}) is None
    assert read_move({ROLLOUT: "soon"}) is None
    assert read_move({ROLLOUT: "[1]"}) is None


def test_tags_and_aliases_are_written_over_and_removed(steps_copy: str) -> None:
    registry = open_registry(steps_copy)
    registry.set_tag("steps", None, "a", "1")
    registry.set_tag("steps", None, "a", "2")
    registry.set_tag("steps", "2", "b", "3")
    assert registry.registered("steps").tags == {"a": "2"}
    assert registry.tags("steps", "2") == {"b": "3"}
    for _ in range(2):
        registry.delete_tag("steps", None, "a")
        registry.delete_tag("steps", "2", "b")
        registry.delete_alias("steps", "champion")
    found = registry.registered("steps")
    assert (found.tags, found.aliases, registry.tags("steps", "2")) == ({}, {}, {})
    with pytest.raises(ModelNotFound, match="no model 'nope'"):
        registry.registered("nope")
