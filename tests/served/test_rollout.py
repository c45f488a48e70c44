"""Rollouts over a real server: a challenger in the shadow and for a share, promoted and aborted under load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hansang.models.registry import Registry
from hansang.models.rollout import Rollout
from hansang.models.uri import open_registry
from hansang.record.read import connect
from hansang.rollout.control import Wish, abort, history, promote, start
from tests.models.steps import FAULTS
from tests.served.load import Load
from tests.served.running import Server, served, until


def there(server: Server) -> dict[str, Any]:
    """Give what the worker has of the model."""
    found: dict[str, Any] = server.get("/metadata").json()["workers"][0]["models"][0]
    return found


def begin(server: Server, registry: Registry, mode: Any, share: float, **more: Any) -> Rollout:
    """Start a rollout of version 4, and wait until the server has it."""
    rollout = start(registry, "steps", Wish("4", mode, (share,), "a test", **more))
    until(lambda: (there(server)["rollout"] or {}).get("id") == rollout.id)
    return rollout


def ask(folder: Path, query: str) -> list[Any]:
    with connect(folder / ".hansang" / "records") as record:
        return record.execute(query).fetchall()


def test_a_split_gives_the_challenger_its_share_and_a_promotion_loses_no_request(
    steps_copy: str, tmp_path: Path
) -> None:
    registry = open_registry(steps_copy)
    with served("models:/steps", tmp_path, registry=steps_copy, registry_poll=0.05) as server:
        with Load(server.port, 8) as load:
            rollout = begin(server, registry, "split", 0.25, by="x")
            until(lambda: load.answers["4"] > 200)
            promote(registry, "steps", why="better")
            until(lambda: there(server)["version"] == "4" and there(server)["rollout"] is None)
            before = load.answers["1"]
            until(lambda: load.answers["4"] > before + 500)
            counted = server.metrics("hansang_rollout_changes_total")
            assert counted == {'{model="steps",outcome="promoted"}': 1, '{model="steps",outcome="split"}': 1}
        assert load.faults == [] and load.answers.keys() == {"1", "4"}
        sides = dict(ask(tmp_path, "SELECT variant, count(DISTINCT key) FROM predictions GROUP BY 1"))
        assert 0.18 < sides["challenger"] / (sides["champion"] + sides["challenger"]) < 0.33
        both = "SELECT key FROM predictions WHERE variant <> '' GROUP BY key HAVING count(DISTINCT variant) > 1"
        assert ask(tmp_path, both) == []
        assert ask(tmp_path, "SELECT DISTINCT version FROM predictions WHERE variant = 'challenger'") == [("4",)]
        assert ask(tmp_path, "SELECT DISTINCT node FROM predictions WHERE variant = 'champion'") == [
            (f"{rollout.node},model",)
        ]


def test_a_shadow_answers_nobody_and_its_abort_ends_it(steps_copy: str, tmp_path: Path) -> None:
    registry = open_registry(steps_copy)
    with served("models:/steps", tmp_path, registry=steps_copy, registry_poll=0.05) as server:
        with Load(server.port, 4) as load:
            rollout = begin(server, registry, "shadow", 1.0)
            until(lambda: sum(server.metrics("hansang_shadow_rows_total").values()) > 200)
            abort(registry, "steps", why="seen enough", id=rollout.id)
            until(lambda: there(server)["rollout"] is None)
        assert load.faults == [] and load.answers.keys() == {"1"}
        (found,) = ask(tmp_path, "SELECT node, version, count(*) FROM predictions WHERE role = 'shadow' GROUP BY ALL")
        assert found[0].startswith(rollout.node) and found[1] == "4" and found[2] > 100
        ended = server.metrics("hansang_rollout_changes_total")
        assert ended == {'{model="steps",outcome="aborted"}': 1, '{model="steps",outcome="shadow"}': 1}


def test_a_challenger_that_fails_verification_gets_no_row_and_the_rollout_says_why(
    steps_copy: str, tmp_path: Path
) -> None:
    registry, bad = open_registry(steps_copy), str(FAULTS["golden"])
    with (
        served("models:/steps", tmp_path, registry=steps_copy, registry_poll=0.05) as server,
        Load(server.port, 4) as load,
    ):
        start(registry, "steps", Wish(bad, "split", (0.5,), "a test"))
        seen: list[dict[str, Any]] = []

        def refused() -> list[dict[str, Any]]:
            found = (there(server)["rollout"] or {}).get("refused")
            seen.extend([found] if found else [])
            return seen

        until(refused)
        assert seen[0]["version"] == bad and "golden request 1" in seen[0]["reason"]
        assert "golden request 1" in registry.tags("steps", bad)["hansang.refused"]
        until(lambda: registry.registered("steps").aliases == {"champion": "1"})
        event = history(registry, "steps")[-1]
        assert event.action == "roll back" and event.why.startswith(f"version {bad} is refused: ")
    assert load.faults == [] and load.answers.keys() == {"1"}


@pytest.mark.slow
def test_steps_go_on_by_themselves_while_the_guards_pass_and_end_in_a_promotion(
    steps_copy: str, tmp_path: Path
) -> None:
    registry = open_registry(steps_copy)
    with served("models:/steps", tmp_path, registry=steps_copy, registry_poll=0.1) as server:
        with Load(server.port, 4) as load:
            wish = Wish("4", "split", (0.3, 0.6, 1.0), "a test", every=0.5, guards={"errors": 0.01}, settle=1.2)
            start(registry, "steps", wish)
            until(lambda: registry.registered("steps").aliases == {"champion": "4"})
            until(lambda: there(server)["version"] == "4" and there(server)["rollout"] is None)
        assert load.faults == [] and load.answers.keys() == {"1", "4"}
    events = [(event.action, event.share, event.who) for event in history(registry, "steps")]
    assert events[1:] == [("step", 0.6, "hansang"), ("promote", 0.6, "hansang")]
    assert history(registry, "steps")[-1].evidence["guards"]["errors"]["state"] == "pass"
    assert registry.registered("steps").aliases == {"champion": "4"}
