"""The memory of a version comes back: measured in a process of its own, where nothing else comes and goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.models.steps import write

MEGABYTES = 8
SCRIPT = """
import sys
from pathlib import Path
from hansang import Model
from hansang.models.loaded import free
from hansang.models.uri import resolve
from hansang.settings import Settings

def resident():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))

model, artifact, settings = Model(sys.argv[1]), resolve(sys.argv[1]), Settings()
box = [model.build(artifact, settings)]
for number in range(55):
    box.append(model.build(artifact, settings))
    free(old := [box.pop(0)])
    if number in (4, 54):
        print(resident())
"""


def test_fifty_swaps_leave_no_memory_behind(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", 1, weights=MEGABYTES * 250_000)
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    early, late = map(int, done.stdout.split())
    assert late < early * 1.05, f"{early} kB after 5 swaps, {late} kB after 55"
