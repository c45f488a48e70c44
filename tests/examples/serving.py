"""Run a service as its users do: `hansang serve` in a process of its own, ended by SIGTERM."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
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


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def served(target: str | Path, *, cwd: Path) -> Iterator[httpx.Client]:
    """Serve a target until the block ends; SIGTERM must then end it with status 0."""
    port = free_port()
    log = cwd / f"server-{port}.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [HANSANG, "serve", target, "--port", str(port)],
            cwd=cwd,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            until = time.monotonic() + 60
            while not is_ready(client):
                assert server.poll() is None and time.monotonic() < until, log.read_text()
                time.sleep(0.05)
            yield client
    finally:
        server.terminate()
        status = server.wait(40)
    assert status == 0, log.read_text()
