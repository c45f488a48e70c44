"""Records that reports are made of: real tables on disk, written by the recorder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hansang.record import Recorder, Rows, Shared
from hansang.record.feedback import NONE, Feedback, feedback_recorder
from tests.record.making import compact, id_at

DAY = 86400.0
START = 1_767_225_600.0  # 2026-01-01


def write_record(
    folder: Path,
    times: Sequence[float],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    truths: Sequence[Any] | None = None,
    **changes: Any,
) -> None:
    """Record one answer for each time, in the order of time, and what turned out to be true; `None` is no truth.

    `changes` are `service`, `endpoint` and `version`, and `statuses`, one for each row.
    """
    shared = Shared(
        changes.get("service", "bikes"),
        changes.get("endpoint", "predict"),
        "model",
        "models:/bikes",
        changes.get("version", "1"),
    )
    statuses = changes.get("statuses") or [200] * len(times)
    ids = [id_at(time, number) for number, time in enumerate(times)]
    recorder = Recorder(folder)
    recorder.write(
        [
            Rows(
                shared,
                1,
                0.001,
                [ids[n]],
                times[n],
                [0.002 + n % 7 * 1e-3],
                [encoded(inputs[n])],
                [encoded(outputs[n])],
                statuses=[statuses[n]],
            )
            for n in range(len(times))
        ]
    )
    recorder.roll()
    told = [n for n in range(len(times)) if truths is not None and truths[n] is not None]
    if truths is not None and told:
        feedback = feedback_recorder(folder)
        rows = len(told)
        feedback.write(
            [
                Feedback(
                    times[-1],
                    [ids[n] for n in told],
                    [0] * rows,
                    [encoded(truths[n]) for n in told],
                    [NONE] * rows,
                    [NONE] * rows,
                    [None] * rows,
                    [None] * rows,
                )
            ]
        )
        feedback.roll()
    compact(folder)


def encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
