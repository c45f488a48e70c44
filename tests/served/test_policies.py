"""What a policy forbids is nowhere on the disk: not in the record, nor beside it, nor in the log; dead or alive."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hansang.record.policy import secret_of
from tests.served.running import HANSANG, SERVICES, Server, environment, served, start, until
from tests.served.wire import request

KEY = "correct horse battery staple"
MARK = "zebra"  # in every value that must not be found
SETTINGS = {
    "record_key": KEY,
    "policies": "by_setting=drop, tags.mood=mask, output.a.memo=drop, output.b=drop, output.a.who=hash",
    "log_level": "debug",
}
hashed = secret_of(KEY).hash


def person(n: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "user_id": f"{MARK}-user-{n}",
        "name": f"{MARK}-name",
        "city": "kept-city",
        "phone": f"010-{MARK}-77",
        "nickName": f"{MARK}-nick",
        "friends": [{"name": f"{MARK}-friend", "city": "kept-town"}],
        "words": {"kept-word": f"{MARK}-word"},
        "letter": f"dear {MARK}",
        "by_setting": f"{MARK}-setting",
        **more,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a server that was told every secret in every place, and killed."""
    folder = tmp_path_factory.mktemp("private")
    with served("private.py", folder, status=-signal.SIGKILL, **SETTINGS) as server:
        tell(server)
        server.process.kill()
        server.process.wait()
    yield folder


def tell(server: Server) -> None:
    def post(path: str, body: Any) -> Any:
        return server.ask(request(json.dumps(body), path=path))

    ids = []
    for path in ("/predict", "/noted", "/surname", "/city", "/shadow", "/staged"):
        answer = post(path, person())
        assert answer.json() == {"who": f"{MARK}-user-0", "memo": f"{MARK}-name is fine", "score": 9.0}
        ids.append(answer.headers["x-prediction-id"])
        bad = [person(1), person(2, name=f"refused {MARK}"), person(3, city=[MARK]), person(4, extra=MARK)]
        assert post(path, bad).status == 207
        assert post(path, person(5, do="raise")).status == 500
        assert post(path, person(6, name=f"broken {MARK}")).status == 500
    assert post("/parts", person()).status == 200
    until(lambda: server.get(f"/jobs/{ids[-1]}").json()["state"] == "done")
    until(lambda: sum(server.metrics("hansang_shadow_rows_total").values()) >= 4)
    for truth in ({"who": f"{MARK}-user-0", "score": 1.0, "memo": MARK}, {"unknown": 5, "who": MARK}, MARK, [MARK]):
        assert post(f"/feedback/{ids[0]}", {"truth": truth}).status == 200
    assert post(f"/feedback/{ids[0]}", {"truth": MARK, "wrong": MARK}).status == 422
    shown = server.get(f"/records/{ids[0]}").text
    assert MARK not in shown and "kept-city" in shown


