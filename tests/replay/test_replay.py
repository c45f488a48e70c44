"""Recorded input through another version, offline."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hansang.errors import RecordError, UsageError
from hansang.replay import Replay, replay
from hansang.replay.fields import Tolerance
from tests.replay.conftest import NOON, RIDES, SHARED, Tell, Write, answer

NAMED = """
from hansang import Service, node

@node.each
def same(row: dict[str, object]) -> dict[str, object]:
    return {"row": row["km"], "error": "none", "output.a": 2}

service = Service("named", same, input=dict[str, object])
"""


@pytest.fixture
def faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the service another version: rides take two thirds of the time."""
    monkeypatch.setenv("RIDES_FACTOR", "2")


def replayed(folder: Path, **options: Any) -> Replay:
    return replay(str(RIDES), folder, processes=1, **options)


def files(folder: Path) -> dict[str, bytes]:
    """Give what a record holds; every reader leaves its lock."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_the_version_that_was_recorded_says_the_same_again(folder: Path, write: Write) -> None:
    write([1.1, 7.3, 0])
    found = replayed(folder).document()
    assert (found["replayed"], found["answered_by_both"], found["changed"]) == (3, 3, 0)
    assert found["not_replayed"] == found["errors"] == {}
    assert found["recorded_versions"] == {"7": 3}
    assert (found["first"], found["last"]) == ("2026-11-18T12:00:00Z", "2026-11-18T12:00:02Z")
    assert found["one_row_ms"]["p50"] > 0
    assert found["recorded_latency_ms"]["p50"] == pytest.approx(4, rel=0.01)


def test_another_version_is_compared_field_by_field(folder: Path, write: Write, faster: None) -> None:
    ids = write([0, 3, 6, 9])
    found = replayed(folder).document()
    assert found["changed"] == 3
    minutes = found["fields"]["minutes"]
    assert (minutes["rows"], minutes["changed"]) == (4, 3)
    assert minutes["numbers"]["recorded"]["mean"] == 13.5
    assert minutes["numbers"]["new"]["mean"] == 9
    assert minutes["numbers"]["difference"]["mean"] == -4.5
    assert [(each["id"], each["difference"]) for each in minutes["numbers"]["largest"]] == [
        (ids[3], -9),
        (ids[2], -6),
        (ids[1], -3),
    ]
    cells = {(each["recorded"], each["new"]): each["rows"] for each in found["fields"]["kind"]["confusion"]}
    assert cells == {("short", "short"): 2, ("long", "short"): 1, ("long", "long"): 1}


def test_a_difference_within_the_tolerance_is_none(folder: Path, write: Write, faster: None) -> None:
    write([1, 2, 3])
    assert replayed(folder, tolerance=Tolerance.of("2.5")).document()["fields"]["minutes"]["changed"] == 1
    assert replayed(folder, tolerance=Tolerance.of("34%")).document()["changed"] == 0
    assert replayed(folder, tolerance=Tolerance.of("33%")).document()["changed"] == 3


def test_a_row_that_does_not_fit_the_new_schema_stops_nothing(
    folder: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIDES_LIMIT", "5")
    write([1, 6, 2])
    found = replayed(folder).document()
    assert (found["replayed"], found["answered_by_both"], found["newly_failed"], found["changed"]) == (3, 2, 1, 1)
    assert found["errors"] == {"422: km: Input should be less than or equal to 5": 1}


def test_what_failed_then_may_be_answered_now(folder: Path, write: Write) -> None:
    write([1])
    write([2], NOON + 10, outputs=[b""], statuses=[500], errors=["the model failed"])
    write([-1], NOON + 20, outputs=[b""], statuses=[503], errors=["overloaded"])
    found = replayed(folder).document()
    assert (found["newly_answered"], found["failed_both_times"], found["newly_failed"]) == (1, 1, 0)


def test_rows_that_cannot_be_replayed_are_counted_and_named(folder: Path, write: Write) -> None:
    hashed = b"0" * 64
    write([1])
    write([2], NOON + 10, inputs=[b""], statuses=[422], outputs=[b""])
    write([3], NOON + 20, inputs=[b'{"omitted": "%s", "bytes": 99999}' % hashed])
    write([4], NOON + 30, inputs=[b'{"km":4,"photo":{"sha256":"%s","bytes":17}}' % hashed])
    found = replayed(folder).document()
    assert (found["replayed"], found["changed"]) == (1, 0)
    assert found["not_replayed"] == {
        "the record has no input: the row did not fit the schema, or was refused before it was read": 1,
        "the input was above HANSANG_RECORD_BODY_LIMIT: the record has its hash only": 1,
        "a file or payload in the input is not in the record, which has its hash only": 1,
    }


def test_an_answer_that_was_too_large_for_the_record_is_not_called_a_change(folder: Path, write: Write) -> None:
    write([1], outputs=[b'{"omitted": "%s", "bytes": 99999}' % (b"0" * 64)])
    found = replayed(folder).document()
    assert (found["recorded_answer_unknown"], found["changed"], found["answered_by_both"]) == (1, 0, 0)


def test_answers_that_were_not_sent_and_replayed_requests_are_left_out(folder: Path, write: Write) -> None:
    (id,) = write([1])
    write([1], ids=[id], shared=replace(SHARED, role="shadow", version="8"))
    write([5], NOON + 10, request_ids=["replay-" + id])
    write([5], NOON + 20, shared=replace(SHARED, service="other"))
    assert replayed(folder).document()["replayed"] == 1


def test_rows_are_chosen_by_time_version_and_number(folder: Path, write: Write) -> None:
    write([1, 2, 3, 4])
    write([9], NOON + 2.5, shared=replace(SHARED, version="8,2"))
    assert replayed(folder, since=NOON + 1, until=NOON + 3).taken.rows == 3
    assert replayed(folder, version="8").taken.rows == 1
    found = replayed(folder, limit=3, since=NOON + 1).document()
    assert (found["replayed"], found["recorded_versions"]) == (3, {"7": 2, "8,2": 1})
    assert found["last"] == "2026-11-18T12:00:02.500000Z"


def test_the_truth_says_which_version_is_better(folder: Path, write: Write, tell: Tell, faster: None) -> None:
    ids = write([3, 6, 9, 12])
    tell(ids[:3], [{"minutes": 7, "kind": "short"}, {"minutes": 11, "kind": "short"}, {"minutes": 27, "kind": "long"}])
    found = replayed(folder).document()
    error = found["quality"]["minutes"]["mean_absolute_error"]
    assert found["quality"]["minutes"]["pairs"] == 3
    assert error["recorded"]["mean"] == 3  # 2, 7 and 0
    assert error["new"]["mean"] == pytest.approx(11 / 3, abs=1e-4)  # 1, 1 and 9
    assert error["difference"]["mean"] == pytest.approx(2 / 3, abs=1e-4)
    low, high = error["difference"]["interval"]
    assert low < 0 < high
    wrong = found["quality"]["kind"]["wrong"]
    assert wrong["recorded"]["mean"] == pytest.approx(1 / 3, abs=1e-4)
    assert wrong["new"]["mean"] == 0
    assert found["truths"] == {"used": 3, "without_a_field": 0}


def test_a_bare_truth_belongs_to_the_only_field_of_its_kind(folder: Path, write: Write, tell: Tell) -> None:
    tell(write([3, 6, 9]), [9, "short", {"colour": "red"}])
    found = replayed(folder).document()
    assert found["quality"]["minutes"]["mean_absolute_error"]["new"]["mean"] == 0
    assert found["quality"]["kind"]["wrong"]["new"]["mean"] == 1
    assert found["truths"] == {"used": 2, "without_a_field": 1}


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl"])
def test_both_answers_to_every_row_are_in_a_file(folder: Path, write: Write, faster: None, name: str) -> None:
    ids = write([1, 6])
    replayed(folder, rows=Path(name))
    if name.endswith("parquet"):
        rows = [{**row, "new": json.loads(row["new"])} for row in pq.read_table(name).to_pylist()]
    else:
        rows = [json.loads(line) for line in Path(name).read_text().splitlines()]
    found = {row["id"]: row for row in rows}
    assert found[ids[1]]["new"] == {"minutes": 12, "kind": "short"}
    assert (found[ids[0]]["changed"], found[ids[0]]["version"], found[ids[0]]["new_error"]) == (True, "7", None)


def test_bodies_are_read_however_they_were_written(folder: Path, write: Write) -> None:
    write([2], inputs=[b'{\n  "city": "Seo\\nul",\r\n  "km": 2\n}'])
    write([3], NOON + 5, inputs=[b'{"km": 3.0}'], outputs=[answer(3).replace(b" ", b"")])
    found = replayed(folder).document()
    assert (found["replayed"], found["changed"]) == (2, 0)


def test_a_replay_writes_nothing_into_the_record(folder: Path, write: Write, tmp_path: Path) -> None:
    write([1, 2])
    before = files(folder)
    replayed(folder)
    assert files(folder) == before
    assert not (tmp_path / ".hansang").exists()


def test_several_processes_find_what_one_finds(folder: Path, write: Write, faster: None) -> None:
    write([n / 10 for n in range(200)], step=0.01)
    one, two = (replay(str(RIDES), folder, processes=count).document() for count in (1, 2))
    assert one["changed"] == 199
    for unlike in ("seconds", "rows_per_second", "processes", "one_row_ms"):
        del one[unlike], two[unlike]
    assert two == one


def test_a_version_that_answers_no_row_is_reported_like_any_other(
    folder: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIDES_LIMIT", "0")
    write([1, 2])
    found = replayed(folder).document()
    assert (found["newly_failed"], found["answered_by_both"], found["fields"]) == (2, 0, {})
    assert found["one_row_ms"] == {"p50": None, "p95": None, "p99": None}


def test_fields_with_names_that_scoring_needs_are_compared(folder: Path, write: Write, tmp_path: Path) -> None:
    (tmp_path / "named.py").write_text(NAMED)
    write([1], outputs=[b'{"row": 1.0, "error": "none", "output.a": 2}'], shared=replace(SHARED, service="named"))
    found = replay("named.py", folder, processes=1).document()
    assert found["changed"] == 0
    assert list(found["fields"]) == ["error", "output.a", "row"]


def test_a_name_needs_somebody_who_answers(folder: Path, write: Write) -> None:
    write([1])
    with pytest.raises(UsageError, match=r"say who answers in the place of rides: --with models:/NAME/VERSION"):
        replay("rides", folder)
    assert replay("rides", folder, instead=str(RIDES), processes=1).taken.rows == 1


def test_a_record_without_such_rows_says_what_it_has(folder: Path, write: Write) -> None:
    write([1])
    with pytest.raises(RecordError, match="no rows of the service 'bikes' in this time; the record has: rides"):
        replay("bikes", folder, instead=str(RIDES))
    with pytest.raises(UsageError, match="no rows of the endpoint '/price'; the record has: predict"):
        replayed(folder, endpoint="/price")
    with pytest.raises(UsageError, match="until is not after since"):
        replayed(folder, since="1h", until="2h")
