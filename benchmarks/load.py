"""Closed-loop load: N connections, each sends its next request when the last one is answered.

wrk makes it; where that is not installed a client of our own does, and the page says so.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from server import Server

SCRIPT = Path(__file__).with_name("load.lua")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one closed-loop run measured; times in milliseconds, CPU in microseconds a request."""

    connections: int
    requests: int
    per_second: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: int
    bytes_each: float


class LoadFailedError(Exception):
    """The load generator itself failed, or a server gave answers that are not 200 with a body."""


def measure(
    server: Server,
    path: str,
    bodies: Sequence[str],
    *,
    connections: int,
    seconds: float,
    warm: float,
    ids: bool = False,
) -> Loaded:
    """Warm the server up looking into each answer, then measure with nothing but the load."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as rows:
        rows.write("\n".join(bodies) + "\n")
        rows.flush()
        settings = {"BENCH_PATH": path, "BENCH_BODIES": rows.name, "BENCH_IDS": "1" if ids else "0"}
        checked = _run(server.port, connections, warm, {**settings, "BENCH_CHECK": "1"})
        if checked["wrong"] or not checked["requests"]:
            raise LoadFailedError(f"{checked['wrong']} of {checked['requests']} answers were not 200 with a body")
        before = server.cpu_seconds()
        ran = _run(server.port, connections, seconds, settings)
        spent = server.cpu_seconds() - before
    answered = max(ran["requests"], 1)
    return Loaded(
        connections=connections,
        requests=ran["requests"],
        per_second=round(ran["requests"] / ran["seconds"], 1),
        cpu_us=round(spent / answered * 1e6, 2),
        p50_ms=ran["p50_ms"],
        p99_ms=ran["p99_ms"],
        max_ms=ran["max_ms"],
        errors=ran["errors"],
        bytes_each=round(ran["bytes"] / answered, 1),
    )


def _run(port: int, connections: int, seconds: float, settings: dict[str, str]) -> dict:
    whole = max(1, round(seconds))
    ran = subprocess.run(
        _command(port, connections, whole),
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=whole + 30,
        check=False,
    )
    line = next((line for line in ran.stdout.splitlines() if line.startswith("BENCH ")), None)
    if line is None:
        raise LoadFailedError((ran.stderr or ran.stdout).strip()[-200:] or "the load generator said nothing")
    return json.loads(line.removeprefix("BENCH "))


def _command(port: int, connections: int, seconds: int) -> list[str]:
    if shutil.which("wrk") is None:
        return [sys.executable, str(SCRIPT.with_name("client.py")), str(port), str(connections), str(seconds)]
    load = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(SCRIPT)]
    return ["wrk", *load, f"http://127.0.0.1:{port}"]
