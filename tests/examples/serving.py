"""Run a service as its users do: `hansang serve` in a process of its own, ended by SIGTERM."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
HANSANG = Path(sys.executable).with_name("hansang")


def environment() -> dict[str, str]:
    """Give an environment in which the working folder is the project."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HANSANG_", "MLFLOW_"))}
    return kept | {"MLFLOW_DISABLE_TELEMETRY": "true"}


def run(*command: str | Path, cwd: Path, status: int = 0) -> str:
    """Run a command to its end and give what it printed."""
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def address(server: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until the server says that it is ready, and where."""
    until = time.monotonic() + 60
    while not (said := re.search(r"docs (http://\S+)/docs", log.read_text())):
        assert server.poll() is None and time.monotonic() < until, log.read_text()
        time.sleep(0.05)
    return said[1]


@contextmanager
def served(target: str | Path, *, cwd: Path) -> Iterator[httpx.Client]:
    """Serve a target until the block ends; SIGTERM must then end it with status 0."""
    log = cwd / f"server-{len(list(cwd.glob('server-*.log')))}.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [HANSANG, "serve", target, "--port", "0"],
            cwd=cwd,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        with httpx.Client(base_url=address(server, log), timeout=30, trust_env=False) as client:
            yield client
    finally:
        server.terminate()
        status = server.wait(40)
    assert status == 0, log.read_text()
