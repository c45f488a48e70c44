"""A challenger beside the champion, in this process: its share, its memory, and what happens while it is loaded."""

from __future__ import annotations

import asyncio
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

from hansang.models.registries.sqlite import SqliteRegistry
from hansang.models.registry import ModelVersion, Reference
from hansang.models.rollout import Rollout
from hansang.nodes.rolled import rolled
from hansang.rollout.control import Wish, abort, advance, promote, start
from hansang.site import Site
from hansang.testing import on_loop, turns
from tests.models.following import Work, following
from tests.models.steps import STEP


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


async def begun(work: Work, share: float = 0.5, **more: Any) -> Rollout:
    """Start a split of version 4 that keeps values of x together, and let the follower see it."""
    rollout = start(
        work.registry, "steps", Wish("4", "split", (share, *more.pop("then", ())), "a test", by="x", **more)
    )
    await work.follower.poll()
    return rollout


async def sides(work: Work) -> dict[float, str]:
    """Ask for many values of x; gives the version that answered each, whose answers must be its own."""
    found = {}
    for number in range(60):
        answer, version = await work.ask(float(number))
        assert answer == number + STEP * int(version)
        found[float(number)] = version
    return found


@on_loop
async def test_a_share_of_the_keys_goes_to_the_challenger_and_only_grows(steps_copy: str, tmp_path: Path) -> None:
    async with following(steps_copy, tmp_path / "cache") as work:
        rollout = await begun(work, 0.3, then=(0.7,), every=60.0)
        few = await sides(work)
        assert set(few.values()) == {"1", "4"} and few == await sides(work)
        advance(work.registry, "steps", rollout, why="passed", evidence={})
        await work.follower.poll()
        many = await sides(work)
        assert all(many[key] == "4" for key, version in few.items() if version == "4")
        assert list(many.values()).count("4") > list(few.values()).count("4")


@on_loop
async def test_a_promotion_loads_nothing_and_the_old_champion_is_kept(steps_copy: str, tmp_path: Path) -> None:
    async with following(steps_copy, tmp_path / "cache") as work:
        await begun(work)
        challenger, champion = work.follower.beside.loaded[0], work.model.loaded
        promote(work.registry, "steps", why="better")
        await work.follower.poll()
        assert work.model.loaded is challenger and work.follower.spare == [champion]
        assert set((await sides(work)).values()) == {"4"}
        assert not challenger.batcher.closed and work.follower.beside.facts() is None


@on_loop
async def test_a_challenger_that_is_out_is_freed_when_its_last_row_is_done(steps_copy: str, tmp_path: Path) -> None:
    async with following(steps_copy, tmp_path / "cache", inline=False) as work:
        await begun(work)
        key = next(x for x, version in (await sides(work)).items() if version == "4")
        challenger = work.follower.beside.loaded[0]
        go = threading.Event()
        challenger.batcher.lanes.submit(go.wait, lambda done: None)  # the row waits behind it
        asked = asyncio.create_task(work.ask(key))
        await turns()
        assert challenger.users == 1
        abort(work.registry, "steps", why="no use")
        await work.follower.poll()
        assert set((await sides(work)).values()) == {"1"}
        assert not challenger.batcher.closed
        freed = asyncio.Event()
        tell = asyncio.get_running_loop().call_soon_threadsafe
        weakref.finalize(challenger.runtime, tell, freed.set)
        del challenger
        go.set()
        assert (await asked)[1] == "4"
        await asyncio.wait_for(freed.wait(), 10)


class Slow(SqliteRegistry):
    """A registry in which the rollout is aborted while the challenger is looked up."""

    def find(self, reference: Reference) -> ModelVersion:
        found = super().find(reference)
        abort(SqliteRegistry(self.uri), "steps", why="meanwhile")
        return found


@on_loop
async def test_a_rollout_that_ended_while_its_challenger_was_loaded_does_not_begin(
    steps_copy: str, tmp_path: Path
) -> None:
    async with following(steps_copy, tmp_path / "cache") as work:
        work.follower.registry = Slow(steps_copy)
        await begun(work)
        assert work.follower.beside.now is None and work.follower.beside.loaded == []
        assert set((await sides(work)).values()) == {"1"}


@on_loop
async def test_a_champion_that_is_moved_by_hand_ends_the_rollout(steps_copy: str, tmp_path: Path) -> None:
    async with following(steps_copy, tmp_path / "cache") as work:
        await begun(work)
        await work.at("2")
        await work.until(lambda: work.follower.beside.now is None)
        assert set((await sides(work)).values()) == {"2"}


@on_loop
async def test_a_cache_tells_a_split_from_what_was_before(steps_copy: str, tmp_path: Path) -> None:
    async with following(steps_copy, tmp_path / "cache") as work:
        before, moves = work.stage.fingerprint(), work.stage.moves
        await begun(work)
        during = work.stage.fingerprint()
        assert during != before and work.stage.moves == moves + 1
        abort(work.registry, "steps", why="no use")
        await work.follower.poll()
        assert work.stage.fingerprint() == before and work.stage.moves == moves + 2


@on_loop
async def test_in_the_background_the_champion_is_alone(steps_copy: str, tmp_path: Path) -> None:
    async with following(steps_copy, tmp_path / "cache") as work:
        assert rolled(work.model, Site().in_background()) is work.model