def everything(folder: Path) -> dict[str, bytes]:
    """Read every byte of what the server wrote."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_no_byte_on_the_disk_holds_a_secret_after_a_kill(folder: Path) -> None:
    found = everything(folder)
    assert [name for name, data in found.items() if MARK.encode() in data] == []
    spool = b"".join(data for name, data in found.items() if "/spool/" in name)
    assert b"kept-city" in spool and b"kept-town" in spool and hashed(f"{MARK}-user-0").encode() in spool
    assert b"***-*****-77" in spool, "a mask keeps the shape and the end"
    assert any(name.startswith(".hansang/jobs.sqlite") for name in found)
    assert b"ValueError" in found["server.log"] and b"private.py" in found["server.log"], "the place is told"


def test_no_column_of_the_parquet_files_holds_a_secret_and_joins_work(folder: Path) -> None:
    command = [sys.executable, "-m", "hansang.record.compact", ".hansang/records"]
    records = folder / ".hansang/records"

    def compacted() -> bool:
        subprocess.run(command, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, check=True, timeout=60)
        return not [path for path in (records / "spool").rglob("*") if path.is_file()]

    until(compacted)
    tables = [pq.read_table(path, partitioning=None) for path in records.rglob("*.parquet")]
    rows = [row for table in tables for row in table.to_pylist()]
    assert rows and MARK not in repr(rows)
    assert [name for name, data in everything(folder).items() if MARK.encode() in data] == []
    predictions = [row for row in rows if "endpoint" in row]
    assert {row["role"] for row in predictions} == {"live", "shadow", "staged"}
    first = next(row for row in predictions if row["endpoint"] == "predict" and row["status"] == 200)
    who = hashed(f"{MARK}-user-0")
    assert (first["key"], json.loads(first["input"])["user_id"], json.loads(first["output"])["who"]) == (who,) * 3
    assert json.loads(first["output"]) == {"who": who, "score": 9.0} and first["output_value"] == 9.0
    keys = {row["endpoint"]: row["key"] for row in predictions if row["status"] == 200 and row["role"] == "live"}
    assert keys["city"] == "kept-city" and keys["surname"] == hashed(f"{MARK}-name")
    tags = next(json.loads(row["tags"]) for row in predictions if row["endpoint"] == "noted" and row["tags"])
    assert tags == {"mood": "*****-*ame", "city": "kept-city"}
    errors = {row["error"] for row in predictions if row["error"]}
    assert "1 fault in the row" in errors and any("ValueError in private.py:" in error for error in errors)
    truths = {row["truth"] for row in rows if "truth" in row}
    assert {json.dumps({"who": who, "score": 1.0}, separators=(",", ":"))} <= truths


def test_feedback_from_a_file_keeps_to_the_policies_of_the_record_and_finds_hashed_keys(folder: Path) -> None:
    line = {"key": f"{MARK}-user-0", "truth": {"who": MARK, "score": 2.5}, "time": "2100-01-01"}
    (folder / "truth.jsonl").write_text(json.dumps(line))
    command = [str(HANSANG), "feedback", "truth.jsonl", "--by", "key", "--json"]
    run = partial(subprocess.run, cwd=folder, capture_output=True, text=True, timeout=60)
    without = run(command, env=environment(), check=False)
    assert without.returncode == 2 and "HANSANG_RECORD_KEY" in without.stderr
    done = run(command, env=environment(record_key=KEY), check=True)
    (folder / "truth.jsonl").unlink()
    assert json.loads(done.stdout)["accepted"] == 1
    shown = run([str(HANSANG), "records", "sql", "SELECT truth FROM feedback", "--json"], env=environment(), check=True)
    assert hashed(MARK) in shown.stdout
    assert [name for name, data in everything(folder).items() if MARK.encode() in data] == []


def test_what_is_kept_of_a_slow_answer_is_what_the_policies_leave(folder: Path) -> None:
    with sqlite3.connect(folder / ".hansang/jobs.sqlite") as jobs:
        results = [json.loads(result) for (result,) in jobs.execute("SELECT result FROM job_rows WHERE state = 'done'")]
    assert {"who": hashed(f"{MARK}-user-0"), "score": 9.0} in results


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "HANSANG_RECORD_KEY"),
        ({"record_key": "short"}, "16 or more"),
        ({"record_key": KEY, "policies": "user_iid=drop"}, "'user_iid'"),
        ({"record_key": KEY, "policies": "user_id=hide"}, "'hide' is no policy"),
        ({"record_key": KEY, "policies": "user_id"}, "FIELD=POLICY"),
    ],
)
def test_a_service_does_not_start_when_its_policies_cannot_hold(
    tmp_path: Path, settings: dict[str, str], told: str
) -> None:
    done = start(SERVICES / "private.py", "--port", "0", folder=tmp_path, **settings)
    assert done.returncode == 2 and told in done.stderr
    assert KEY not in done.stderr
