"""Handing files to a sink: order, faults, poison, positions, retention and its limit."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hansang.record import Limits, Recorder
from hansang.record.files import parquet_files
from hansang.record.keep import Keep, set_keep
from hansang.record.merge import due_merges, merge
from hansang.record.sinks.collect import SinkCollector, sink_checks
from hansang.record.sinks.delivery import ATTEMPTS, Delivery
from hansang.record.sinks.lag import lags
from hansang.record.sinks.owner import Owner
from hansang.record.sinks.position import Position, Positions
from hansang.record.sinks.wanted import set_wanted
from hansang.record.upkeep import Upkeep
from tests.record.sinks.held import HeldSink
from tests.record.sinks.making import NOW, compact, id_at, predicted

ROWS = 50
Deliver = Callable[[HeldSink], Position]


def write(folder: Path, first: int, rows: int = ROWS) -> None:
    recorder = Recorder(folder)
    recorder.write([predicted(range(first, first + rows))])
    recorder.roll()
    compact(folder)


def ids(first: int, count: int) -> list[str]:
    return [id_at(NOW, number) for number in range(first, first + count)]


@pytest.fixture
def deliver(tmp_path: Path) -> Deliver:
    """Deliver what waits to a sink called `held`, without resting between attempts, and give its position."""

    def work(sink: HeldSink) -> Position:
        with Positions(tmp_path) as positions:
            positions.register({"held": "held:"}, parquet_files(tmp_path, "predictions"))
            delivery = Delivery(tmp_path, "held", lambda: sink, positions)
            while positions.waiting("held", parquet_files(tmp_path, "predictions")):
                delivery.ending.set()
                delivery.run()
            (position,) = positions.all()
        return position

    return work


def test_files_come_once_and_in_the_order_of_their_time(tmp_path: Path, deliver: Deliver) -> None:
    sink = HeldSink()
    for number in range(3):
        write(tmp_path, number * ROWS)
    position = deliver(sink)
    assert sorted(sink.taken) == ids(0, 3 * ROWS)
    assert position.delivered == 3 * ROWS
    assert (position.behind_rows, position.behind_bytes, position.oldest) == (0, 0, None)
    write(tmp_path, 3 * ROWS)
    deliver(sink)
    assert sorted(sink.taken) == ids(0, 4 * ROWS)


def test_a_file_comes_in_parcels_and_goes_on_where_it_stopped(tmp_path: Path, deliver: Deliver) -> None:
    write(tmp_path, 0)
    sink = HeldSink(most_rows=20)
    deliver(sink)
    assert [name.rpartition("/")[2] for name in sink.parcels] == ["0-20", "20-40", "40-50"]
    failing = HeldSink(most_rows=20)
    write(tmp_path, ROWS)
    failing.faults = []
    deliver(failing)
    assert failing.taken == ids(ROWS, ROWS)


def test_a_sink_that_fails_is_entered_anew_and_gets_the_same_parcel(tmp_path: Path, deliver: Deliver) -> None:
    write(tmp_path, 0)
    sink = HeldSink(most_rows=20, faults=[ConnectionError("nobody listens"), TimeoutError("too slow")])
    position = deliver(sink)
    assert sink.taken == ids(0, ROWS)
    assert sink.parcels[0] == sink.parcels[1] == sink.parcels[2]
    assert sink.entered == 3
    assert (position.retries, position.failures, position.error) == (2, 0, "")


def test_the_wait_between_attempts_doubles_up_to_a_minute_and_varies(tmp_path: Path) -> None:
    waits: list[float] = []

    class Rest:
        def wait(self, seconds: float) -> None:
            waits.append(seconds)

        def is_set(self) -> bool:
            return len(waits) == 10

    with Positions(tmp_path) as positions:

        def never() -> HeldSink:
            raise ConnectionError("nobody listens")

        ending = Rest()
        Delivery(tmp_path, "held", never, positions, ending=ending, jitter=lambda: 1.0).run()  # type: ignore[arg-type]  # an event that does not sleep
        assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
        del waits[:]
        Delivery(tmp_path, "held", never, positions, ending=ending, jitter=lambda: 0.0).run()  # type: ignore[arg-type]  # the same
        assert waits[:3] == [0.25, 0.5, 1.0]


@pytest.mark.parametrize("names_rows", [False, True])
def test_poison_is_put_aside_and_counted_and_all_other_rows_arrive(
    tmp_path: Path, deliver: Deliver, names_rows: bool, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 0)
    bad = {id_at(NOW, 7), id_at(NOW, 33)}
    sink = HeldSink(poison=bad, names_rows=names_rows)
    position = deliver(sink)
    assert sink.taken == [id for id in ids(0, ROWS) if id not in bad]
    assert (position.delivered, position.quarantined) == (ROWS - 2, 2)
    (file,) = tmp_path.glob("sinks/quarantine/held/predictions/*.parquet")
    kept = pq.read_table(file)
    assert set(kept["id"].to_pylist()) == bad
    assert "poison" in kept["refused"][0].as_py()
    assert "2 rows are refused and kept in" in caplog.text
    assert sink_checks(tmp_path) == {"sink held": "ok, 2 rows quarantined"}


def test_a_sink_that_takes_no_row_is_asked_again_before_a_parcel_is_put_aside(tmp_path: Path, deliver: Deliver) -> None:
    write(tmp_path, 0)
    sink = HeldSink(poison=set(ids(0, ROWS)))
    with Positions(tmp_path) as positions:
        positions.register({"held": "held:"}, [])
        delivery = Delivery(tmp_path, "held", lambda: sink, positions)
        delivery.ending.set()
        for attempt in range(1, ATTEMPTS):
            delivery.run()
            assert positions.all()[0].failures == attempt
            assert positions.all()[0].error.startswith("AllRefused: it takes no row: there is poison")
        delivery.run()
        assert positions.all()[0].quarantined == ROWS
        assert sink.taken == []
    write(tmp_path, ROWS)
    assert deliver(sink).delivered == ROWS


# --- merging and retention ---


class Idle(Owner):
    """An owner that starts no process."""

    def _tell(self) -> None:
        pass


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    set_wanted(tmp_path, "bikes", ["log:"], limit=1)
    with Idle(tmp_path) as owner:
        owner.look()
        yield owner


def test_files_that_a_sink_has_not_got_are_neither_merged_nor_deleted(tmp_path: Path, owner: Owner) -> None:
    write(tmp_path, 0)
    write(tmp_path, ROWS)
    before = parquet_files(tmp_path, "predictions")
    owner.wanted = owner.wanted.__class__(owner.wanted.sinks, None)
    upkeep = Upkeep(tmp_path, owner.spared, clock=lambda: NOW * 2)
    set_keep(tmp_path, Keep(days=1.0))
    list(upkeep.steps())
    assert parquet_files(tmp_path, "predictions") == before
    assert owner.positions is not None
    (sink,) = (each.name for each in owner.positions.all())
    for path in before:
        owner.positions.advance(sink, path, ROWS, ROWS, complete=True)
    assert not any(map(owner.spared, before))
    list(Upkeep(tmp_path, owner.spared, clock=lambda: NOW * 2).steps())
    assert parquet_files(tmp_path, "predictions") == []


def test_a_merged_file_counts_as_delivered_unless_it_was_there_before_the_sink(tmp_path: Path) -> None:
    write(tmp_path, 0)
    write(tmp_path, ROWS)
    files = parquet_files(tmp_path, "predictions")
    with Positions(tmp_path) as positions:
        positions.register({"early": "early:"}, files)
        for path in files:
            positions.advance("early", path, ROWS, ROWS, complete=True)
        (work,), _ = due_merges(tmp_path, NOW * 2)
        list(merge(work))
        merged = parquet_files(tmp_path, "predictions")
        assert len(merged) == 1
        positions.forget(merged)
        assert positions.waiting("early", merged) == []
        positions.register({"early": "early:", "late": "late:"}, merged)
        assert positions.waiting("late", merged) == [(merged[0], 0)]
        assert positions.lacking(merged[0]) == [("late", 0)]


def test_what_a_limit_takes_from_a_sink_is_counted(tmp_path: Path, owner: Owner) -> None:
    write(tmp_path, 0)
    set_keep(tmp_path, Keep(days=1e-9))
    owner.look()
    assert owner.positions is not None
    (position,) = owner.positions.all()
    assert position.given_up == ROWS
    (path,) = parquet_files(tmp_path, "predictions")
    assert not owner.spared(path)


def test_a_sink_that_is_taken_back_is_forgotten_and_gets_everything_when_it_returns(
    tmp_path: Path, deliver: Deliver
) -> None:
    write(tmp_path, 0)
    deliver(HeldSink())
    with Positions(tmp_path) as positions:
        positions.register({}, [])
        assert positions.all() == []
    sink = HeldSink()
    deliver(sink)
    assert sink.taken == ids(0, ROWS)


def test_one_sink_that_is_down_does_not_hold_up_another(tmp_path: Path) -> None:
    write(tmp_path, 0)
    well = HeldSink()
    down = HeldSink(faults=[ConnectionError("no")] * 3)
    with Positions(tmp_path) as positions:
        positions.register({"well": "well:", "down": "down:"}, [])
        for name, sink in (("down", down), ("well", well)):
            delivery = Delivery(tmp_path, name, lambda sink=sink: sink, positions)  # type: ignore[misc]  # mypy cannot infer it
            delivery.ending.set()
            delivery.run()
    assert well.taken == ids(0, ROWS)
    rows = {lag.position.name: lag.rows for lag in lags(tmp_path)}
    assert rows == {"well": 0, "down": ROWS}
    metrics = {
        (family.name, sample.labels["sink"]): sample.value
        for family in SinkCollector(tmp_path).collect()
        for sample in family.samples
    }
    assert metrics["hansang_record_sink_rows", "well"] == ROWS
    assert metrics["hansang_record_sink_behind_rows", "down"] == ROWS
    assert metrics["hansang_record_sink_failing", "down"] == 1
    assert metrics["hansang_record_sink_behind_seconds", "down"] > 0


# --- the spool's limit ---


def test_rows_above_the_limit_of_the_spool_are_counted_everywhere(tmp_path: Path) -> None:
    moments = iter(range(1000))
    recorder = Recorder(tmp_path, Limits(spool=4096), clock=lambda: float(next(moments)))
    for number in range(20):
        recorder.write([predicted(range(10 * number, 10 * number + 10))])
    lost = recorder.lost["spool limit"]
    assert 0 < lost < 200
    assert recorder.rows_written == 200 - lost
    stats = recorder.stats()
    assert stats.lost == {"spool limit": lost}
    assert stats.spool_bytes >= 4096
    (sidecar,) = tmp_path.glob("lost/predictions-*.json")
    assert f'"spool limit": {lost}' in sidecar.read_text()
    compact(tmp_path)
    recorder.write([predicted(range(500, 510))])
    assert recorder.lost["spool limit"] == lost
    assert recorder.failing == ""


def test_the_position_survives_a_process_that_dies_in_a_change(tmp_path: Path) -> None:
    write(tmp_path, 0)
    (path,) = parquet_files(tmp_path, "predictions")
    with Positions(tmp_path) as positions:
        positions.register({"held": "held:"}, [])
        positions.connection.execute("BEGIN IMMEDIATE")
        positions.connection.execute("DELETE FROM sink")
    with Positions(tmp_path) as positions:
        assert [each.name for each in positions.all()] == ["held"]
        positions.advance("held", path, 10, 10, complete=False)
        with pytest.raises(sqlite3.OperationalError), positions.transaction() as change:
            change.execute("DELETE FROM file")
            change.execute("no SQL")
        assert positions.waiting("held", [path]) == [(path, 10)]
