"""Experiments in a record, written by the recorder itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hansang.record import Recorder, Rows, Shared
from hansang.record.feedback import feedback_recorder
from tests.record.making import TIME, id_at, truth_of

LIVE = Shared("shop", "/predict", "prices", "prices", "3")
SHADOW = replace(LIVE, node="shadow/prices", version="4", role="shadow")
DRAWS = np.random.default_rng(20261124)


def answers(
    shared: Shared,
    outputs: Sequence[Any],
    *,
    start: int = 0,
    statuses: Sequence[int] | None = None,
    keys: Sequence[str | None] | None = None,
    latencies: Sequence[float] | None = None,
    tags: Sequence[dict[str, Any] | None] | None = None,
    numbers: Sequence[int] | None = None,
) -> list[Rows]:
    """One group a row: answers that had nothing to do with each other, a hundredth of a second apart."""
    groups = []
    for place, output in enumerate(outputs):
        number = start + place if numbers is None else numbers[place]
        moment = TIME + number / 100
        groups.append(
            Rows(
                shared,
                1,
                0.0,
                [id_at(TIME, number)],
                moment,
                [0.002 if latencies is None else latencies[place]],
                [b"{}" if shared.role == "live" else b""],
                [json.dumps(output, separators=(",", ":")).encode()],
                statuses=None if statuses is None else [statuses[place]],
                keys=None if keys is None else [keys[place]],
                tags=None if tags is None else [tags[place]],
            )
        )
    return groups


def write(folder: Path, *groups: Sequence[Rows]) -> Path:
    recorder = Recorder(folder)
    for each in groups:
        recorder.write(each)
    recorder.roll()
    return folder


def tell(folder: Path, truths: Sequence[Any]) -> None:
    """What was true of the rows, by their numbers."""
    recorder = feedback_recorder(folder)
    recorder.write(
        [truth_of(id_at(TIME, number), json.dumps(truth).encode(), TIME + 1e4) for number, truth in enumerate(truths)]
    )
    recorder.roll()
