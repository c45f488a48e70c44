"""Rollouts in a real registry: who may start, advance and end them, and two who try at once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from hansang.errors import ModelError, ModelNotFound, UsageError
from hansang.models.moves import ROLLOUT, read_move
from hansang.models.registries.sqlite import SqliteRegistry
from hansang.models.registry import REFUSED
from hansang.models.rollout import STATE, read_rollout
from hansang.models.uri import open_registry
from hansang.rollout import claim
from hansang.rollout.claim import CLAIM, claimed
from hansang.rollout.control import ROLLED_BACK, Wish, abort, advance, history, promote, running, start

SPLIT = Wish("4", "split", (0.1,), "looks better", who="ann", by="x")


def test_a_start_writes_who_when_why_and_what(steps_copy: str) -> None:
    registry = open_registry(steps_copy)
    rollout = start(registry, "steps", SPLIT)
    said = registry.registered("steps")
    assert said.aliases == {"champion": "1", "challenger": "4"}
    assert read_rollout(said.tags) == rollout == running(registry, "steps")
    assert (rollout.champion, rollout.challenger, rollout.share, rollout.by) == ("1", "4", 0.1, "x")
    move = read_move(said.tags)
    assert move is not None and (move.action, move.alias, move.who) == ("start", "challenger", "ann")
    (event,) = history(registry, "steps")
    assert (event.rollout, event.action, event.who, event.why) == (rollout.id, "start", "ann", "looks better")
    assert event.when.endswith("Z")
    assert not [key for key in registry.registered("steps").tags if key.startswith(CLAIM)]


def test_a_promotion_moves_the_champion_and_ends_the_rollout(steps_copy: str) -> None:
    registry = open_registry(steps_copy)
    start(registry, "steps", SPLIT)
    done = promote(registry, "steps", why="it is", who="bob", evidence={"gain": 0.02})
    said = registry.registered("steps")
    assert said.aliases == {"champion": "4"} and done.state == "promoted"
    assert running(registry, "steps") is None
    move = read_move(said.tags)
    assert move is not None and (move.action, move.before, move.after) == ("promote", "1", "4")
    assert [(event.action, event.who) for event in history(registry, "steps")] == [("start", "ann"), ("promote", "bob")]
    assert history(registry, "steps")[-1].evidence == {"gain": 0.02}
    with pytest.raises(ModelError, match=r"no rollout of 'steps' runs; the last one, \w+, was promoted"):
        abort(registry, "steps", why="too late")


def test_an_abort_leaves_the_champion_and_a_new_rollout_has_a_new_id(steps_copy: str) -> None:
    registry = open_registry(steps_copy)
    first = start(registry, "steps", SPLIT)
    assert abort(registry, "steps", why="no use").state == "aborted"
    assert registry.registered("steps").aliases == {"champion": "1"}
    second = start(registry, "steps", SPLIT)
    assert second.id != first.id and second.node != first.node
    assert abort(registry, "steps", why="guard", state=ROLLED_BACK).state == "rolled back"
    assert [event.action for event in history(registry, "steps")] == ["start", "abort", "start", "roll back"]


def test_steps_are_taken_in_their_order_and_the_last_is_the_promotion(steps_copy: str) -> None:
    registry = open_registry(steps_copy)
    one = start(registry, "steps", Wish("4", "split", (0.01, 0.5, 1.0), "slowly", every=60.0))
    two = advance(registry, "steps", one, why="passed", evidence={})
    assert (two.id, two.share, two.steps) == (one.id, 0.5, (1.0,))
    with pytest.raises(ModelError, match="somebody took the step"):
        advance(registry, "steps", one, why="passed", evidence={})
    assert advance(registry, "steps", two, why="passed", evidence={}).state == "promoted"
    assert registry.registered("steps").aliases == {"champion": "4"}


def test_what_makes_no_rollout_is_refused(steps_copy: str) -> None:
    registry = open_registry(steps_copy)
    with pytest.raises(ModelNotFound, match="has no version 99"):
        start(registry, "steps", Wish("99", "split", (0.1,), "a slip"))
    with pytest.raises(ModelError, match="version 1 of 'steps' is the champion already"):
        start(registry, "steps", Wish("1", "split", (0.1,), "a slip"))
    registry.set_tag("steps", "5", REFUSED, json.dumps({"reason": "it is broken"}))
    with pytest.raises(ModelError, match=r"was refused: it is broken; remove its tag hansang\.refused"):
        start(registry, "steps", Wish("5", "split", (0.1,), "again"))
    start(registry, "steps", SPLIT)
    with pytest.raises(ModelError, match="promote or abort it first"):
        start(registry, "steps", Wish("3", "shadow", (1.0,), "me too"))
    with pytest.raises(ModelError, match="runs, not other: somebody started it"):
        abort(registry, "steps", why="mine", id="other")
    assert registry.registered("steps").aliases == {"champion": "1", "challenger": "4"}


@pytest.mark.parametrize(
    ("shares", "more", "says"),
    [
        ((), {}, "a share is above 0"),
        ((1.5,), {}, "a share is above 0"),
        ((0.5, 0.1), {"every": 60.0}, "steps grow"),
        ((0.1, 0.5), {}, "steps need every="),
        ((1.0,), {}, "promote it"),
        ((0.1,), {"by": "time.hour"}, "cannot be kept together"),
    ],
)
def test_a_wish_that_cannot_be_is_refused(shares: tuple[float, ...], more: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Wish("4", "split", shares, "a slip", **more)


def test_whoever_moves_an_alias_by_hand_ends_the_rollout(steps_copy: str) -> None:
    registry = open_registry(steps_copy)
    first = start(registry, "steps", SPLIT)
    registry.set_alias("steps", "champion", "2")
    assert running(registry, "steps") is None
    with pytest.raises(ModelError, match="ended when an alias was moved"):
        promote(registry, "steps", why="mine")
    assert registry.registered("steps").aliases["champion"] == "2"
    second = start(registry, "steps", Wish("3", "shadow", (1.0,), "again"))
    assert second.champion == "2"
    ended = [event for event in history(registry, "steps") if event.rollout == first.id][-1]
    assert (ended.action, ended.why) == ("abort", "its aliases were moved")


def together(*works: Callable[[], Any]) -> tuple[list[Any], list[ModelError]]:
    """Do things at the same moment, each on a thread; gives what came of them, and what was refused."""
    gate = threading.Barrier(len(works))
    done: list[Any] = []
    refused: list[ModelError] = []

    def do(work: Callable[[], Any]) -> None:
        gate.wait(10)
        try:
            done.append(work())
        except ModelError as error:
            refused.append(error)

    threads = [threading.Thread(target=do, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return done, refused


def test_of_operators_who_start_at_once_one_wins_and_the_registry_is_his(steps_copy: str) -> None:
    def begin(version: str) -> Callable[[], Any]:
        return lambda: start(open_registry(steps_copy), "steps", Wish(version, "split", (0.1,), version, who=version))

    done, refused = together(*(begin(version) for version in ("2", "3", "4")))
    assert len(done) == 1 and len(refused) == 2
    said = open_registry(steps_copy).registered("steps")
    assert read_rollout(said.tags) == done[0]
    assert said.aliases == {"champion": "1", "challenger": done[0].challenger}
    assert len(history(open_registry(steps_copy), "steps")) == 1


def test_of_a_promotion_and_an_abort_at_once_one_happens_and_whole(steps_copy: str) -> None:
    registry = open_registry(steps_copy)
    start(registry, "steps", SPLIT)
    done, refused = together(
        lambda: promote(open_registry(steps_copy), "steps", why="mine"),
        lambda: abort(open_registry(steps_copy), "steps", why="mine"),
    )
    assert len(done) == 1 and len(refused) == 1
    champion = {"promoted": "4", "aborted": "1"}[done[0].state]
    said = registry.registered("steps")
    assert said.aliases == {"champion": champion}
    assert read_rollout(said.tags) == done[0]


class Crowded(SqliteRegistry):
    """A registry in which somebody else claims the model whenever we do."""

    def registered(self, name: str) -> Any:
        super().set_tag(name, None, CLAIM + "other", f"{time.time()}")
        return super().registered(name)


def test_whoever_is_not_alone_steps_back_and_says_so(steps_copy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "TRIES", 2)
    monkeypatch.setattr(claim, "PAUSE", 0.0)
    with pytest.raises(ModelError, match="somebody else is changing the rollout of 'steps' now"):
        start(Crowded(steps_copy), "steps", SPLIT)
    said = open_registry(steps_copy).registered("steps")
    assert [key for key in said.tags if key.startswith(CLAIM)] == [CLAIM + "other"]
    assert "challenger" not in said.aliases and STATE not in said.tags and ROLLOUT not in said.tags


def test_the_claim_of_a_process_that_died_is_void_and_taken_away(steps_copy: str) -> None:
    registry = open_registry(steps_copy)
    registry.set_tag("steps", None, CLAIM + "dead", f"{time.time() - 7200}")
    registry.set_tag("steps", None, CLAIM + "late", f"{time.time() - 120}")
    registry.set_tag("steps", None, CLAIM + "odd", "soon")
    with claimed(registry, "steps"):
        pass
    assert sorted(registry.registered("steps").tags) == [CLAIM + "late", CLAIM + "odd"]


def test_nothing_is_written_under_a_claim_that_is_too_old(steps_copy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "SAFE", -1.0)
    registry = open_registry(steps_copy)
    with pytest.raises(ModelError, match="nothing more is changed"):
        start(registry, "steps", SPLIT)
    assert registry.registered("steps").aliases == {"champion": "1"}


def test_tags_of_another_hand_are_no_rollout() -> None:
    assert read_rollout({}) is None
    for text in ("soon", "[]", "{}", '{"steps": 1}'):
        assert read_rollout({STATE: text}) is None


def test_evidence_that_is_too_long_goes_oldest_first(steps_copy: str) -> None:
    registry = open_registry(steps_copy)
    rollout = start(registry, "steps", Wish("4", "split", (0.1, 0.5), "long", every=60.0))
    advance(registry, "steps", rollout, why="passed", evidence={"all": "x" * 2500})
    abort(registry, "steps", why="enough", evidence={"all": "y" * 2500})
    found = history(registry, "steps")
    assert [event.action for event in found] == ["start", "step", "abort"]
    assert found[1].evidence == {} and found[2].evidence == {"all": "y" * 2500}
