"""What only some kinds of sinks do: faults of BigQuery, poison of PostgreSQL and Kafka, log lines, the command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hansang.cli.main import app
from hansang.extras import require
from hansang.record import Recorder
from hansang.record.files import parquet_files
from hansang.record.sinks.address import read, sink_of
from hansang.record.sinks.delivery import Delivery
from hansang.record.sinks.position import Position, Positions
from hansang.record.sinks.wanted import set_wanted
from tests.record.sinks.bigquery import FakeBigQuery
from tests.record.sinks.making import NOW, compact, id_at, predicted
from tests.record.sinks.places import kafka, postgres

ROWS = 30
Deliver = Callable[[str], Position]


@pytest.fixture
def bigquery() -> Iterator[FakeBigQuery]:
    server = FakeBigQuery()
    yield server
    server.close()


@pytest.fixture
def url(bigquery: FakeBigQuery) -> str:
    return f"bigquery://tests/records/predictions?write=insertAll&endpoint=http://127.0.0.1:{bigquery.port}"


@pytest.fixture
def deliver(tmp_path: Path) -> Deliver:
    """Deliver all that waits, with an attempt after each failure at once."""
    folder = tmp_path / "records"

    def work(url: str) -> Position:
        files = parquet_files(folder, "predictions")
        address = read(url)
        with Positions(folder) as positions:
            positions.register({address.name: str(address)}, files)
            delivery = Delivery(folder, address.name, lambda: sink_of(address), positions)
            delivery.ending.set()
            for _ in range(20):
                delivery.run()
                if not positions.waiting(address.name, files):
                    break
            (position,) = positions.all()
        return position

    return work


def write(tmp_path: Path, errors: dict[int, str] | None = None, **changes: object) -> list[str]:
    recorder = Recorder(tmp_path / "records")
    texts = [(errors or {}).get(number) for number in range(ROWS)]
    recorder.write([predicted(range(ROWS), errors=texts, **changes)])
    recorder.roll()
    compact(tmp_path / "records")
    return [id_at(NOW, number) for number in range(ROWS)]


@pytest.mark.parametrize("status", [403, 429, 503, 0])
def test_bigquery_refuses_throttles_or_takes_rows_and_fails_and_readers_see_each_once(
    tmp_path: Path, deliver: Deliver, bigquery: FakeBigQuery, url: str, status: int
) -> None:
    ids = write(tmp_path)
    bigquery.faults = [status, status]
    position = deliver(url)
    assert sorted(id for _, id in bigquery.seen()) == ids
    assert position.retries == 2
    assert len(bigquery.rows["predictions"]) == (3 * ROWS if status == 0 else ROWS)


def test_a_row_that_does_not_fit_bigquery_is_put_aside_and_the_others_are_sent_once(
    tmp_path: Path, deliver: Deliver, bigquery: FakeBigQuery, url: str
) -> None:
    ids = write(tmp_path, {4: "poison"})
    position = deliver(url)
    assert (position.delivered, position.quarantined) == (ROWS - 1, 1)
    assert sorted(row["id"] for row in bigquery.rows["predictions"]) == [id for id in ids if id != ids[4]]


def test_what_is_too_large_for_bigquery_is_cut_until_it_fits(
    tmp_path: Path, deliver: Deliver, bigquery: FakeBigQuery, url: str
) -> None:
    ids = write(tmp_path)
    bigquery.most_rows = 8
    assert deliver(url).quarantined == 0
    assert sorted(row["id"] for row in bigquery.rows["predictions"]) == ids


def test_tables_of_bigquery_are_partitioned_by_day_and_clustered(
    tmp_path: Path, deliver: Deliver, bigquery: FakeBigQuery, url: str
) -> None:
    write(tmp_path)
    deliver(url)
    table = bigquery.tables["predictions"]
    assert table["timePartitioning"] == {"type": "DAY", "field": "time"}
    assert table["clustering"] == {"fields": ["service", "model", "version", "id"]}
    types = {field["name"]: field["type"] for field in table["schema"]["fields"]}
    assert (types["row"], types["output_value"], types["time"]) == ("INT64", "FLOAT64", "TIMESTAMP")


def test_a_zero_byte_does_not_keep_the_other_rows_out_of_postgresql(tmp_path: Path, deliver: Deliver) -> None:
    ids = write(tmp_path, {9: "a zero \0 byte"})
    with postgres(tmp_path) as place:
        place.up()
        position = deliver(place.url)
        assert (position.delivered, position.quarantined) == (ROWS - 1, 1)
        assert sorted(id for kind, id in place.seen() if kind == "predictions") == [id for id in ids if id != ids[9]]


def test_rows_in_quarantine_are_delivered_when_the_table_is_repaired(tmp_path: Path, deliver: Deliver) -> None:
    inputs = [b'{"x":%d}' % number for number in range(ROWS)]
    write(tmp_path, inputs=inputs)
    records = tmp_path / "records"
    with postgres(tmp_path) as place:
        place.up()
        url, _, table = place.url.partition("?table=")
        set_wanted(records, "s", (place.url,), None)
        assert deliver(place.url).delivered == ROWS
        with require("adbc_driver_postgresql.dbapi", "postgres").connect(url, autocommit=True) as connection:
            with connection.cursor() as cursor:
                cursor.execute(f"DELETE FROM {table}")
                cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT small CHECK ((input::json->>'x')::int < 25)")
            shutil.rmtree(records / "sinks" / "quarantine", ignore_errors=True)
            (records / "sinks" / "position.db").unlink()
            assert deliver(place.url).quarantined == 5
            status, (first,) = redeliver(records)
            assert (status, first["delivered"], first["refused"]) == (1, 0, 5)
            assert first["reason"].startswith("it takes no row: ERROR:  new row for relation")
            assert 'violates check constraint "small"' in first["reason"]
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT small")
                cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT smaller CHECK ((input::json->>'x')::int < 28)")
            status, (second,) = redeliver(records)
            assert (status, second["delivered"], second["refused"]) == (1, 3, 2)
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT smaller")
        status, (third,) = redeliver(records)
        assert (status, third["delivered"], third["refused"]) == (0, 2, 0)
        assert len(place.seen()) == ROWS
    assert redeliver(records) == (0, [])
    done = CliRunner().invoke(app, ["records", "redeliver", "--dir", str(records), "--sink", "nothing"])
    assert str(done.exception) == f"no sink 'nothing'; the record has: {read(place.url).name}"


def redeliver(folder: Path) -> tuple[int, list[dict[str, Any]]]:
    done = CliRunner().invoke(app, ["records", "redeliver", "--dir", str(folder), "--json"])
    return done.exit_code, [json.loads(line) for line in done.output.splitlines()]


def test_a_table_of_ones_own_may_have_other_types(tmp_path: Path, deliver: Deliver) -> None:
    inputs = [b'{"x":%d}' % number for number in range(ROWS)]
    write(tmp_path, inputs=inputs)
    with postgres(tmp_path) as place:
        place.up()
        assert deliver(place.url).delivered == ROWS
        url, _, table = place.url.partition("?table=")
        with require("adbc_driver_postgresql.dbapi", "postgres").connect(url, autocommit=True) as connection:
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER TABLE {table} ALTER input TYPE jsonb USING input::jsonb")
                cursor.execute(f"DELETE FROM {table} WHERE (input->>'x')::int >= 10")
        assert len(place.seen()) == 10
        shutil.rmtree(tmp_path / "records" / "sinks")
        assert deliver(place.url).delivered == ROWS
        assert len([id for kind, id in place.seen() if kind == "predictions"]) == ROWS


def test_a_message_too_large_for_kafka_is_put_aside(tmp_path: Path, deliver: Deliver) -> None:
    inputs = [b'{"x":%d}' % number for number in range(ROWS)]
    inputs[3] = b'{"x":"%s"}' % (b"x" * 5000)
    write(tmp_path, inputs=inputs)
    with kafka(tmp_path) as place:
        place.up()
        position = deliver(f"{place.url}&message.max.bytes=4000")
    assert (position.delivered, position.quarantined) == (ROWS - 1, 1)


def test_log_lines_hold_the_row_as_json_wherever_the_configuration_sends_them(tmp_path: Path) -> None:
    ids = write(tmp_path, inputs=[b'{"x":\n%d}' % number for number in range(ROWS)])
    config = tmp_path / "logging.toml"
    config.write_text(
        "version = 1\ndisable_existing_loggers = false\n"
        '[loggers."hansang.records"]\nlevel = "INFO"\nhandlers = ["file"]\npropagate = false\n'
        f'[handlers.file]\nclass = "logging.FileHandler"\nfilename = "{tmp_path}/rows.log"\n'
    )
    address = read("log:")
    with Positions(tmp_path / "records") as positions:
        positions.register({address.name: str(address)}, [])
    set_wanted(tmp_path / "records", "s", ("log:",), None)
    command = [sys.executable, "-m", "hansang.record.sinks.deliver", str(tmp_path / "records")]
    environment = os.environ | {"HANSANG_LOG_CONFIG": str(config)}
    subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=True, timeout=30)
    lines = [json.loads(line) for line in (tmp_path / "rows.log").read_text().splitlines()]
    assert [line["id"] for line in lines] == ids
    assert lines[3]["input"] == {"x": 3}
    assert lines[3]["output_value"] == 3.5
    assert lines[3]["time"] == "2026-11-18T11:06:40.000000Z"


def test_the_command_shows_how_far_a_sink_is_behind_and_what_was_lost(tmp_path: Path, deliver: Deliver) -> None:
    write(tmp_path)
    folder = tmp_path / "records"
    (tmp_path / "blocked").write_text("not a folder")
    deliver(f"file://{tmp_path}/blocked/lake")
    (folder / "lost").mkdir()
    (folder / "lost" / "predictions-1-1.json").write_text('{"time": 1, "lost": {"spool limit": 7}}')
    runner = CliRunner()
    done = runner.invoke(app, ["records", "lag", "--dir", str(folder), "--json"])
    sink, lost = map(json.loads, done.output.splitlines())
    assert (sink["rows_behind"], sink["delivered"], sink["failures"]) == (ROWS, 0, 20)
    assert sink["bytes_behind"] > 0
    assert sink["age_seconds"] > 0
    assert "Not a directory" in sink["error"]
    assert lost == {"lost": "spool limit", "rows": 7}
    shown = runner.invoke(app, ["records", "lag", "--dir", str(folder)]).output
    assert sink["name"] in shown
    assert "lost: 7 rows (spool limit)" in shown
