"""What the compactor does when no segment waits: merges small files, and deletes what is no longer kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from hansang.extras import require
from hansang.record.keep import delete, overdue, read_keep
from hansang.record.payloads import sweep
from hansang.record.segment import KINDS

PATIENCE = 5.0  # seconds to wait for a moment without readers
AGAIN = 300.0  # seconds until the next attempt when something was in the way
OFTEN = 60.0  # seconds between two looks at the files, however often segments are closed
LONGEST = 86400.0


@dataclass(slots=True)
class Upkeep:
    """Looks after the Parquet files of one record.

    `spared` says which files must stay as they are, because somebody still has to read them under their names. `due`
    is when there may be something to do, `math.inf` when nothing will be by itself.
    """

    folder: Path
    spared: Callable[[Path], bool] = lambda path: False
    clock: Callable[[], float] = time.time
    due: float = 0.0
    clean: bool = False

    @property
    def wait(self) -> float | None:
        """The seconds until something may be due; None when only new rows can change that."""
        return None if self.due == inf else min(max(self.due - self.clock(), 0.0), LONGEST)

    def steps(self, force: bool = False) -> Generator[None, None, None]:
        """Do what is due, a piece a step, so that the caller can see to something more urgent in between.

        `force` is for when rows came: there may be something to do though nothing was due by itself.
        """
        now = self.clock()
        if now < self.due and not (force and self.due == inf):
            return
        self.due = now + AGAIN  # when this does not come to its end
        if not self.clean:
            self.sweep_up()
        yield
        expiry = self.expire(now)
        yield
        payloads = sweep(self.folder, now)
        yield
        following = min(expiry, payloads, (yield from self.merge(now)))
        self.due = max(following, now + OFTEN)

    def sweep_up(self) -> None:
        """Remove what a compactor that was killed has left."""
        for place in (*KINDS, *(f"ids/{kind}" for kind in KINDS)):
            for leftover in self.folder.glob(f"{place}/*/.*.tmp"):
                leftover.unlink(missing_ok=True)
        plans = any(self.folder.glob("merges/*.json"))
        self.clean = not plans or require("hansang.record.merge", "").recover(self.folder)

    def expire(self, now: float) -> float:
        """Delete what is no longer kept; gives when something will be due next."""
        paths, due = overdue(self.folder, read_keep(self.folder), now)
        paths = [path for path in paths if not self.spared(path)]
        if paths and not delete(self.folder, paths, PATIENCE):
            return now + AGAIN
        return due

    def merge(self, now: float) -> Generator[None, None, float]:
        """Merge small files; gives when something will be due next."""
        if not self.has_several():
            return inf
        module: Any = require("hansang.record.merge", "")
        merges, due = module.due_merges(self.folder, now)
        for work in merges:
            if not any(self.spared(path) for path in work.sources) and not (yield from module.merge(work)):
                return now + AGAIN
        return now + OFTEN if merges else float(due)

    def has_several(self) -> bool:
        """Say whether some day has more than one file; asked before Arrow is imported."""
        for kind in KINDS:
            with suppress(FileNotFoundError):
                for day in (self.folder / kind).iterdir():
                    if day.is_dir() and sum(path.suffix == ".parquet" for path in day.iterdir()) > 1:
                        return True
        return False
