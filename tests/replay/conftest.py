from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from hansang.record import Recorder, Rows, Shared
from hansang.record.feedback import NONE, Feedback, feedback_recorder
from tests.record.making import id_at

RIDES = Path(__file__).parent / "rides.py"
NOON = 1_795_003_200.0  # 2026-11-18T12:00:00Z
SHARED = Shared("rides", "predict", "ride", "ride", "7")

Write = Callable[..., list[str]]
Tell = Callable[..., None]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("HANSANG_", "MLFLOW_", "RIDES_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "records"


@pytest.fixture
def write(folder: Path) -> Write:
    """Record rides as version 7 answered them, one request each, a second apart; gives their ids."""

    def record(kms: Sequence[float], start: float = NOON, step: float = 1.0, **changes: Any) -> list[str]:
        recorder = Recorder(folder, compact=False)
        ids = []
        for number, km in enumerate(kms):
            time = start + number * step
            values: dict[str, Any] = {
                "shared": SHARED,
                "batch_rows": 1,
                "queue": 0.0,
                "ids": [id_at(time, number)],
                "time": time,
                "latencies": [0.004],
                "inputs": [json.dumps({"km": km, "city": "Busan"}).encode()],
                "outputs": [answer(km)],
            }
            group = Rows(**{**values, **changes})
            recorder.write([group])
            ids += group.ids
        recorder.roll()
        return ids

    return record


@pytest.fixture
def tell(folder: Path) -> Tell:
    """Say what was true of rides."""

    def record(ids: Sequence[str], truths: Sequence[Any]) -> None:
        recorder = feedback_recorder(folder, compact=False)
        count = len(ids)
        told = [json.dumps(truth).encode() for truth in truths]
        texts: list[str | None] = [None] * count
        recorder.write(
            [Feedback(NOON + 60, list(ids), [0] * count, told, [NONE] * count, [NONE] * count, texts, texts)]
        )
        recorder.roll()

    return record


def answer(km: float, factor: float = 3.0) -> bytes:
    return json.dumps({"minutes": km * factor, "kind": "long" if km * factor > 15 else "short"}).encode()
