"""What the figures were measured on: no host name, no path."""

import os
import platform
import subprocess
from pathlib import Path

MISSING = "not installed"


def describe() -> dict[str, str]:
    return {
        "cores": str(os.cpu_count()),
        "CPU": _field("/proc/cpuinfo", "model name"),
        "memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) / 1024**2:.0f} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}, {platform.machine()}",
        "Python": platform.python_version(),
        "load generator": _load_generator(),
        "nginx": _first_line(["nginx", "-v"]),
    }


def _field(file: str, name: str) -> str:
    lines = Path(file).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "unknown")


def _load_generator() -> str:
    version = _first_line(["wrk", "--version"])
    own = "a client in Python, as wrk is not installed: requests/s are floors, CPU is a ceiling"
    return own if version == MISSING else f"wrk {version}"


def _first_line(command: list[str]) -> str:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except OSError:
        return MISSING
    return (
        (ran.stdout or ran.stderr)
        .splitlines()[0]
        .partition(" [")[0]
        .removeprefix("nginx version: nginx/")
        .removeprefix("wrk ")
    )
