"""Offline scoring: `hansang score` of a Parquet file against the bare model called once on the whole array."""

import json
import statistics
import subprocess
import time
import uuid
from pathlib import Path

import environments
import models
import usage

FOLDER = environments.BENCH / "offline"
SCORE_SECONDS = 300
LONGER = 4  # the same again with so many times the rows: what one more row costs
# Whether memory grows with the rows is asked of one process: a longer run is given a process for every core, each with
# a model of its own. The last quarter of the run is compared with its third: before that queues are filling; in a
# quick one they have not.
LONG, ENOUGH = 24, 1_000_000
KINDS = (("logreg", "onnx"), ("logreg", "sklearn"), ("forest", "onnx"), ("forest", "sklearn"))


class ScoreFailedError(Exception):
    """A scoring command ended with an error or with the wrong rows."""


def measure(count: int) -> list[dict]:
    """Return one row per model and runtime; a run that fails is a row with its reason."""
    source = _input(count)
    found = []
    for model, runtime in KINDS:
        about = {"model": model, "runtime": runtime, "rows": count}
        try:
            found.append({**about, **_one(model, runtime, source, count)})
        except (ScoreFailedError, OSError, subprocess.TimeoutExpired) as error:
            found.append({**about, "failed": " ".join(str(error).split())[:300]})
    return found


def _input(count: int) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"rows-{count}.parquet"
    if not path.exists():
        columns = models.rows(count, seed=3).T
        table = pa.table(dict(zip(models.FEATURES, columns, strict=True)))
        pq.write_table(table, path, row_group_size=65536)
    return path


def _one(model: str, runtime: str, source: Path, count: int) -> dict:
    file = models.MODELS / f"{model}.{'onnx' if runtime == 'onnx' else 'joblib'}"
    bare_out, out = FOLDER / "bare.parquet", FOLDER / "scored.parquet"
    script = Path(__file__).with_name("bare_score.py")
    bare_s, bare_memory, said = _run([environments.python_of("project"), script, file, source, bare_out])
    call_s = json.loads(said.splitlines()[-1])["call_s"]
    for path in (out, FOLDER / "longer.parquet"):
        path.unlink(missing_ok=True)
    score = [environments.python_of("project").with_name("hansang"), "score", models.MODELS / f"{model}-{runtime}"]
    ours_s, memory, said = _run([*score, source, "-o", out, "--json"])
    longer_s, longer, longer_said = _run([*score, _input(LONGER * count), "-o", FOLDER / "longer.parquet", "--json"])
    return {
        "call_per_s": round(count / call_s),
        "bare_per_s": round(count / bare_s),
        "hansang_per_s": round(count / ours_s),
        "hansang_s": round(ours_s, 2),
        "steady_per_s": round((LONGER - 1) * count / (longer_s - ours_s)),
        "bare_peak_mb": _peak(bare_memory),
        "peak_mb": _peak(memory),
        "processes": _processes(said),
        "longer_peak_mb": _peak(longer),
        "longer_processes": _processes(longer_said),
        **(_growth(score, count) if count >= ENOUGH else {}),
        "same_labels": _agreement(bare_out, out, count),
        "memory": memory,
    }


def _growth(score: list, count: int) -> dict:
    """Return what one process needs in the third and in the last quarter of a long run, each the median."""
    out = FOLDER / "longer.parquet"
    out.unlink(missing_ok=True)
    _, samples, _ = _run([*score, _input(LONG * count), "-o", out, "--processes", "1"], every=0.05)
    used = [memory for _, memory in samples]
    quarter = len(used) // 4
    quarters = used[2 * quarter : 3 * quarter], used[3 * quarter :]
    return {"one_rows": LONG * count, "one_mb": [round(statistics.median(part), 1) for part in quarters]}


def _processes(said: str) -> int:
    """Read from the summary how many processes scored."""
    return int(json.loads(said[said.index("{") :])["processes"])


def _run(command: list, every: float = 0.25) -> tuple[float, list[tuple[float, float]], str]:
    mark = uuid.uuid4().hex
    started = time.perf_counter()
    settings = {**_quiet(), usage.MARK: mark, "HANSANG_TRUST": "*"}
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=FOLDER,
        env=settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with usage.MemoryWatch(process.pid, mark, every=every) as watch:
        try:
            said, _ = process.communicate(timeout=SCORE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    if process.returncode != 0:
        raise ScoreFailedError(f"status {process.returncode}: {said.strip()[-250:]}")
    return time.perf_counter() - started, watch.samples, said


def _quiet() -> dict[str, str]:
    import os

    from server import QUIET

    return {**{name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}, **QUIET}


def _peak(samples: list[tuple[float, float]]) -> float:
    return max((used for _, used in samples), default=0.0)


def _agreement(bare: Path, ours: Path, count: int) -> float | None:
    """Return the share of equal labels; None where the output has no column of them under a known name."""
    import pyarrow.parquet as pq

    expected, got = pq.read_table(bare), pq.read_table(ours)
    if got.num_rows != count:
        raise ScoreFailedError(f"expected {count} rows in the output, got {got.num_rows}")
    name = next((name for name in ("label", "prediction", "output", "predict") if name in got.column_names), None)
    if name is None:
        return None
    column = got.column(name).combine_chunks()
    labels = column.field(0) if str(column.type).startswith("struct") else column
    return round(float((labels.to_numpy(False) == expected.column("label").to_numpy()).mean()), 5)
