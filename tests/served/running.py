"""Run `hansang serve` as its users do, in a process of its own, on a free port, ended by its own pid."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.served.wire import Answer, Wire

HANSANG = Path(sys.executable).with_name("hansang")
SERVICES = Path(__file__).parent / "services"


@dataclass
class Server:
    """A server that runs."""

    process: subprocess.Popen[str]
    port: int
    folder: Path
    log: Path

    def wire(self, receive_buffer: int = 0) -> Wire:
        return Wire(self.port, receive_buffer)

    def ask(self, request: bytes) -> Answer:
        """Send one request on a connection of its own."""
        with self.wire() as wire:
            return wire.ask(request)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=15, trust_env=False, **options)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=15, trust_env=False)

    def metrics(self, name: str) -> dict[str, float]:
        """Give the series of one metric by their labels."""
        lines = re.findall(rf"^{name}(\{{.*\}})? (\S+)$", self.get("/metrics").text, re.MULTILINE)
        return {labels: float(value) for labels, value in lines}

    def children(self) -> list[int]:
        """Give the process ids of the workers."""
        pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in pids if b"hansang.server.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def stop(self, patience: float = 30) -> int:
        """End it with SIGTERM; gives the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patience)

    def records(self, query: str) -> str:
        """Ask the record with `hansang records sql`."""
        command = [str(HANSANG), "records", "sql", query, "--json"]
        done = subprocess.run(
            command, cwd=self.folder, env=environment(), text=True, capture_output=True, check=True, timeout=60
        )
        return done.stdout


def environment(**settings: object) -> dict[str, str]:
    """Give an environment without settings of the caller's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HANSANG_", "MLFLOW_"))}
    return kept | {f"HANSANG_{name.upper()}": str(value) for name, value in settings.items()}


@contextmanager
def served(target: str | Path, folder: Path, *, status: int | None = 0, **settings: Any) -> Iterator[Server]:
    """Serve a target until the block ends; it must then end with this status (None: it is dead already)."""
    target = SERVICES / target if (SERVICES / str(target)).exists() else target
    log = folder / "server.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [HANSANG, "serve", target, "--port", "0"],
            cwd=folder,
            env=environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            found = re.search(r"docs http://127\.0\.0\.1:(\d+)/docs", line)
            if found:
                break
        else:
            raise AssertionError(f"the server did not start: {log.read_text()}")
        yield Server(process, int(found[1]), folder, log)
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            ended = process.wait(45)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            process.stdout.close()
    assert status is None or ended == status, log.read_text()


def start(*arguments: str | Path, folder: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run `hansang serve` where it must fail at once."""
    return subprocess.run(
        [HANSANG, "serve", *arguments],
        cwd=folder,
        env=environment(**settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def until(true: Callable[[], object], patience: float = 15.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
