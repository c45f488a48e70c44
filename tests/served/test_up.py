"""`hansang up`: one file as several processes answers what one process answers, and loses only what is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.served.ports import held
from tests.served.running import HANSANG, SERVICES, environment, served, until

ROWS = [{"x": 2.0}, {"x": 0.1}, {"x": -1.0}, {"x": 13.0}, {"x": 1e30}, {"x": 7.25}]
BODIES: list[Any] = [*ROWS, ROWS, [ROWS[2], ROWS[3]], {"x": "2"}, [], ROWS * 40]

pytestmark = pytest.mark.timeout(120)


@dataclass
class Up:
    """A service that runs as several processes."""

    process: subprocess.Popen[str]
    client: httpx.Client
    lines: list[str]

    def pids(self, part: str) -> list[int]:
        """Give the processes whose command line has this text, among those that this test started."""
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        children = [int(pid) for pid in Path(path).read_text().split()]
        return [pid for pid in children if part in Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")]

    def kill(self, part: str) -> None:
        (pid,) = self.pids(part)
        os.kill(pid, signal.SIGKILL)

    def predict(self, body: Any, path: str = "/predict") -> httpx.Response:
        return self.client.post(path, json=body)


@contextmanager
def up(target: Path, folder: Path, names: Sequence[str], *options: str) -> Iterator[Up]:
    """Run `hansang up` until the block ends; it must then end with status 0, and leave no process behind.

    The ports are those of the nodes, and one in front.
    """
    with held(len(names) + 1) as (port, *others):
        places = [f"[nodes.{name}]\nport = {other}\n" for name, other in zip(names, others, strict=True)]
        (folder / "hansang.toml").write_text("".join(places))
        yield from run_up(target, folder, port, *options)


def run_up(target: Path, folder: Path, port: int, *options: str) -> Iterator[Up]:
    process = subprocess.Popen(
        [HANSANG, "up", target, "--port", str(port), *options],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if re.match(r"ready +\| ", line):
            break
    else:
        raise AssertionError(f"it did not start: {''.join(lines)}")
    reading = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
    reading.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
            yield Up(process, client, lines)
    finally:
        process.terminate()
        status = process.wait(60)
        reading.join(10)
        process.stdout.close()
    assert status == 0, "".join(lines)
    assert not re.search(rf"\b{process.pid}\b", " ".join(parents())), "a process was left behind"


def parents() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            yield path.read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue


def same(answer: httpx.Response) -> tuple[int, bytes, str | None]:
    """Give what must be equal in both forms of a service; ids are of the request."""
    body = re.sub(rb'"request_id":"[^"]*"', b"", answer.content)
    return answer.status_code, body, answer.headers.get("x-model-version")


@pytest.mark.slow
def test_four_processes_answer_byte_for_byte_what_one_answers(tmp_path: Path) -> None:
    with served("panel.py", tmp_path) as one, one.client() as client:
        expected = [same(client.post("/predict", json=body)) for body in BODIES]
    apart = tmp_path / "apart"
    apart.mkdir()
    with up(SERVICES / "panel.py", apart, ["cut", "total", "largest"]) as service:
        assert len(service.pids("serve")) == 4
        assert [same(service.predict(body)) for body in BODIES] == expected
        metadata = service.client.get("/metadata").json()
        assert sorted(metadata["nodes"]) == ["cut", "largest", "total"]
        assert [model["name"] for model in metadata["models"]] == ["pid"]


@pytest.mark.slow
def test_a_killed_node_costs_only_its_part_and_comes_back_by_itself(tmp_path: Path) -> None:
    with up(SERVICES / "panel.py", tmp_path, ["total", "largest"]) as service:
        whole = service.predict({"x": 2.0}).json()
        assert whole == {"total": 32.0, "largest": {"largest": 2.0}}
        service.kill("--node total")
        partial = service.predict({"x": 2.0})
        assert partial.status_code == 200
        assert partial.json() == {"total": None, "largest": {"largest": 2.0}}
        assert partial.headers["x-variant"] == "partial"
        assert service.client.get("/readyz").status_code == 200, "the service can do without it"
        until(lambda: service.predict({"x": 2.0}).json() == whole, patience=40)
        assert any("it starts again" in line for line in service.lines)


@pytest.mark.slow
def test_the_record_has_the_steps_of_the_other_process(tmp_path: Path) -> None:
    with up(SERVICES / "panel.py", tmp_path, ["total"]) as service:
        assert service.predict({"x": 2.0}).status_code == 200
    query = "SELECT model, batch_rows, tags FROM predictions WHERE endpoint = 'predict'"
    done = subprocess.run(
        [HANSANG, "records", "sql", query, "--json"],
        cwd=tmp_path,
        env=environment(),
        text=True,
        capture_output=True,
        check=True,
    )
    row = json.loads(done.stdout)
    assert row["model"] == "cut,total,largest"
    assert "seen by" in str(row["tags"])


@pytest.mark.slow
def test_a_node_may_have_workers_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "hansang.toml").write_text("")
    with up(SERVICES / "panel.py", tmp_path, ["pid"]) as service:
        (node,) = service.pids("--node pid")
        assert service.predict({"x": 1.0}, "/pid").json() == node


def refused(folder: Path, toml: str, *options: str) -> str:
    (folder / "hansang.toml").write_text(toml)
    done = subprocess.run(
        [HANSANG, "up", SERVICES / "panel.py", *options],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_plan_can_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / "hansang.toml").write_text('[nodes.cut]\nport = 8101\n[nodes.total]\nurl = "http://gpu:8000"\n')
    command = [str(HANSANG), "up", "service.py", "--dry-run"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), text=True, capture_output=True, check=True)
    assert done.stdout.splitlines() == [
        "cut    hansang serve service.py --node cut --host 127.0.0.1 --port 8101 --workers 1",
        "front  hansang serve service.py --host 127.0.0.1 --port 8000 --workers 1",
        "total  runs at http://gpu:8000/nodes/total",
    ]


def test_what_cannot_be_started_is_said_at_once(tmp_path: Path) -> None:
    assert "no node has a port" in refused(tmp_path, "")
    assert "same port 8101" in refused(tmp_path, "[nodes.cut]\nport = 8101\n[nodes.total]\nport = 8101\n")
    both = '[nodes.cut]\nport = 8101\nurl = "http://gpu:8000"\n'
    assert "give url, where the node runs already, or port" in refused(tmp_path, both)


def test_a_name_that_no_node_has_ends_the_start(tmp_path: Path) -> None:
    with held(2) as (port, other):
        said = refused(tmp_path, f"[nodes.cat]\nport = {port}\n", "--port", str(other))
    assert "no node 'cat'; /predict, /pid has: cut, largest" in said


@pytest.mark.slow
def test_processes_whose_parent_is_killed_end_by_themselves(tmp_path: Path) -> None:
    with held(2) as (port, other):
        (tmp_path / "hansang.toml").write_text(f"[nodes.cut]\nport = {other}\n")
        running = run_up(SERVICES / "panel.py", tmp_path, port)
        service = next(running)
        children = service.pids("serve")
        assert len(children) == 2
        service.process.kill()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), patience=30)
        with pytest.raises(AssertionError):  # it did not end with status 0
            next(running)
