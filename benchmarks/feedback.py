"""Feedback: rows a second that are accepted, and the server's CPU for each.

    python benchmarks/feedback.py [--seconds 5]

One client process sends pipelined singles, then arrays of 100 and of 1,000 rows, on predictions of the last seconds
(believed in) and on older ones (looked up). Every accepted row is checked in the view afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path
from socket import create_connection

SERVICE = """
from hansang import Service, node

@node.each
def echo(row: dict[str, int]) -> float:
    return row["n"] / 2

service = Service("echo", echo, input=dict[str, int], example={"n": 1})
"""
TICKS = os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> float:
    """Give the CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Client:
    """One connection on which requests are pipelined."""

    def __init__(self, port: int) -> None:
        self.socket = create_connection(("127.0.0.1", port))

    def ask(self, packet: bytes, answers: int) -> bytes:
        """Send requests at once; gives the answers when all are there."""
        self.socket.sendall(packet)
        received = b""
        while received.count(b"HTTP/1.1 ") < answers or not received.endswith((b"}", b"]", b"\n")):
            part = self.socket.recv(1 << 20)
            assert part, received[-500:]
            received += part
        return received


def predict(client: Client, rows: int) -> list[tuple[str, int]]:
    """Make predictions; gives their ids and row numbers."""
    named: list[tuple[str, int]] = []
    while len(named) < rows:
        body = json.dumps([{"n": n} for n in range(1000)]).encode()
        answer = client.ask(post("/predict", body), 1)
        id = re.search(rb"x-prediction-id: (\S+)", answer)[1].decode()
        named += [(id, n) for n in range(1000)]
    return named


def singles(named: list[tuple[str, int]], depth: int) -> list[tuple[bytes, int, int]]:
    """Give packets of pipelined requests, each with its answers and rows."""
    requests = [post(f"/feedback/{id}", b'{"truth": %d.5, "row": %d}' % (row, row)) for id, row in named]
    return [(b"".join(requests[at : at + depth]), depth, depth) for at in range(0, len(requests), depth)]


def arrays(named: list[tuple[str, int]], size: int) -> list[tuple[bytes, int, int]]:
    """Give packets of one array each."""
    rows = [{"id": id, "row": row, "truth": row + 0.5} for id, row in named]
    bodies = [json.dumps(rows[at : at + size]).encode() for at in range(0, len(rows), size)]
    return [(post("/feedback", body), 1, size) for body in bodies]


def measure(name: str, client: Client, packets: list[tuple[bytes, int, int]], pid: int, seconds: float) -> int:
    """Send for so many seconds; prints rows a second and the CPU for each."""
    rows, started, before = 0, time.perf_counter(), cpu(pid)
    for packet, answers, size in cycle(packets):
        answer = client.ask(packet, answers)
        assert answer.count(b" 200 OK") == answers, answer[:1000]
        rows += size
        if time.perf_counter() - started > seconds:
            break
    took, used = time.perf_counter() - started, cpu(pid) - before
    print(
        f"{name:34} {rows / took:10,.0f} rows/s {1e6 * used / rows:8.1f} us CPU a row, {100 * used / took:4.0f} % CPU"
    )
    return rows


def quick(seconds: float) -> dict:
    """Return the rows a second of two ways on recent predictions, each for so many seconds, and the rows lost."""
    with tempfile.TemporaryDirectory() as place:
        Path(place, "service.py").write_text(SERVICE)
        command = [str(Path(sys.executable).with_name("hansang")), "serve", "service.py", "--port", "0"]
        with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True) as server:
            port = next(int(found[1]) for line in server.stdout if (found := re.search(r":(\d+)/docs", line)))
            try:
                client = Client(port)
                named = predict(client, 20_000)
                found = {}
                ways = (("singles", singles(named, 64)[:-1]), ("arrays", arrays(named, 100)))
                for name, packets in ways:
                    started = time.perf_counter()
                    rows = measure(f"{name}, recent", client, packets, server.pid, seconds)
                    found |= {f"{name}_per_s": round(rows / (time.perf_counter() - started)), name: rows}
            finally:
                server.terminate()
        count = "SELECT count(*) AS rows FROM feedback_rows"
        done = subprocess.run(
            [command[0], "records", "sql", count, "--json"], cwd=place, capture_output=True, check=True
        )
        return found | {"lost": found["singles"] + found["arrays"] - json.loads(done.stdout)["rows"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as place:
        Path(place, "service.py").write_text(SERVICE)
        command = [str(Path(sys.executable).with_name("hansang")), "serve", "service.py", "--port", "0"]
        with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True) as server:
            port = next(int(found[1]) for line in server.stdout if (found := re.search(r":(\d+)/docs", line)))
            try:
                client = Client(port)
                named = predict(client, 20_000)
                sent = measure("singles, 64 pipelined, recent", client, singles(named, 64)[:-1], server.pid, seconds)
                for size in (100, 1000):
                    sent += measure(f"arrays of {size}, recent", client, arrays(named, size), server.pid, seconds)
                print("waiting until the predictions are old")
                time.sleep(125)
                client = Client(port)  # the first one was idle for too long
                sent += measure(
                    "singles, 64 pipelined, looked up", client, singles(named, 64)[:-1], server.pid, seconds
                )
                for size in (100, 1000):
                    sent += measure(f"arrays of {size}, looked up", client, arrays(named, size), server.pid, seconds)
            finally:
                server.terminate()
        count = "SELECT count(*) AS rows FROM feedback_rows"
        done = subprocess.run(
            [command[0], "records", "sql", count, "--json"], cwd=place, capture_output=True, check=True
        )
        kept = json.loads(done.stdout)["rows"]
        print(f"{sent:,} rows acknowledged, {kept:,} in the record")
        assert kept == sent


if __name__ == "__main__":
    main()
