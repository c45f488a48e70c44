"""The spool's frames: what goes in comes out, and damage is found, skipped and counted."""

from __future__ import annotations

import json
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansang.errors import RecordError
from hansang.record import Recorder, Rows, Shared
from hansang.record.frame import Frames, encode
from hansang.record.segment import HEADER, read_segment
from hansang.record.table import to_table
from tests.record.making import MakeRows

SYNC = b"12345678"
LIMIT = 1000

text = st.text(max_size=8)
words = st.builds(Shared, text, text, text, text, text, text, st.sampled_from(["live", "shadow"]), st.booleans())
bodies = st.one_of(st.just(b""), st.dictionaries(text, text, max_size=3).map(lambda body: json.dumps(body).encode()))


@st.composite
def groups(draw: st.DrawFn) -> Rows:
    size = draw(st.integers(1, 5))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=size, max_size=size))

    def sparse(values: st.SearchStrategy[Any]) -> list[Any] | None:
        return column(values) if draw(st.booleans()) else None

    return Rows(
        draw(words),
        draw(st.integers(1, 1000)),
        draw(st.integers(0, 10**6)) / 1e6,
        column(st.uuids().map(str)),
        draw(st.integers(0, 2 * 10**9)) + draw(st.integers(0, 999_999)) / 1e6,
        column(st.integers(0, 10**8).map(lambda micros: micros / 1e6)),
        column(bodies),
        column(bodies),
        sparse(st.integers(0, 10**6)),
        sparse(st.sampled_from([200, 422, 500])),
        sparse(st.none() | text),
        sparse(st.none() | text),
        sparse(st.none() | text),
        sparse(st.none() | st.dictionaries(text, text, max_size=2)),
    )


def expected(group: Rows) -> list[dict[str, Any]]:
    size = len(group.ids)
    empty: list[Any] = [None] * size
    columns: dict[str, list[Any]] = {
        "id": group.ids,
        "row": group.numbers or [0] * size,
        "request_id": group.request_ids or empty,
        "key": group.keys or empty,
        "status": group.statuses or [200] * size,
        "error": group.errors or empty,
        "latency_ms": [pytest.approx(latency * 1e3) for latency in group.latencies],
        "input": [body.decode() or None for body in group.inputs],
        "output": [body.decode() or None for body in group.outputs],
        "tags": [None if tags is None else json.dumps(tags) for tags in group.tags or empty],
    }
    common: dict[str, Any] = {
        **asdict(group.shared),
        "batch_rows": group.batch_rows,
        "queue_ms": pytest.approx(group.queue * 1e3),
    }
    return [{name: values[i] for name, values in columns.items()} | common for i in range(size)]


def decoded(frames: Frames) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = to_table(frames).to_pylist()
    return rows


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(groups(), min_size=1, max_size=3), max_size=4))
def test_what_was_written_is_read_back(turns: list[list[Rows]]) -> None:
    data = b""
    before = 0
    for turn in turns:
        frame, rows = encode(SYNC, before, turn, LIMIT)
        data += frame
        before += rows
    frames = Frames(data, SYNC, closed=True)
    found = decoded(frames)
    wanted = [(row, group.time) for turn in turns for group in turn for row in expected(group)]
    assert frames.damage.rows == 0
    assert len(found) == before == len(wanted)
    for row, (fields, time) in zip(found, wanted, strict=True):
        row["tags"] = row["tags"] and json.dumps(json.loads(row["tags"]))
        assert {name: row[name] for name in fields} == fields
        assert row["time"].timestamp() == pytest.approx(time, abs=2e-6)


@pytest.fixture
def segment(tmp_path: Path, make_rows: MakeRows) -> bytes:
    """A closed segment of four frames, two rows each."""
    recorder = Recorder(tmp_path)
    for turn in range(4):
        recorder.write([make_rows(2 * turn, 2)])
    recorder.roll()
    (path,) = (tmp_path / "spool").iterdir()
    return path.read_bytes()


