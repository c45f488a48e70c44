"""The payload store beside a record: whole or not there, once each, and kept as long as it was said."""

from __future__ import annotations

import json
import math
import os
import time
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansang.errors import RecordError
from hansang.record.keep import Keep, set_keep
from hansang.record.payloads import (
    YOUNG,
    Found,
    Payloads,
    Place,
    fetch,
    payload_files,
    payload_path,
    references_of,
    set_place,
    shrunk,
    sweep,
)
from hansang.record.sinks.objects import store_at
from hansang.record.sinks.payloads import Mover
from hansang.record.upkeep import Upkeep
from tests.record.sinks.places import HEAVY

DAY = 86400.0


def put(folder: Path, data: bytes, age: float = 0.0) -> str:
    name = sha256(data).hexdigest()
    Payloads(folder).put(name, data)
    os.utime(payload_path(folder, name), (time.time() - age,) * 2)
    return name


@pytest.mark.parametrize("sync", [False, True])
def test_the_same_content_is_written_once_and_counts_as_new(tmp_path: Path, sync: bool) -> None:
    payloads = Payloads(tmp_path, sync)
    name = sha256(b"abc").hexdigest()
    assert payloads.put(name, b"abc")
    path = payload_path(tmp_path, name)
    os.utime(path, (1.0, 1.0))
    assert not payloads.put(name, b"abc")
    assert path.stat().st_mtime > time.time() - 60 and payload_files(tmp_path) == [path]


def test_a_file_that_was_cut_is_written_again_and_a_changed_one_is_told(tmp_path: Path) -> None:
    name = put(tmp_path, b"abcdef")
    path = payload_path(tmp_path, name)
    path.write_bytes(b"abc")
    assert Payloads(tmp_path).put(name, b"abcdef") and fetch(tmp_path, name) == b"abcdef"
    path.write_bytes(b"abcdeX")
    with pytest.raises(RecordError, match="damaged"):
        fetch(tmp_path, name)


def test_above_its_limit_the_store_takes_no_more(tmp_path: Path) -> None:
    payloads = Payloads(tmp_path, limit=10)
    payloads.put(sha256(b"12345678").hexdigest(), b"12345678")
    with pytest.raises(OSError, match="more than 10 bytes"):
        payloads.put(sha256(b"abc").hexdigest(), b"abc")
    assert payloads.put(sha256(b"ab").hexdigest(), b"ab")


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=3000) | st.lists(st.integers(), max_size=300), max_size=6))
def test_what_is_taken_out_of_a_body_can_be_put_back(value: dict[str, object]) -> None:
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    found: Found = {}
    small = shrunk(body, 2000, found)
    assert len(small) <= 2000 or small == body
    assert all(sha256(data).hexdigest() == name for name, data in found.items())
    for each in references_of({"input": small.decode()}):
        data = found[each.sha256]
        whole = json.loads(data) if each.media_type == "application/json" else data.decode()
        assert whole == (value if each.at == "input" else value[each.at.removeprefix("input.")])
    assert bool(found) == (len(body) > 2000)


def test_payloads_go_by_age_and_by_size_but_none_of_the_last_hour(tmp_path: Path) -> None:
    old, middle, young = put(tmp_path, b"old", 3 * DAY), put(tmp_path, b"mid", DAY), put(tmp_path, b"new")
    names = {path.name for path in payload_files(tmp_path)}
    assert names == {old, middle, young} and sweep(tmp_path, time.time()) == math.inf
    set_place(tmp_path, Place(days=2.0))
    assert sweep(tmp_path, time.time()) <= time.time() + YOUNG
    assert {path.name for path in payload_files(tmp_path)} == {middle, young}
    set_place(tmp_path, Place(bytes=1))
    sweep(tmp_path, time.time())
    assert {path.name for path in payload_files(tmp_path)} == {young}


def test_the_compactor_looks_after_payloads(tmp_path: Path) -> None:
    put(tmp_path, b"old", 3 * DAY)
    set_keep(tmp_path, Keep())
    set_place(tmp_path, Place(days=2.0))
    upkeep = Upkeep(tmp_path)
    list(upkeep.steps())
    assert payload_files(tmp_path) == [] and upkeep.wait is not None


def test_payloads_are_moved_to_a_store_and_kept_there_as_long_as_it_was_said(tmp_path: Path) -> None:
    folder, url = tmp_path / "records", f"file://{tmp_path}/store"
    name = put(folder, b"abc")
    set_place(folder, Place(url))
    move(folder, url)
    assert payload_files(folder) == [] and fetch(folder, name) == b"abc"
    assert [(size, path) for _, size, path in store_at(url).list()] == [(3, f"{name[:2]}/{name}")]
    os.utime(tmp_path / "store" / name[:2] / name, (1.0, 1.0))
    late = Mover(folder, Place(url, days=1.0))
    late.ending.set()
    late.run()
    assert fetch(folder, name) is None


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_payloads_wait_for_a_store_that_is_away_and_go_there_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HEAVY["s3"](tmp_path) as away:
        for variable, value in away.env.items():
            monkeypatch.setenv(variable, value)
        folder, url = tmp_path / "records", away.url.replace("records/lake", "records/payloads")
        name = put(folder, b"abc")
        set_place(folder, Place(url))
        away.down()
        move(folder, url)
        assert payload_files(folder) != [] and fetch(folder, name) == b"abc"
        away.up()
        move(folder, url)
        assert payload_files(folder) == [] and fetch(folder, name) == b"abc"
        assert fetch(folder, "0" * 64) is None
        assert [(size, path) for _, size, path in store_at(url).list()] == [(3, f"{name[:2]}/{name}")]
        store_at(url).delete(f"{name[:2]}/{name}")
        assert fetch(folder, name) is None


def move(folder: Path, url: str) -> None:
    mover = Mover(folder, Place(url))
    mover.ending.set()
    mover.run()
