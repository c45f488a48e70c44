"""Feedback: kept like predictions, with its history; the newest truth stands beside the prediction."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansang.errors import RecordError
from hansang.record import Recorder
from hansang.record.feedback import NONE, Feedback, encode_feedback, feedback_recorder
from hansang.record.feedback_table import to_feedback_table
from hansang.record.find import find
from hansang.record.frame import Frames
from hansang.record.read import connect, query
from tests.record.making import SHARED, TIME, compact, id_at, predicted, truth_of

SYNC = b"12345678"
A, B = id_at(TIME, 1), id_at(TIME, 2)


def table(folder: Path, view: str, columns: str = "*") -> list[dict[str, Any]]:
    with connect(folder) as connection:
        rows: list[dict[str, Any]] = query(connection, f"SELECT {columns} FROM {view} ORDER BY ALL").to_pylist()
        return rows


def truths(folder: Path, id: str = A) -> list[Any]:
    """The history of one prediction, by the view and, which must be the same, by the way to one id."""
    with connect(folder) as connection:
        sql = f"SELECT truth FROM feedback WHERE id = '{id}' ORDER BY row, time, received"
        viewed = [json.loads(row["truth"]) for row in query(connection, sql).to_pylist()]
    assert [json.loads(row["truth"]) for row in find(folder, id)[1]] == viewed
    return viewed


def newest(folder: Path) -> dict[str, Any]:
    return {row["id"]: row["truth"] for row in table(folder, "outcomes", "id, truth")}


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Two predictions."""
    Recorder(tmp_path).write([predicted(TIME, 1, 2)])
    return tmp_path


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.uuids().map(str),
                st.integers(0, 2**31 - 1),
                st.just(b"")
                | st.recursive(st.integers() | st.text(max_size=3), st.lists).map(
                    lambda value: json.dumps(value).encode()
                ),
                st.none() | st.integers(0, 2 * 10**9),
                st.none() | st.floats(allow_nan=False, allow_infinity=False),
                st.none() | st.text(max_size=5),
                st.none() | st.text(max_size=5),
            ),
            min_size=1,
            max_size=4,
        ),
        max_size=4,
    )
)
def test_what_was_written_is_read_back(groups: list[list[tuple[Any, ...]]]) -> None:
    written = []
    for rows in groups:
        columns = [list(column) for column in zip(*rows, strict=True)]
        columns[3] = [NONE if time is None else time for time in columns[3]]
        columns[4] = [NONE if score is None else score for score in columns[4]]
        written.append(Feedback(TIME, *columns))
    frame, count = encode_feedback(SYNC, 0, written, 10_000)
    found = to_feedback_table(Frames(frame, SYNC)).to_pylist() if written else []
    assert count == len(found) == sum(map(len, groups))
    for row, (id, number, truth, time, score, source, key) in zip(found, sum(groups, []), strict=True):
        assert (row["id"], row["row"], row["truth"] or "", row["score"]) == (id, number, truth.decode(), score)
        assert (row["source"], row["key"]) == (source, key)
        assert row["time"].timestamp() == (row["received"].timestamp() if time is None else time)


def test_lists_of_different_length_and_large_truths_are_refused() -> None:
    with pytest.raises(RecordError, match="does not fit"):
        encode_feedback(SYNC, 0, [Feedback(TIME, [A], [0, 1], [b"1"], [NONE], [NONE], [None], [None])], 10)
    with pytest.raises(RecordError, match="a truth has 11 bytes; the limit is 10"):
        encode_feedback(SYNC, 0, [truth_of(A, b'"123456789"', TIME)], 10)


@pytest.mark.parametrize("compacted", [False, True])
def test_the_newest_truth_stands_beside_the_prediction_and_the_others_stay(record: Path, compacted: bool) -> None:
    recorder = feedback_recorder(record)
    for number, truth in enumerate((b"3.5", b"4", b'"unknown"')):
        recorder.write([truth_of(A, truth, TIME + number, source="shop")])
    recorder.roll()
    if compacted:
        compact(record)
        assert len(list(record.glob("feedback/dt=2026-11-18/*.parquet"))) == 1
    assert truths(record) == [3.5, 4, "unknown"]
    assert newest(record) == {A: '"unknown"', B: None}
    values = [row["truth_value"] for row in table(record, "feedback", "received, truth_value")]
    assert values == [3.5, 4.0, None]


def test_what_is_said_again_changes_nothing_and_what_is_taken_back_does(record: Path) -> None:
    recorder = feedback_recorder(record)
    for number, truth in enumerate((b"1", b"1", b"2", b"2", b"1")):
        recorder.write([truth_of(A, truth, TIME + number)])
    assert truths(record) == [1, 2, 1]
    assert newest(record)[A] == "1"


def test_a_request_that_comes_again_late_under_its_key_does_not_undo_a_correction(record: Path) -> None:
    recorder = feedback_recorder(record)
    recorder.write([truth_of(A, b"1", TIME, key="first")])
    recorder.write([truth_of(A, b"2", TIME + 1, key="second")])
    recorder.write([truth_of(A, b"1", TIME + 2, key="first")])
    assert truths(record) == [1, 2]
    assert newest(record)[A] == "2"


def test_the_given_time_decides_not_the_order_of_arrival(record: Path) -> None:
    recorder = feedback_recorder(record)
    recorder.write([truth_of(A, b"2", TIME + 100, time=TIME + 50)])
    recorder.write([truth_of(A, b"1", TIME + 200, time=TIME + 10)])
    assert truths(record) == [1, 2]
    assert newest(record)[A] == "2"


def test_of_two_truths_in_one_request_the_later_one_stands(record: Path) -> None:
    twice = Feedback(TIME, [A, A], [0, 0], [b"1", b"2"], [NONE] * 2, [NONE] * 2, [None] * 2, [None] * 2)
    feedback_recorder(record).write([twice])
    assert truths(record) == [1, 2]
    assert newest(record)[A] == "2"


def test_outcomes_have_one_row_a_live_answer_with_its_shadow_and_its_row_of_an_array(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    ids = [A, A]
    recorder.write([predicted(TIME, 1, 1, numbers=[0, 1])])
    for version in ("4", "5"):
        shared = replace(SHARED, role="shadow", version=version)
        outputs, errors = [b'{"y":9}', b""], [None, "no"]
        rows = predicted(TIME + 1, 1, 1, shared=shared, numbers=[0, 1], outputs=outputs, errors=errors)
        rows.ids, rows.statuses = ids, [200, 500]
        recorder.write([rows])
    feedback_recorder(tmp_path).write([truth_of(A, b"7", TIME + 2, row=1, score=0.5)])
    columns = "row, version, truth_value, score, shadow_version, shadow_output_value, shadow_status, shadow_error"
    first, second = table(tmp_path, "outcomes", columns)
    assert list(first.values()) == [0, "3", None, None, "4", 9.0, 200, None]
    assert list(second.values()) == [1, "3", 7.0, 0.5, "4", None, 500, "no"]
    found, _ = find(tmp_path, A)
    assert [(row["row"], row["role"]) for row in found] == [
        (n, role) for n in (0, 1) for role in ("live", *["shadow"] * 2)
    ]


def test_feedback_on_something_else_joins_nothing(record: Path) -> None:
    feedback_recorder(record).write([truth_of(id_at(TIME, 77), b"1", TIME)])
    assert newest(record) == {A: None, B: None}
    assert len(table(record, "feedback")) == 1
