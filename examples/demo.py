"""From data to a live service in one go: train, register, serve, ask with real hours, and show what came of it.

    make demo            stays up afterwards
    make demo ONCE=1     ends by itself, with status 1 if anything was wrong

All files go to `.demo/` in the project's folder (`--folder` names another), which is emptied first.
"""

import argparse
import asyncio
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import chdir, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

EXAMPLES = Path(__file__).resolve().parent
FOLDER = EXAMPLES.parent / ".demo"
LOCK, LOG = Path("demo.lock"), Path("server.log")
BIKES = EXAMPLES / "bikes"
HANSANG = Path(sys.executable).with_name("hansang")
LAST_DAY, NEXT_DAYS = 180, 30
REQUESTS, BURST, EVERY = 2400, 15, 0.05
PATIENCE = 60.0
HIGHEST_ERROR = 35.0
"""Training measures 26 bikers an hour on the same days; the mean of the same hour of day is off by 83."""

console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)


class Failed(Exception):
    """The demo cannot go on; the text says why."""


@dataclass(slots=True)
class Answer:
    """One request's outcome: how long it took, its status, what was predicted and what was true."""

    seconds: float
    status: int
    predicted: float
    truth: float
    day: int


class Connection:
    """One keep-alive connection that sends a request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: demo\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        )
        self.writer.write(head.encode() + b"\r\n" + body)
        status, *headers = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower().splitlines()
        size = next(int(line.split(":")[1]) for line in headers if line.startswith("content-length:"))
        return int(status.split()[1]), await self.reader.readexactly(size)


def environment() -> dict[str, str]:
    """Give the children an environment in which the demo's own folder is the project."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HANSANG_", "MLFLOW_"))}
    return kept | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}


@contextmanager
def emptied(folder: Path) -> Iterator[None]:
    """Work in a folder that is emptied first; keep a second demo out of it, and this one out of other people's."""
    folder.mkdir(exist_ok=True)
    with chdir(folder):
        if any(Path().iterdir()) and not LOCK.exists():
            raise Failed(f"{folder} holds something else than a demo; name another folder")
        with LOCK.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Failed(f"another demo is running in {folder}; stop it with Ctrl-C") from None
            for path in Path().iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path != LOCK:
                    path.unlink()
            yield


def finished(*command: str | Path) -> str:
    """Run a command to its end and give what it printed."""
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{Path(command[0]).name} {command[1]} ended with status {done.returncode}:\n{done.stderr}")
    return done.stdout.strip()


def free_port(wanted: int = 8000) -> int:
    """Give the wanted port, or a free one if somebody has it."""
    for port in (wanted, 0):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Failed("no port is free")