def test_a_torn_tail_is_cut_at_the_last_whole_frame_wherever_it_is_torn(segment: bytes) -> None:
    whole = read_segment(segment, "whole")
    ends = [start - 16 for start in whole][1:]  # where the next frame begins
    rows = decoded(whole)
    for cut in range(HEADER.size, len(segment)):
        frames = read_segment(segment[:cut], "torn")
        complete = sum(end <= cut for end in ends)
        assert decoded(frames) == rows[: 2 * complete]
        assert frames.damage.rows == 0
        assert frames.damage.torn_bytes == cut - max([HEADER.size, *(end for end in ends if end <= cut)])


def test_a_flipped_byte_is_found_and_counted_wherever_it_is(segment: bytes) -> None:
    rows = decoded(read_segment(segment, "whole", closed=True))
    for at in range(len(segment)):
        flipped = segment[:at] + bytes([segment[at] ^ 0x10]) + segment[at + 1 :]
        frames = read_segment(flipped, "flipped", closed=True)
        found = decoded(frames)
        assert all(row in rows for row in found), at
        assert frames.damage.rows > 0, at
        assert len(found) + frames.damage.rows >= len(rows) or at < HEADER.size


def test_only_the_rows_of_the_damaged_frame_are_lost(segment: bytes) -> None:
    second = list(read_segment(segment, "whole"))[1] + 30
    for at in (second, second - 40):  # in the payload, and in the head of the frame
        frames = read_segment(segment[:at] + b"\xff" + segment[at + 1 :], "damaged", closed=True)
        assert [row["output_value"] for row in decoded(frames)] == [0.5, 1.5, 4.5, 5.5, 6.5, 7.5]
        assert (frames.damage.frames, frames.damage.rows) == (1, 2)


def test_a_segment_of_a_later_version_is_refused_by_name(segment: bytes) -> None:
    head = bytearray(segment[: HEADER.size])
    head[8] = 2
    head[-4:] = crc32(head[:-4]).to_bytes(4, "little")
    with pytest.raises(RecordError, match="segment future is of version 2; this Hansang reads version 1"):
        read_segment(bytes(head), "future")


def test_a_body_above_the_limit_is_kept_as_its_hash(make_rows: MakeRows) -> None:
    large = b'{"x":"%s"}' % (b"a" * LIMIT)
    group = make_rows(0, 2, inputs=[large, b'{"x":1}'], outputs=[large, b'{"y":1}'])
    frame, _ = encode(SYNC, 0, [group], LIMIT)
    first, second = decoded(Frames(frame, SYNC))
    kept = {"omitted": sha256(large).hexdigest(), "bytes": len(large)}
    assert json.loads(first["input"]) == json.loads(first["output"]) == kept
    assert first["output_value"] is None
    assert second["input"] == '{"x":1}'


def test_bytes_that_are_no_text_do_not_make_the_others_unreadable(make_rows: MakeRows) -> None:
    group = make_rows(0, 2, inputs=[b"\xff\xfe", b'{"x":1}'], request_ids=["\ud800", None])
    frame, _ = encode(SYNC, 0, [group], LIMIT)
    first, second = decoded(Frames(frame, SYNC))
    assert (first["input"], first["request_id"]) == ("\ufffd\ufffd", "?")
    assert (second["input"], second["request_id"]) == ('{"x":1}', None)


def test_a_body_that_looks_like_a_frame_is_not_believed(make_rows: MakeRows) -> None:
    forged, _ = encode(b"guessed!", 0, [make_rows(7, 1)], LIMIT)
    frame, _ = encode(SYNC, 0, [make_rows(0, 1, inputs=[forged])], LIMIT)
    frames = Frames(frame[:8] + b"\0" + frame[9:], SYNC, closed=True)
    assert decoded(frames) == []
    assert frames.damage.rows == 1


@pytest.mark.parametrize(
    "change",
    [
        {"latencies": [0.1]},
        {"inputs": [b"{}"]},
        {"outputs": []},
        {"ids": ["short"] * 2},
        {"statuses": [200]},
        {"keys": ["a"]},
        {"numbers": ["x", "y"]},
    ],
)
def test_a_group_whose_columns_do_not_fit_is_refused(make_rows: MakeRows, change: dict[str, Any]) -> None:
    with pytest.raises(RecordError):
        encode(SYNC, 0, [make_rows(0, 2, **change)], LIMIT)
