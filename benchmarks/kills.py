"""Fifty rounds of load with `kill -9`: nothing that was acknowledged is missing, and nothing is there twice.

    python benchmarks/kills.py [--rounds 50] [--workers 1]

In every round a server answers predictions and takes feedback on them, over several connections, until all its
processes are killed at a random moment. The views are looked at after every round, and once more after a last start
that ended well.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import report
from feedback import SERVICE

from hansang.record.read import connect, query

Row = tuple[str, int]
HANSANG = Path(sys.executable).with_name("hansang")


class Caller(threading.Thread):
    """Predicts arrays and tells their truth, until the server is gone; keeps what was acknowledged."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.predicted: list[Row] = []
        self.told: list[Row] = []

    def run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            while True:
                self.turn(connection, random.randint(1, 20))
        except (OSError, HTTPException, ValueError):
            connection.close()

    def turn(self, connection: HTTPConnection, rows: int) -> None:
        headers = {"content-type": "application/json"}
        connection.request("POST", "/predict", json.dumps([{"n": n} for n in range(rows)]), headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200 or len(json.loads(body)) != rows:
            raise ValueError(body)
        id = answer.headers["x-prediction-id"]
        self.predicted += [(id, row) for row in range(rows)]
        truths = [{"row": row, "truth": row} for row in range(rows)]
        connection.request("POST", f"/feedback/{id}", json.dumps(truths), headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200 or json.loads(body) != {"accepted": rows}:
            raise ValueError(body)
        self.told += [(id, row) for row in range(rows)]


def start(folder: Path, workers: int) -> tuple[subprocess.Popen[str], int]:
    """Start a server in a session of its own."""
    command = [HANSANG, "serve", "service.py", "--port", "0", "--workers", str(workers)]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert server.stdout is not None
    return server, next(int(found[1]) for line in server.stdout if (found := re.search(r":(\d+)/docs", line)))


def round_of(folder: Path, workers: int, calls: int) -> tuple[list[Row], list[Row]]:
    """Load a server and kill all its processes; gives what it acknowledged."""
    server, port = start(folder, workers)
    callers = [Caller(port) for _ in range(calls)]
    for caller in callers:
        caller.start()
    time.sleep(random.uniform(0.1, 1.5))
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    for caller in callers:
        caller.join(20)
    return [row for caller in callers for row in caller.predicted], [row for caller in callers for row in caller.told]


def check(record: Path, predicted: set[Row], told: set[Row]) -> None:
    """Compare the views with what was acknowledged."""
    with connect(record) as connection:
        rows = query(connection, "SELECT id, row, truth_value FROM outcomes")
        history = query(connection, "SELECT id, row FROM feedback")
    seen = list(zip(rows["id"].to_pylist(), rows["row"].to_pylist(), strict=True))
    heard = list(zip(history["id"].to_pylist(), history["row"].to_pylist(), strict=True))
    assert len(seen) == len(set(seen)), "a prediction is there twice"
    assert len(heard) == len(set(heard)), "feedback is there twice"
    assert not predicted - set(seen), f"{len(predicted - set(seen))} predictions are missing"
    assert not told - set(heard), f"{len(told - set(heard))} truths are missing"
    truths = dict(zip(seen, rows["truth_value"].to_pylist(), strict=True))
    assert all(truths[id, row] == row for id, row in told), "a truth stands beside another row"


def run(folder: Path, rounds: int, workers: int, calls: int = 4) -> tuple[int, int]:
    """Do all rounds; gives how many predictions and truths were acknowledged."""
    (folder / "service.py").write_text(SERVICE)
    record = folder / ".hansang" / "records"
    predicted: set[Row] = set()
    told: set[Row] = set()
    for number in range(1, rounds + 1):
        new = round_of(folder, workers, calls)
        predicted.update(new[0])
        told.update(new[1])
        check(record, predicted, told)
        print(f"round {number}: {len(predicted):,} predictions and {len(told):,} truths, none missing, none twice")
    server, _ = start(folder, workers)
    server.terminate()
    server.wait()
    check(record, predicted, told)
    return len(predicted), len(told)


def keep(found: dict) -> None:
    """Keep the verdict for the page of benchmarks."""
    report.save_results({**report.load_results(), "kills": found})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        try:
            predicted, told = run(Path(place), given.rounds, given.workers)
        except AssertionError as fault:
            keep({"rounds": given.rounds, "fault": str(fault)})
            raise
    keep({"rounds": given.rounds, "predictions": predicted, "truths": told})
    print(f"{given.rounds} rounds: {predicted:,} predictions and {told:,} truths, none missing, none twice")


if __name__ == "__main__":
    main()
