"""What can only be seen in a process of its own: what a service imports, and what each model takes in memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass

from hansang.errors import HansangError

TRAINING = frozenset(
    "airflow autosklearn catalyst datasets dvc featuretools flaml great_expectations hyperopt imblearn ipykernel "
    "IPython keras_tuner kedro lightning matplotlib metaflow mlflow notebook optuna pandas_profiling plotly prefect "
    "pytorch_lightning ray seaborn skopt tensorboard torchtune tpot trl wandb ydata_profiling zenml".split()
)
LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|(\s+)(\S+)")
PATIENCE = 300.0

LOAD = "import sys; from hansang.target import load_target; load_target(sys.argv[1])"
WEIGH = """
import json, sys, time
from hansang.settings import Settings, load_settings
from hansang.target import load_target

def megabytes():
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) / 1024

model = load_target(sys.argv[1]).models[int(sys.argv[2])]
before, started = megabytes(), time.perf_counter()
model.load(load_settings(Settings))
print(json.dumps([megabytes() - before, time.perf_counter() - started]))
"""


@dataclass(frozen=True, slots=True)
class Weight:
    """What loading one model took: megabytes of memory (proportional set size, libraries included) and seconds."""

    megabytes: float
    seconds: float


def imports(target: str) -> dict[str, float]:
    """Give the training libraries that loading a target imports, with the seconds that each takes to import."""
    done = run(["-X", "importtime", "-c", LOAD, target])
    found: dict[str, float] = {}
    for _, cumulative, _, name in LINE.findall(done.stderr):
        if name in TRAINING:
            found[name] = max(found.get(name, 0.0), int(cumulative) / 1e6)
    return found


def weigh(target: str, number: int) -> Weight:
    """Load one model of a service, alone in a fresh process."""
    done = run(["-c", WEIGH, target, str(number)])
    megabytes, seconds = json.loads(done.stdout.splitlines()[-1])
    return Weight(megabytes, seconds)


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments; a `HansangError` with its last words when it fails."""
    path = os.pathsep.join(part for part in sys.path if part)
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
    except subprocess.TimeoutExpired as error:
        raise HansangError(f"loading the service alone took longer than {PATIENCE:.0f} s") from error
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("import time:")]
        raise HansangError(f"loading the service alone failed: {words[-1] if words else 'it said nothing'}")
    return done
