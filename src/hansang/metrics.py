"""Counters, gauges and histograms that cost an addition each and are right with many processes."""

from __future__ import annotations

import itertools
import json
import mmap
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hansang.extras import require

SLOTS = 65536
LATENCY = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 8192)


@dataclass(frozen=True, slots=True)
class Series:
    """One time series and where its numbers stand."""

    kind: str
    name: str
    text: str
    labels: tuple[tuple[str, str], ...]
    at: int
    bounds: tuple[float, ...] = ()


class Counter:
    """A number that only grows; a gauge when it is set."""

    __slots__ = ("_at", "_cells")

    def __init__(self, cells: memoryview[float], at: int) -> None:
        self._cells, self._at = cells, at

    def add(self, amount: float = 1.0) -> None:
        """Add to it."""
        self._cells[self._at] += amount

    def set(self, value: float) -> None:
        """Set a gauge."""
        self._cells[self._at] = value

    @property
    def value(self) -> float:
        """The number of this process."""
        return float(self._cells[self._at])


class Histogram:
    """Counts of values up to each bound, and their sum."""

    __slots__ = ("_at", "_bounds", "_cells", "_sum")

    def __init__(self, cells: memoryview[float], at: int, bounds: tuple[float, ...]) -> None:
        self._cells, self._at, self._bounds = cells, at, bounds
        self._sum = at + len(bounds) + 1

    def observe(self, value: float) -> None:
        """Count one value."""
        self._cells[self._at + bisect_left(self._bounds, value)] += 1.0
        self._cells[self._sum] += value

    def observe_all(self, values: Sequence[float]) -> None:
        """Count many values."""
        cells, at, bounds = self._cells, self._at, self._bounds
        for value in values:
            cells[at + bisect_left(bounds, value)] += 1.0
        cells[self._sum] += sum(values)


class Metrics:
    """The numbers of one process, in memory or in a file that the other workers of the server can read.

    With a `folder` each process writes `<pid>-<n>.cells` (float64, mapped) and `<pid>-<n>.series` (a JSON line a
    series), and `collect` adds up all processes that ever were: what a dead worker counted is not lost. Only its
    gauges end with it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._series: dict[tuple[str, tuple[tuple[str, str], ...]], Series] = {}
        self._shapes: dict[str, tuple[str, tuple[str, ...], tuple[float, ...]]] = {}
        self._used = 0
        self._names: Path | None = None
        if folder is None:
            self._cells = memoryview(bytearray(SLOTS * 8)).cast("d")
            return
        with create(folder) as file:
            file.truncate(SLOTS * 8)
            self._cells = memoryview(mmap.mmap(file.fileno(), SLOTS * 8)).cast("d")
        self._names = Path(file.name).with_suffix(".series")

    def counter(self, name: str, text: str, /, **labels: str) -> Counter:
        """Give the counter of this name and these labels."""
        return Counter(self._cells, self._find("counter", name, text, labels, ()).at)

    def gauge(self, name: str, text: str, /, **labels: str) -> Counter:
        """Give the gauge of this name and these labels; over processes gauges add up."""
        return Counter(self._cells, self._find("gauge", name, text, labels, ()).at)

    def histogram(self, name: str, text: str, bounds: tuple[float, ...] = LATENCY, /, **labels: str) -> Histogram:
        """Give the histogram of this name and these labels."""
        return Histogram(self._cells, self._find("histogram", name, text, labels, bounds).at, bounds)

    def _find(self, kind: str, name: str, text: str, labels: dict[str, str], bounds: tuple[float, ...]) -> Series:
        key = (name, tuple(sorted(labels.items())))
        found = self._series.get(key)
        if found is None:
            shape = kind, tuple(label for label, _ in key[1]), bounds
            if self._shapes.setdefault(name, shape) != shape:
                raise ValueError(f"the metric {name} is used with other labels, kind or bounds: {shape}")
            size = len(bounds) + 2 if kind == "histogram" else 1
            if self._used + size > SLOTS:
                raise RuntimeError(f"more than {SLOTS} metric cells; a label of {name} has too many values")
            found = self._series[key] = Series(kind, name, text, key[1], self._used, bounds)
            self._used += size
            if self._names is not None:
                with open(self._names, "a", encoding="utf-8") as file:
                    file.write(json.dumps([kind, name, text, key[1], found.at, bounds]) + "\n")
        return found

    # --- reading ---

    def collect(self) -> Iterator[Any]:
        """Give all series of all processes as metric families of prometheus-client."""
        core = require("prometheus_client.core", "")
        families: dict[str, Any] = {}
        for (name, labels), (series, values) in self._totals().items():
            family = families.get(name)
            if family is None:
                make = getattr(core, f"{series.kind.capitalize()}MetricFamily")
                family = families[name] = make(name, series.text, labels=[key for key, _ in labels])
            names = [value for _, value in labels]
            if series.kind != "histogram":
                family.add_metric(names, values[0])
                continue
            running, buckets = 0.0, []
            for bound, count in zip([*map(_bound, series.bounds), "+Inf"], values[:-1], strict=True):
                running += count
                buckets.append((bound, running))
            family.add_metric(names, buckets, values[-1])
        yield from families.values()

    def describe(self) -> Iterable[Any]:
        """Say nothing in advance: series appear as they are used."""
        return ()

    def _totals(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], tuple[Series, list[float]]]:
        totals: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[Series, list[float]]] = {}
        for series, cells in self._processes():
            size = len(series.bounds) + 2 if series.kind == "histogram" else 1
            values = list(cells[series.at : series.at + size])
            key = (series.name, series.labels)
            if key in totals:
                values = [a + b for a, b in zip(totals[key][1], values, strict=True)]
            totals[key] = (series, values)
        return totals

    def _processes(self) -> Iterator[tuple[Series, memoryview[float]]]:
        if self.folder is None:
            yield from ((series, self._cells) for series in self._series.values())
            return
        for path in sorted(self.folder.glob("*.series")):
            lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # what has no end yet is still being written
            cells = memoryview(path.with_suffix(".cells").read_bytes()).cast("d")
            alive = is_alive(int(path.stem.split("-")[0]))
            for line in lines:
                kind, name, text, labels, at, bounds = json.loads(line)
                if kind != "gauge" or alive:
                    pairs = tuple((str(key), str(value)) for key, value in labels)
                    yield Series(kind, name, text, pairs, at, tuple(bounds)), cells


def create(folder: Path) -> BinaryIO:
    """Make the file of this process; one of an earlier process with the same id is not touched."""
    for number in itertools.count():
        try:
            return open(folder / f"{os.getpid()}-{number}.cells", "x+b")
        except FileExistsError:
            continue
    raise AssertionError("itertools.count has no end")


def is_alive(pid: int) -> bool:
    """Say whether a process of this machine lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _bound(value: float) -> str:
    return str(float(value))
