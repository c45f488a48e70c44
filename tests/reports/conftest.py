from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.record.making import ROOT
from tests.reports.making import DAY, START, write_record

DATA = ROOT / "examples/bikes/data/bikeshare.parquet"
OTHERS = ("day", "bikers")
QUARTER, HALF = 90, 181  # days


@dataclass(frozen=True)
class Served:
    """The second quarter as a champion of the first one answered it, hour by hour."""

    times: list[float]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, float]]
    truths: list[int]


@pytest.fixture(scope="session")
def served() -> Served:
    hours = pq.read_table(DATA)
    names = [name for name in hours.column_names if name not in OTHERS]

    def matrix(table: Any) -> Any:
        return np.column_stack([np.asarray(table[name], float) for name in names])

    first = hours.filter(pc.field("day") <= QUARTER)
    second = hours.filter((pc.field("day") > QUARTER) & (pc.field("day") <= HALF))
    parameters = {"objective": "poisson", "seed": 1, "deterministic": True, "num_threads": 1, "verbose": -1}
    champion = lightgbm.train(parameters, lightgbm.Dataset(matrix(first), np.asarray(first["bikers"])), 100)
    answers = champion.predict(matrix(second))
    days, clock = (second[name].to_pylist() for name in ("day", "hour"))
    return Served(
        [START + (day - 1) * DAY + hour * 3600 for day, hour in zip(days, clock, strict=True)],
        second.drop_columns(list(OTHERS)).to_pylist(),
        [{"bikers": round(float(answer), 3)} for answer in answers],
        second["bikers"].to_pylist(),
    )


@pytest.fixture(scope="session")
def bikes(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of that quarter, with every truth."""
    folder = tmp_path_factory.mktemp("bikes") / "records"
    write_record(folder, served.times, served.inputs, served.outputs, served.truths)
    return folder