@contextmanager
def served(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the service until the block ends, then let it drain."""
    command: list[str | Path] = [HANSANG, "serve", BIKES / "service.py", "--port", str(port)]
    with LOG.open("wb") as out:
        # A session of its own: Ctrl-C in the terminal ends the demo, and the demo ends the server.
        server = subprocess.Popen(
            command, env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        started = time.perf_counter()
        while not ready(port):
            if server.poll() is not None:
                raise Failed(f"the server ended with status {server.returncode}:\n{LOG.read_text()}")
            if time.perf_counter() - started > PATIENCE:
                raise Failed(f"the server is not ready after {PATIENCE:.0f} s:\n{LOG.read_text()}")
            time.sleep(0.05)
        console.print(f"serving models:/bikes@champion, ready after {time.perf_counter() - started:.1f} s")
        yield server
    finally:
        server.terminate()
        try:
            server.wait(40)
        except subprocess.TimeoutExpired:
            server.kill()
            raise Failed("the server did not end 40 s after SIGTERM") from None


def get(port: int, path: str) -> str:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return str(answer.read().decode())


def ready(port: int) -> bool:
    try:
        get(port, "/readyz")
    except OSError:
        return False
    return True


def batches(port: int) -> tuple[float, float]:
    """Give how many rows the model has predicted, and in how many batches."""
    sums = dict.fromkeys(("sum", "count"), 0.0)
    for line in get(port, "/metrics").splitlines():
        for end in sums:
            if line.startswith(f"hansang_model_batch_rows_{end}"):
                sums[end] += float(line.rsplit(" ", 1)[1])
    return sums["sum"], sums["count"]


def real_hours() -> list[dict[str, Any]]:
    """Give the hours after the last day of training, in the order of time."""
    table = pq.read_table(BIKES / "data" / "bikeshare.parquet")
    rows: list[dict[str, Any]] = table.filter(pc.field("day") > LAST_DAY).slice(0, REQUESTS).to_pylist()
    return rows


async def ask(port: int, hours: list[dict[str, Any]]) -> list[Answer]:
    """Send the hours in bursts, each connection one request at a time."""
    connections = [await Connection.open(port) for _ in range(BURST)]
    bar = Progress(
        TextColumn("sending real hours"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )
    answers: list[Answer] = []

    async def one(connection: Connection, hour: dict[str, Any]) -> Answer:
        day, truth = hour.pop("day"), hour.pop("bikers")
        body = json.dumps(hour).encode()
        sent = time.perf_counter()
        status, answer = await connection.post("/predict", body)
        seconds = time.perf_counter() - sent
        predicted = json.loads(answer)["bikers"] if status == 200 else float("nan")
        return Answer(seconds, status, predicted, truth, day)

    with bar:
        task = bar.add_task("", total=len(hours))
        started = time.perf_counter()
        for number, first in enumerate(range(0, len(hours), BURST)):
            await asyncio.sleep(max(0.0, started + number * EVERY - time.perf_counter()))
            burst = hours[first : first + BURST]
            answers += await asyncio.gather(*map(one, connections, burst))
            bar.advance(task, len(burst))
    for connection in connections:
        connection.writer.close()
    return answers


def recorded() -> int:
    """Give how many answers the prediction record holds, asked as a user asks."""
    query = "select count(*) as answers from predictions where role = 'live' and status = 200"
    return int(json.loads(finished(HANSANG, "records", "sql", query, "--json"))["answers"])


def mean_error(answers: list[Answer], last_day: int) -> float:
    errors = [abs(answer.predicted - answer.truth) for answer in answers if answer.day <= last_day]
    return float(np.mean(errors))


def report(answers: list[Answer], rows_per_batch: float, records: int, seconds: float) -> list[str]:
    """Show the table; give what is wrong with it."""
    failed = sum(answer.status != 200 for answer in answers)
    good = [answer for answer in answers if answer.status == 200]
    if not good:
        raise Failed(f"all {len(answers)} requests failed; the first with status {answers[0].status}")
    p50, p99 = np.percentile([answer.seconds * 1000 for answer in good], (50, 99))
    near = mean_error(good, LAST_DAY + NEXT_DAYS)
    table = Table("what", "measured", title="bikes: the hours after day 180")
    for name, value in (
        ("requests", f"{len(answers)} ({len(answers) / seconds:.0f} a second)"),
        ("errors", str(failed)),
        ("p50 / p99", f"{p50:.1f} / {p99:.1f} ms"),
        ("rows per batch", f"{rows_per_batch:.1f}"),
        (f"mean absolute error, first {NEXT_DAYS} days", f"{near:.1f} bikers an hour"),
        (f"mean absolute error, all {answers[-1].day - LAST_DAY} days", f"{mean_error(good, 366):.1f} bikers an hour"),
        ("records written", str(records)),
    ):
        table.add_row(name, value)
    console.print(table)
    wrong = []
    if failed:
        wrong.append(f"{failed} of {len(answers)} requests were answered with an error")
    if records != len(good):
        wrong.append(f"the record holds {records} answers, {len(good)} were given")
    if not near <= HIGHEST_ERROR:
        wrong.append(f"the mean absolute error is {near:.1f}, expected at most {HIGHEST_ERROR}")
    return wrong


def stay(port: int, server: subprocess.Popen[bytes]) -> None:
    """Say what can be opened, and wait for Ctrl-C."""
    address = f"http://127.0.0.1:{port}"
    for path, what in (
        ("/docs", "try it in the browser"),
        ("/metrics", "for Prometheus"),
        ("/metadata", "who answers"),
    ):
        console.print(f"  {address}{path:<12} {what}")
    console.print(f"  cd {os.path.relpath(Path.cwd(), EXAMPLES.parent)} && {HANSANG} records tail", soft_wrap=True)
    console.print("Ctrl-C ends the demo")
    server.wait()
    raise Failed(f"the server ended with status {server.returncode}:\n{LOG.read_text()}")


def run(once: bool) -> None:
    with console.status("training and registering the model"):
        console.print(finished(sys.executable, BIKES / "train.py"))
    port = free_port()
    with served(port) as server:
        hours = real_hours()
        rows, count = batches(port)
        started = time.perf_counter()
        try:
            answers = asyncio.run(asyncio.wait_for(ask(port, hours), PATIENCE))
        except (OSError, EOFError, TimeoutError) as error:
            raise Failed(f"the server stopped answering: {error!r}; it said:\n{LOG.read_text()}") from error
        seconds = time.perf_counter() - started
        rows_after, count_after = batches(port)
        wrong = report(answers, (rows_after - rows) / max(1.0, count_after - count), recorded(), seconds)
        if wrong:
            raise Failed("\n".join(wrong))
        if not once:
            stay(port, server)
    if server.returncode:
        raise Failed(f"the server ended with status {server.returncode} after SIGTERM:\n{LOG.read_text()}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train, register, serve and ask a real model.")
    parser.add_argument("--once", action="store_true", help="end after the table")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="work here; emptied first (default: .demo)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exit, so that the server is stopped too
    try:
        with emptied(options.folder):
            run(options.once)
    except Failed as error:
        console.print(f"[red]demo failed:[/red] {error}", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("\nthe demo has ended")
        sys.exit(130 if options.once else 0)


if __name__ == "__main__":
    main()
