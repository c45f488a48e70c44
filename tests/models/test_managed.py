from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hansang import Batch, Model, Service, cached, fallback, node, shadow, split
from hansang.call import Call
from hansang.errors import ModelError
from hansang.models.managed import Following
from hansang.models.registries.sqlite import SqliteRegistry
from hansang.models.registry import REFUSED, ModelVersion, Reference, parse
from hansang.models.uri import open_registry
from hansang.settings import Settings
from hansang.site import bound
from hansang.testing import on_loop, turns
from tests.models.following import following
from tests.models.steps import FAULTS, STEP


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_only_a_name_alone_is_managed() -> None:
    assert Model("models:/steps").managed == "steps"
    for uri in ("models:/steps@champion", "models:/steps/3", "models:/steps/latest", f"models:/m-{'0' * 32}", "x.onnx"):
        assert not Model(uri).managed
    found = parse("models:/steps")
    assert found is not None and (found.kind, found.value) == ("alias", "champion")


@on_loop
async def test_a_moved_alias_is_followed_and_each_answer_names_the_version_that_made_it(
    steps_copy: str, tmp_path: Path
) -> None:
    async with following(steps_copy, tmp_path / "cache") as work:
        for version in ("1", "2", "3", "2"):
            await work.at(version)
            assert await work.ask() == (1.5 + STEP * int(version), version)
            assert work.model.fingerprint().startswith(f"steps {version} ")
        assert work.count("hansang_model_swaps_total", outcome="switched") == 2
        assert work.count("hansang_model_swaps_total", outcome="rolled_back") == 1


@on_loop
async def test_a_poll_alone_finds_the_move(steps_copy: str, tmp_path: Path) -> None:
    async with following(steps_copy, tmp_path / "cache", poll=0.05) as work:
        work.registry.set_alias("steps", "champion", "4")
        await work.until(lambda: work.follower.standing.version == "4")
        assert (await work.ask())[1] == "4"


@on_loop
async def test_the_way_back_needs_no_second_load(steps_copy: str, tmp_path: Path) -> None:
    async with following(steps_copy, tmp_path / "cache") as work:
        first = work.model.loaded
        await work.at("2")
        assert work.follower.standing.previous == "1"
        await work.at("1")
        assert work.model.loaded is first
        assert work.follower.standing.previous == "2"


@on_loop
async def test_without_the_setting_nothing_is_kept(steps_copy: str, tmp_path: Path) -> None:
    async with following(steps_copy, tmp_path / "cache", keep=False) as work:
        freed = asyncio.Event()
        tell = partial(asyncio.get_running_loop().call_soon_threadsafe, freed.set)
        weakref.finalize(work.model.loaded.runtime, tell)
        await work.at("2")
        await asyncio.wait_for(freed.wait(), 10)
        assert work.follower.standing.previous is None


@on_loop
async def test_a_version_is_freed_when_its_last_request_is_done_and_not_before(steps_copy: str, tmp_path: Path) -> None:
    async with following(steps_copy, tmp_path / "cache", keep=False, inline=False) as work:
        old = work.model.loaded
        go = threading.Event()
        old.batcher.lanes.submit(go.wait, lambda done: None)  # the row waits behind it
        asked = asyncio.create_task(work.ask())
        await asyncio.sleep(0)
        await work.at("2")
        assert await work.ask() == (1.5 + 2 * STEP, "2")
        assert old.users == 1 and not old.batcher.closed
        freed = asyncio.Event()
        tell = partial(asyncio.get_running_loop().call_soon_threadsafe, freed.set)
        weakref.finalize(old.runtime, tell)
        del old
        go.set()
        assert await asked == (1.5 + STEP, "1")
        await asyncio.wait_for(freed.wait(), 10)


REASONS = {
    "golden": "golden request 1: y: expected 3.0, got 7002.0",
    "changed": "model.onnx is not the file that the manifest names",
    "output": "it does not give the output 'y'; it gives the output 'z', which the service does not have",
    "input": "it needs the input 'other', which the service does not have",
    "broken": "is not an ONNX model",
}


