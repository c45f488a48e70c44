"""A sink in memory that can be told to fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from hansang.record.sinks.sink import Parcel, Refused


@dataclass
class HeldSink:
    """Holds the ids of the rows that it took; `faults` are raised first, `poison` are ids that it never takes."""

    most_rows: int = 0
    faults: list[Exception] = field(default_factory=list)
    poison: set[str] = field(default_factory=set)
    names_rows: bool = False
    taken: list[str] = field(default_factory=list)
    parcels: list[str] = field(default_factory=list)
    entered: int = 0

    def __enter__(self) -> Self:
        self.entered += 1
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def deliver(self, parcel: Parcel) -> None:
        self.parcels.append(parcel.name)
        if self.faults:
            raise self.faults.pop(0)
        ids = parcel.table()["id"].to_pylist()
        bad = {place: "it is poison" for place, id in enumerate(ids) if id in self.poison}
        if bad and not self.names_rows:
            raise Refused("there is poison in it")
        self.taken += [id for id in ids if id not in self.poison]
        if bad:
            raise Refused("there is poison in it", bad)
