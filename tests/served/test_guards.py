"""Challengers that are no good in a real server under load: each is rolled back by its guard, and few rows see it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hansang.models.registry import Registry
from hansang.models.rollout import read_rollout
from hansang.models.uri import open_registry
from hansang.record.read import connect
from hansang.rollout.control import Wish, history, start
from hansang.rollout.terms import USUAL
from tests.served.challengers import put
from tests.served.load import Load
from tests.served.running import served, until

FAULTS = {"raises": ("2", "errors"), "slow": ("3", "latency"), "constant": ("4", "drift")}
SHARE = 0.2


def ended(registry: Registry) -> bool:
    """Say whether the newest rollout was rolled back."""
    said = registry.registered("steps")
    rollout = read_rollout(said.tags)
    return rollout is not None and rollout.state == "rolled back" and "challenger" not in said.aliases


@pytest.mark.slow
def test_each_bad_challenger_is_rolled_back_by_its_guard_and_had_no_more_than_its_share(
    steps_copy: str, tmp_path: Path
) -> None:
    registry = open_registry(steps_copy)
    for fault, (version, _) in FAULTS.items():
        put(steps_copy, version, fault, tmp_path)
    with served("models:/steps", tmp_path, registry=steps_copy, registry_poll=0.2) as server:
        with Load(server.port, 4):
            for version, guard in FAULTS.values():
                began = time.monotonic()
                start(registry, "steps", Wish(version, "split", (SHARE,), "a test", by="x", guards=USUAL))
                until(lambda: ended(registry))
                assert time.monotonic() - began < 10
                event = history(registry, "steps")[-1]
                assert (event.action, event.who, event.version) == ("roll back", "hansang", version)
                assert f"guard {guard}: " in event.why
                assert event.evidence["guards"][guard]["state"] == "fail"
                until(lambda: server.get("/metadata").json()["workers"][0]["models"][0]["rollout"] is None)
        with Load(server.port, 2) as after:  # in the shadow nobody sees it
            start(registry, "steps", Wish("2", "shadow", (1.0,), "a test", guards=USUAL))
            until(lambda: ended(registry))
            assert "guard errors: " in history(registry, "steps")[-1].why
            until(lambda: server.get("/metadata").json()["workers"][0]["models"][0]["rollout"] is None)
        assert after.faults == [] and after.answers.keys() == {"1"}
        counted = server.metrics("hansang_rollout_changes_total")
        assert counted['{model="steps",outcome="rolled_back"}'] == len(FAULTS) + 1
        until(lambda: server.log.read_text().count("rolled back: guard") == len(FAULTS) + 1)
    with connect(tmp_path / ".hansang" / "records") as record:
        query = "SELECT node, avg((variant = 'challenger')::INT) FROM predictions WHERE variant <> '' GROUP BY 1"
        shares = dict(record.execute(query).fetchall())
    assert len(shares) == len(FAULTS)
    assert max(shares.values()) < 2 * SHARE