@on_loop
async def test_a_bad_version_is_refused_once_with_its_reason_and_the_old_one_answers_on(
    steps_copy: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert REASONS.keys() == FAULTS.keys()
    async with following(steps_copy, tmp_path / "cache") as work:
        for number, (fault, version) in enumerate(FAULTS.items(), 1):
            assert REASONS[fault] in await work.refused(str(version))
            told = json.loads(work.registry.tags("steps", str(version))[REFUSED])
            assert REASONS[fault] in told["reason"] and told["when"].endswith("Z")
            assert await work.ask() == (1.5 + STEP, "1")
            assert work.count("hansang_model_swaps_total", outcome="refused") == number
        polls = work.count("hansang_registry_polls_total", outcome="ok")
        for _ in range(3):
            await work.follower.poll()
        assert work.count("hansang_registry_polls_total", outcome="ok") == polls + 3
        assert work.count("hansang_model_swaps_total", outcome="refused") == len(FAULTS)
        assert caplog.text.count("is refused") == len(FAULTS)
        assert work.follower.standing.facts()["refused"]["version"] == str(FAULTS["broken"])


@on_loop
async def test_a_refused_version_is_tried_again_when_its_tag_is_removed_or_its_alias_comes_back(
    steps_copy: str, tmp_path: Path
) -> None:
    async with following(steps_copy, tmp_path / "cache") as work:
        bad = str(FAULTS["broken"])
        await work.refused(bad)
        work.registry.delete_tag("steps", bad, REFUSED)
        await work.follower.poll()
        assert work.count("hansang_model_swaps_total", outcome="refused") == 2
        await work.at("1")
        await work.until(lambda: work.follower.standing.refused is None)
        await work.refused(bad)
        assert work.count("hansang_model_swaps_total", outcome="refused") == 3


@on_loop
async def test_a_good_version_loses_the_tag_of_an_older_refusal(steps_copy: str, tmp_path: Path) -> None:
    async with following(steps_copy, tmp_path / "cache") as work:
        work.registry.set_tag("steps", "2", REFUSED, "{}")
        await work.at("2")
        await work.follower.lane.run(lambda: None)  # after what it wrote
        assert REFUSED not in work.registry.tags("steps", "2")


@on_loop
async def test_while_the_registry_is_away_the_version_stays_and_a_move_is_followed_after(
    steps_copy: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hansang")
    file = tmp_path / "mlflow.db"
    async with following(steps_copy, tmp_path / "cache") as work:
        await work.follower.poll()
        file.rename(tmp_path / "away.db")
        for _ in range(3):
            await work.follower.poll()
        assert work.count("hansang_registry_polls_total", outcome="unavailable") == 3
        assert "no registry at" in work.follower.standing.registry
        assert await work.ask() == (1.5 + STEP, "1")
        assert caplog.text.count("answers on") == 1, "it is said once"
        open_registry(f"sqlite:///{tmp_path}/away.db").set_alias("steps", "champion", "3")
        (tmp_path / "away.db").rename(file)
        await work.follower.poll()
        assert work.follower.standing.registry == "ok" and "answers again" in caplog.text
        assert await work.ask() == (1.5 + 3 * STEP, "3")


@on_loop
async def test_an_alias_that_is_gone_changes_nothing(steps_copy: str, tmp_path: Path) -> None:
    async with following(steps_copy, tmp_path / "cache") as work:
        work.registry.delete_alias("steps", "champion")
        await work.follower.poll()
        assert "has no alias 'champion'; it stays at version 1" in work.follower.standing.registry
        assert (await work.ask())[1] == "1"


@on_loop
async def test_a_model_that_was_registered_again_is_another_one_though_its_number_is_the_same(
    steps_copy: str, tmp_path: Path
) -> None:
    async with following(steps_copy, tmp_path / "cache") as work:
        await work.at("2")
        before = work.model.loaded
        with sqlite3.connect(tmp_path / "mlflow.db") as rows:
            rows.execute("UPDATE registered_models SET creation_time = creation_time + 1 WHERE name = 'steps'")
            rows.execute("UPDATE model_versions SET source = replace(source, '/2', '/5') WHERE name = 'steps'")
        rows.close()
        await work.follower.poll()
        assert work.model.loaded is not before and work.follower.spare == []


class Meddled(SqliteRegistry):
    """A registry whose alias somebody moves to version 3 whenever version 2 is looked up."""

    def find(self, reference: Reference) -> ModelVersion:
        if reference.value == "2":
            self.set_alias("steps", "champion", "3")
        return super().find(reference)


@on_loop
async def test_an_alias_that_moves_on_during_a_load_is_not_overtaken(
    steps_copy: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(steps_copy, tmp_path / "cache") as work:
        work.follower.registry = Meddled(steps_copy)
        open_registry(steps_copy).set_alias("steps", "champion", "2")
        work.follower.hint()
        await work.until(lambda: work.follower.standing.version == "3")
        assert "the alias moved on while version 2 was loaded" in caplog.text
        assert work.follower.standing.previous == "1"


# --- start ---


def load(registry: str) -> str:
    model = Model("models:/steps")
    try:
        return model.load(Settings(registry=registry)).version
    finally:
        model.unload()


@on_loop
async def test_a_start_without_registry_takes_the_last_good_version(
    steps_copy: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_registry(steps_copy).set_alias("steps", "champion", "2")
    assert load(steps_copy) == "2"
    (tmp_path / "mlflow.db").rename(tmp_path / "away.db")
    assert load(steps_copy) == "2"
    assert "starting with steps version 2, the last that was good" in caplog.text


@on_loop
async def test_a_folder_that_cannot_be_written_keeps_nobody_from_serving(
    steps_copy: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".hansang").write_text("a file where the folder should be")
    assert load(steps_copy) == "1"
    assert "is not noted for a restart without registry" in caplog.text


@on_loop
async def test_a_start_with_a_bad_champion_takes_the_last_good_version(
    steps_copy: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = open_registry(steps_copy)
    registry.set_alias("steps", "champion", str(FAULTS["golden"]))
    with pytest.raises(ModelError, match="golden request 1"):
        load(steps_copy)  # it has never had a good one
    registry.set_alias("steps", "champion", "2")
    assert load(steps_copy) == "2"
    registry.set_alias("steps", "champion", str(FAULTS["golden"]))
    assert load(steps_copy) == "2"


# --- the cache ---


@on_loop
async def test_a_cache_never_gives_the_answer_of_another_version(steps_copy: str, tmp_path: Path) -> None:
    async with following(steps_copy, tmp_path / "cache") as work:
        graph = bound(cached(work.model))

        async def ask() -> tuple[float, bool]:
            batch = Batch([{"x": 1.0}], [Call()])
            answer = await graph(batch)
            return answer.rows[0]["y"], batch.calls[0].trail[-1].cached

        assert [await ask(), await ask()] == [(1.0 + STEP, False), (1.0 + STEP, True)]
        await work.at("2")
        assert [await ask(), await ask()] == [(1.0 + 2 * STEP, False), (1.0 + 2 * STEP, True)]
        await work.at("1")
        assert await ask() == (1.0 + STEP, True)


@on_loop
async def test_an_answer_of_a_version_that_came_and_went_meanwhile_is_not_kept(steps_copy: str, tmp_path: Path) -> None:
    async with following(steps_copy, tmp_path / "cache", inline=False) as work:
        entered, on = asyncio.Event(), asyncio.Event()

        async def wait(batch: Batch) -> list[Any]:
            entered.set()
            await on.wait()
            return batch.rows

        graph = bound(cached(node(wait) >> work.model))
        asked = asyncio.create_task(graph(Batch([{"x": 1.0}], [Call()])))
        await entered.wait()
        await work.at("2")
        go = threading.Event()
        work.model.loaded.batcher.lanes.submit(go.wait, lambda done: None)
        on.set()
        await turns(10)
        assert work.model.loaded.users == 1
        await work.at("1")
        go.set()
        assert (await asked).rows[0]["y"] == 1.0 + 2 * STEP
        again = Batch([{"x": 1.0}], [Call()])
        assert (await graph(again)).rows[0]["y"] == 1.0 + STEP
        assert not again.calls[0].trail[-1].cached


# --- in patterns ---


@on_loop
async def test_models_in_every_pattern_are_followed(steps_copy: str, tmp_path: Path) -> None:
    def more() -> Model:
        return Model("models:/more")

    one, two, three = more(), more(), more()
    service = Service("all", cached(fallback(split({Model("models:/steps"): 1, one: 1}), two)), input=dict[str, float])
    service.endpoint("/shadowed", shadow(Model("models:/steps/4"), three), input=dict[str, float])
    settings = Settings(registry=steps_copy, registry_poll=60, record=False)
    await asyncio.to_thread(service.load, settings)
    news = asyncio.Event()
    following = Following(service.models, settings, service.metrics, changed=news.set)
    assert following.followers.keys() == {"steps", "more"}, "a pinned one is none of them"
    async with service.running(), following:
        registry = open_registry(steps_copy)
        registry.set_alias("more", "champion", "5")
        assert following.hint("more") and not following.hint("other")
        async with asyncio.timeout(15):
            while following.followers["more"].standing.version != "5":
                news.clear()
                await news.wait()
        assert [model.loaded.version for model in (one, two, three)] == ["5", "5", "5"]
        assert [each["version"] for each in following.standings()] == ["1", "5"]
        versions = set()
        for x in range(40):
            batch = Batch([{"x": float(x)}], [Call()])
            answer = (await service.endpoints[0].bound(batch)).rows[0]["y"]
            version = next(step.version for step in batch.calls[0].trail if step.version)
            assert answer == x + STEP * int(version)
            versions.add(version)
        assert versions == {"1", "5"}
