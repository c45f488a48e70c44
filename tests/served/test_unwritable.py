"""A record that cannot be written: answers go on and the loss is counted, or they stop, by a setting."""

from __future__ import annotations

from pathlib import Path

from tests.served.running import served
from tests.served.wire import assert_problem, request

ROW = request('{"x":1}')


def blocked(folder: Path) -> Path:
    """Give a record whose spool cannot be made, for a file stands in its place."""
    record = folder / "record"
    record.mkdir()
    (record / "spool").write_text("in the way")
    return record


def test_answers_go_on_without_a_record_and_the_loss_is_counted(tmp_path: Path) -> None:
    with served("kitchen.py", tmp_path, records=blocked(tmp_path)) as server:
        assert [server.ask(ROW).status for _ in range(3)] == [200, 200, 200]
        assert sum(server.metrics("hansang_record_lost_rows_total").values()) == 3
        ready = server.get("/readyz")
        assert ready.status_code == 200 and "spool" in ready.json()["checks"]["record"]


def test_nothing_is_answered_unrecorded_when_the_setting_says_so(tmp_path: Path) -> None:
    with served("kitchen.py", tmp_path, records=blocked(tmp_path), record_on_full="stop") as server:
        answer = server.ask(ROW)
        assert_problem(answer, 503)
        assert "retry-after" in answer.headers
        assert server.get("/readyz").status_code == 503
        (tmp_path / "record" / "spool").unlink()
        assert server.ask(ROW).status == 200


def test_rows_that_cannot_be_read_back_are_counted_once_with_several_workers(tmp_path: Path) -> None:
    (tmp_path / "record/corrupt").mkdir(parents=True)
    (tmp_path / "record/corrupt/20261118T110640-7-0a1b.5.corrupt").touch()
    with served("kitchen.py", tmp_path, records=tmp_path / "record", workers=2) as server:
        assert server.metrics("hansang_record_corrupt_rows") == {"": 5.0}
        assert server.get("/readyz").json()["checks"]["record"] == "ok, 5 rows lost"
