from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hansang.errors import ModelError
from hansang.models.cache import Cache, key
from hansang.models.registry import ModelVersion

VERSION = ModelVersion("age", "3", "mlflow-artifacts:/1/x", "m-" + "a" * 32, None, ("champion",))


def fill(part: Path) -> None:
    (part / "MLmodel").write_text("x")


def test_a_model_is_filled_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    calls: list[Path] = []

    def counted(part: Path) -> None:
        calls.append(part)
        fill(part)

    for _ in range(2):
        place = cache.fetch(VERSION, counted)
    assert place == tmp_path / str(VERSION.model_id)
    assert (place / "MLmodel").read_text() == "x"
    assert len(calls) == 1


def test_a_failed_fetch_leaves_nothing(tmp_path: Path) -> None:
    def fail(part: Path) -> None:
        fill(part)
        raise ModelError("half way")

    with pytest.raises(ModelError, match="half way"):
        Cache(tmp_path).fetch(VERSION, fail)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_that_fetch_at_once_agree(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def slower(part: Path) -> None:
        cache.fetch(VERSION, fill)
        (part / "MLmodel").write_text("late")

    assert (cache.fetch(VERSION, slower) / "MLmodel").read_text() == "x"
    assert [entry.name for entry in tmp_path.iterdir()] == [VERSION.model_id]


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    def full(part: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(ModelError, match=r"cannot be kept in .*No space left on device; free space"):
        Cache(tmp_path).fetch(VERSION, full)


def test_what_a_uri_meant_is_recalled_while_its_files_are_there(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.remember("http://r", "models:/age", VERSION)
    assert cache.recall("http://r", "models:/age") is None
    cache.fetch(VERSION, fill)
    assert cache.recall("http://r", "models:/age") == VERSION
    assert cache.recall("http://other", "models:/age") is None


def test_a_note_that_is_garbage_is_no_note(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.fetch(VERSION, fill)
    cache.remember("http://r", "models:/age", VERSION)
    (note,) = tmp_path.glob("*.json")
    for text in ("", "{", "[]", '{"uri": 1}'):
        note.write_text(text)
        assert cache.recall("http://r", "models:/age") is None


def test_what_killed_processes_left_behind_is_swept_after_a_day(tmp_path: Path) -> None:
    old, new = tmp_path / ".part-old", tmp_path / ".part-new"
    for part in (old, new):
        part.mkdir()
    os.utime(old, (time.time() - 90000,) * 2)
    Cache(tmp_path).fetch(VERSION, fill)
    assert not old.exists() and new.exists()


def test_a_model_without_an_id_is_kept_by_where_it_comes_from() -> None:
    plain = ModelVersion("age", "3", "s3://bucket/x")
    assert key(plain).startswith("at-")
    assert key(plain) != key(ModelVersion("age", "3", "s3://bucket/y"))
    assert key(ModelVersion("age", "3", "x", "m-../../etc")).startswith("at-")
