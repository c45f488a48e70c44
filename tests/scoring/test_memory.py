"""Four times the rows take no more memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.scoring.conftest import DEMAND, HANSANG, plain_environment

SLACK = 1.15


def peak(folder: Path, rows: int) -> int:
    """Score so many rows and give the peak of the process's resident memory, in KiB."""
    source = folder / f"in-{rows}.parquet"
    with pq.ParquetWriter(source, pa.schema({"hour": pa.int64(), "temp": pa.float64(), "city": pa.string()})) as file:
        for start in range(0, rows, 100_000):
            numbers = np.arange(start, start + 100_000)
            city = pa.array([f"city {n % 50}" for n in range(100_000)])
            file.write_table(pa.table({"hour": numbers % 24, "temp": (numbers % 100) / 100, "city": city}))
    words = [str(HANSANG), "score", str(DEMAND), str(source), "-o", str(folder / f"out-{rows}.parquet")]
    process = os.posix_spawn(
        words[0], [*words, "--endpoint", "/columns", "--processes", "1"], plain_environment(), setsigdef=[]
    )
    _, status, usage = os.wait4(process, 0)
    assert status == 0
    assert pq.ParquetFile(folder / f"out-{rows}.parquet").metadata.num_rows == rows
    return usage.ru_maxrss


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is another elsewhere")
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    assert peak(tmp_path, 3_000_000) < SLACK * peak(tmp_path, 800_000)
