"""What is too large for a row is kept beside it, before the answer leaves, and is found again by the row."""

from __future__ import annotations

import base64
import io
import json
import signal
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from hansang.extras import require
from hansang.record.payloads import fetch, payload_files, payload_path
from tests.served.running import HANSANG, Server, environment, served, until

LONG = "long " * 20_000


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def post(server: Server, path: str, row: Any) -> tuple[str, Any]:
    answer = httpx.post(server.url + path, json=row, timeout=15, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-prediction-id"], answer.json()


def record(server: Server, id: str) -> dict[str, Any]:
    found: dict[str, Any] = server.get(f"/records/{id}").json()
    return found


def results(server: Server) -> dict[str, float]:
    found = server.metrics("hansang_payloads_total")
    return {name: found[f'{{result="{name}"}}'] for name in ("stored", "known", "lost")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served("gallery.py", tmp_path_factory.mktemp("gallery"), payloads="local") as server:
        yield server
    assert "this is a bug" not in server.log.read_text()


@pytest.fixture
def records(server: Server) -> Path:
    return server.folder / ".hansang/records"


def test_a_large_value_is_kept_once_and_its_row_keeps_the_other_fields(server: Server, records: Path) -> None:
    before = results(server)
    ids = [post(server, "/predict", {"text": LONG, "city": "Seoul", "words": ["a"]})[0] for _ in range(3)]
    name = digest(LONG.encode())
    reference = {"sha256": name, "bytes": len(LONG), "media_type": "text/plain; charset=utf-8"}
    for id in ids:
        shown = record(server, id)
        assert shown["rows"][0]["input"] == {"text": reference, "city": "Seoul", "words": ["a"]}
        (payload,) = shown["payloads"]
        assert payload["at"] == "input.text" and server.get(payload["href"]).text == LONG
    assert payload_path(records, name).read_text() == LONG
    after = results(server)
    assert [after[name] - before[name] for name in ("stored", "known", "lost")] == [1, 2, 0]


def test_a_body_that_stays_large_is_kept_as_a_whole(server: Server) -> None:
    row = {"text": "", "city": "", "words": [f"w{n:05}" for n in range(20_000)]}
    many = [row, {"text": "small"}, {"text": 5}]
    answer = httpx.post(server.url + "/predict", json=many, timeout=15, trust_env=False)
    assert answer.status_code == 207
    shown = record(server, answer.headers["x-prediction-id"])
    assert [each["input"] and "small" in str(each["input"]) for each in shown["rows"]] == [False, True, None]
    assert shown["rows"][0]["input"]["words"]["bytes"] == len(json.dumps(row["words"], separators=(",", ":")))
    (payload,) = shown["payloads"]
    assert server.get(payload["href"]).json() == row["words"]


def test_large_answers_live_and_beside_have_payloads(server: Server) -> None:
    id, answer = post(server, "/echo", {"text": LONG})
    assert answer == {"text": 2 * LONG, "more": 1}
    at = {payload["at"]: payload for payload in record(server, id)["payloads"]}
    assert server.get(at["output.text"]["href"]).text == 2 * LONG and set(at) == {"input.text", "output.text"}
    id, _ = post(server, "/double", {"text": LONG})
    until(lambda: record(server, id)["beside"])
    shown = record(server, id)
    assert shown["beside"][0]["output"]["text"]["sha256"] == digest(2 * LONG.encode())
    assert {each["role"] for each in shown["payloads"]} == {"live", "shadow"}


def test_files_and_pictures_are_kept_as_they_came_but_not_where_a_policy_drops_them(
    server: Server, records: Path, tmp_path: Path
) -> None:
    data, secret = b"\0any file\xff", b"a secret file"
    files = {"data": ("a.bin", data), "secret": ("b.bin", secret)}
    answer = httpx.post(server.url + "/file", files=files, timeout=15, trust_env=False)
    assert answer.json() == {"bytes": len(data)}
    shown = record(server, answer.headers["x-prediction-id"])
    assert shown["rows"][0]["input"] == {"data": {"sha256": digest(data), "bytes": len(data)}}
    assert payload_path(records, digest(data)).read_bytes() == data
    assert not payload_path(records, digest(secret)).exists()

    file = io.BytesIO()
    require("PIL.Image", "image").new("RGB", (7, 5), "red").save(file, "PNG")
    png = file.getvalue()
    id, width = post(server, "/photo", {"image": base64.b64encode(png).decode()})
    assert width == {"width": 7}
    (payload,) = record(server, id)["payloads"]
    assert payload["media_type"] == "image/png"
    answer = server.get(payload["href"])
    assert (answer.content, answer.headers["content-type"]) == (png, "image/png")
    command = [str(HANSANG), "records", "show", id, "--payload", str(tmp_path / "out")]
    done = subprocess.run(
        command, cwd=server.folder, env=environment(), capture_output=True, text=True, check=True, timeout=60
    )
    (path,) = (tmp_path / "out").iterdir()
    assert path.read_bytes() == png and path.suffix == ".png" and str(path) in done.stdout


def test_a_payload_is_given_by_its_own_prediction_only(server: Server) -> None:
    id, _ = post(server, "/predict", {"text": "small"})
    other, _ = post(server, "/predict", {"text": LONG})
    name = digest(LONG.encode())
    assert server.get(f"/records/{other}/payloads/{name}").status_code == 200
    for wrong in (f"/records/{id}/payloads/{name}", f"/records/{other}/payloads/{'0' * 64}"):
        assert server.get(wrong).status_code == 404


def test_an_answer_that_was_seen_has_its_payload_after_a_kill(tmp_path: Path) -> None:
    with served("gallery.py", tmp_path, status=-signal.SIGKILL, payloads="local", record_durability="sync") as server:
        for n in range(5):
            post(server, "/predict", {"text": LONG + str(n)})
        server.process.kill()
        server.process.wait()
    kept = {path.name for path in payload_files(tmp_path / ".hansang/records")}
    assert kept == {digest((LONG + str(n)).encode()) for n in range(5)}


def test_payloads_wait_beside_the_record_until_the_store_is_there(tmp_path: Path) -> None:
    records, far = tmp_path / ".hansang/records", tmp_path / "far"
    far.write_text("in the way")
    with served("gallery.py", tmp_path, payloads=f"file://{far}/store") as server:
        id, _ = post(server, "/predict", {"text": LONG})
        (payload,) = record(server, id)["payloads"]
        assert server.get(payload["href"]).text == LONG and payload_files(records)
        far.unlink()
    assert not payload_files(records), "the end of the service moves what waits"
    assert (far / "store" / payload["sha256"][:2] / payload["sha256"]).read_text() == LONG
    assert fetch(records, payload["sha256"]) == LONG.encode()


@pytest.mark.parametrize(("on_full", "status"), [("continue", 200), ("stop", 503)])
def test_payloads_that_cannot_be_written_are_counted_or_refused(tmp_path: Path, on_full: str, status: int) -> None:
    (tmp_path / ".hansang/records").mkdir(parents=True)
    (tmp_path / ".hansang/records/payloads").write_text("in the way")
    with served("gallery.py", tmp_path, payloads="local", record_on_full=on_full) as server:
        answer = httpx.post(server.url + "/predict", json={"text": LONG}, timeout=15, trust_env=False)
        assert answer.status_code == status
        assert results(server)["lost"] == 1
        shown = record(server, answer.headers["x-prediction-id"])
        assert shown["rows"][0]["input"]["text"]["sha256"] == digest(LONG.encode()), "the row is there, with the hash"
        assert server.get(shown["payloads"][0]["href"]).status_code == 404
