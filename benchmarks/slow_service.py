"""A model that takes 50 ms and 0.5 ms a row, and answers how many rows were in its call."""

import os
import time

from pydantic import BaseModel

from hansang import Batch, Model, Service

FIXED_SECONDS = float(os.environ.get("BENCH_FIXED_SECONDS", "0.050"))
ROW_SECONDS = float(os.environ.get("BENCH_ROW_SECONDS", "0.0005"))
MAX_BATCH = int(os.environ.get("BENCH_MAX_BATCH", "64"))


class Row(BaseModel):
    x: float


def slow(batch: Batch) -> list[int]:
    time.sleep(FIXED_SECONDS + ROW_SECONDS * len(batch))
    return [len(batch)] * len(batch)


service = Service("slow", Model(slow, max_batch=MAX_BATCH), input=Row)
