"""What a server costs while nobody asks, and how long it takes to be ready beyond the model's own load."""

import http.client
import subprocess
import time
from dataclasses import replace

import catalog
import environments
import models
import online
from server import Server, StartFailedError

LOAD = """
import sys, time
started = time.perf_counter()
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
session.run(None, {session.get_inputs()[0].name: __import__("numpy").zeros((1, 4), dtype="float32")})
print(time.perf_counter() - started)
"""


def measure(seconds: float, starts: int = 3) -> dict:
    """Return Hansang's idle CPU in percent of a core, and the median time to ready over some starts."""
    ready = []
    for attempt in range(starts):
        server = online.start(replace(catalog.HANSANG, ids=False), "logreg", "onnx")
        server.answers = _ready
        try:
            with server:
                ready.append(server.first_answer)
                if attempt == starts - 1:
                    share, memory = _idle(server, seconds)
        except StartFailedError as error:
            return {"failed": str(error)}
    return {
        "cpu_percent": round(share * 100, 3),
        "seconds": seconds,
        "memory_mb": memory,
        "ready_s": round(sorted(ready)[len(ready) // 2], 3),
        "model_load_s": round(_model_load(), 3),
    }


def _idle(server: Server, seconds: float) -> tuple[float, float]:
    """Ask once, let it settle, then count the CPU of doing nothing."""
    server.request("POST", "/predict", catalog.named(models.rows(1)[0].tolist()))
    time.sleep(2)
    before, started = server.cpu_seconds(), time.perf_counter()
    time.sleep(seconds)
    return (server.cpu_seconds() - before) / (time.perf_counter() - started), round(server.memory_mb(), 1)


def _ready(server: Server) -> bool:
    try:
        return server.request("GET", "/readyz")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def _model_load() -> float:
    """Return the seconds a fresh interpreter needs to import the runtime, load the model and call it once."""
    command = [str(environments.python_of("project")), "-c", LOAD, str(models.MODELS / "logreg.onnx")]
    times = [
        float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout) for _ in range(3)
    ]
    return sorted(times)[1]
