"""A process that answers: writes numbered rows to a record until it has written enough or is killed.

    python writer.py FOLDER FIRST COUNT ROWS_PER_SEGMENT

Every turn it prints the number of the last row whose write returned.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from hansang.record import Limits, Recorder
from tests.record.making import rows_of

TURN = 3


async def answer(folder: str, first: int, count: int, segment: int) -> None:
    async with Recorder(Path(folder), Limits(rows=segment, seconds=0.2)) as recorder:
        for number in range(first, first + count, TURN):
            recorder.write([rows_of(number, 1, time.time()), rows_of(number + 1, TURN - 1, time.time())])
            os.write(1, b"%d\n" % (number + TURN - 1))
            await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(answer(sys.argv[1], *map(int, sys.argv[2:])))
