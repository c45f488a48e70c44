"""SIGTERM and SIGKILL: what was accepted is answered, and what was answered is recorded."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.served.running import Server, served, until
from tests.served.wire import Wire, assert_problem, request


class Load:
    """Clients that ask without pause until the server is gone; an answer that is cut off is `broken`."""

    def __init__(self, server: Server, clients: int) -> None:
        self.server = server
        self.ids: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.broken = 0
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self, number: int) -> None:
        while True:
            try:
                wire = Wire(self.server.port)
            except OSError:
                return  # nobody listens any more
            with wire:
                while self.ask(wire, number):
                    pass

    def ask(self, wire: Wire, number: int) -> bool:
        try:
            answer = wire.send(request(f'{{"x":{number},"do":"{"nap" if number % 2 else ""}"}}')).answer()
        except (ConnectionError, OSError):
            self.broken += bool(wire.data)
            return False
        self.statuses[answer.status] += 1
        if answer.status == 200:
            self.ids.append(answer.headers["x-prediction-id"])
        return answer.headers.get("connection") != "close"

    def join(self) -> None:
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()


def assert_recorded(server: Server, ids: list[str]) -> None:
    recorded = server.records("SELECT id FROM predictions")
    assert len(set(ids)) == len(ids)
    assert not [id for id in ids if id not in recorded]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_under_load_answers_what_was_accepted_and_keeps_its_record(tmp_path: Path, workers: int) -> None:
    with served("kitchen.py", tmp_path, workers=workers) as server:
        held = [server.wire().send(request('{"x":1,"do":"nap"}')) for _ in range(4)]
        load = Load(server, 8)
        until(lambda: len(load.ids) > 100)
        assert server.stop() == 0
        load.join()
        answers = [wire.answer() for wire in held]
        for wire in held:
            wire.close()
    assert [answer.status for answer in answers] == [200] * 4
    assert load.broken == 0
    assert set(load.statuses) <= {200, 503}
    assert_recorded(server, load.ids + [answer.headers["x-prediction-id"] for answer in answers])
    assert "Traceback" not in server.log.read_text()


def test_while_it_drains_the_accepted_is_answered_and_the_new_refused(tmp_path: Path) -> None:
    with served("kitchen.py", tmp_path) as server:
        accepted, idle, half = server.wire(), server.wire(), server.wire()
        assert idle.ask(request('{"x":-1}')).status == 200
        accepted.send(request('{"x":1,"do":"wait"}') + request('{"x":2}'))
        half.send(request(b'{"x"', length=7))
        until(lambda: 1.0 in server.get("/seen").json())
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.get("/readyz").json()["state"] == "draining")
        assert server.get("/healthz").status_code == 200
        for path in ("/predict", "/predict?way=asgi"):
            answer = server.ask(request(path=path))
            assert_problem(answer, 503)
            assert int(answer.headers["retry-after"]) >= 1
        answer = idle.ask(request())
        assert_problem(answer, 503)
        assert answer.headers["connection"] == "close"
        assert idle.closed()
        server.ask(request(b"", path="/open"))
        assert [accepted.answer().json() for _ in range(2)] == [{"y": 2.0}, {"y": 4.0}]
        assert accepted.closed()
        assert_problem(half.answer(), 503)
        assert half.closed()
        assert server.process.wait(10) == 0
        for wire in (accepted, idle, half):
            wire.close()


def test_ctrl_c_drains_too(tmp_path: Path) -> None:
    with served("kitchen.py", tmp_path) as server, server.wire() as wire:
        wire.send(request('{"x":1,"do":"nap"}'))
        until(lambda: 1.0 in server.get("/seen").json())
        server.process.send_signal(signal.SIGINT)
        assert wire.answer().status == 200
        assert server.process.wait(10) == 0
    assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
def test_kill_loses_no_acknowledged_row(tmp_path: Path) -> None:
    with served("kitchen.py", tmp_path, status=None) as server:
        load = Load(server, 4)
        until(lambda: len(load.ids) > 300)
        server.process.kill()
        server.process.wait(10)
        load.join()
    with served("kitchen.py", tmp_path) as server:  # the next start picks up the spool
        assert server.ask(request()).status == 200
    assert_recorded(server, load.ids)


@pytest.mark.slow
def test_kill_of_a_worker_loses_no_acknowledged_row(tmp_path: Path) -> None:
    with served("kitchen.py", tmp_path, workers=2) as server:
        until(lambda: len(server.children()) == 2)
        load = Load(server, 4)
        until(lambda: len(load.ids) > 200)
        os.kill(server.children()[0], signal.SIGKILL)
        seen = len(load.ids)
        until(lambda: len(load.ids) > seen + 200)
        assert server.stop() == 0
        load.join()
    assert_recorded(server, load.ids)


def test_workers_whose_parent_was_killed_end_by_themselves(tmp_path: Path) -> None:
    with served("kitchen.py", tmp_path, workers=2, status=None) as server:
        until(lambda: len(server.children()) == 2)
        workers = server.children()
        assert server.ask(request()).status == 200
        server.process.kill()
        server.process.wait(10)
        started = time.monotonic()
        until(
            lambda: (
                not any(
                    Path(f"/proc/{pid}/stat").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]
                    for pid in workers
                )
            )
        )
        assert time.monotonic() - started < 10
