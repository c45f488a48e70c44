"""Single flight: who computes a key, and who waits for him."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Landed = asyncio.Future[Any]


@dataclass(slots=True, eq=False)
class Flight:
    """The keys that one batch computes. A live row does not wait for a `background` one: it flies itself.

    `alone` says that nobody else flies one of the keys. `moves` counts the switches of models before it began.
    """

    identity: bytes
    moves: int = 0
    background: bool = False
    alone: bool = True
    keys: list[bytes] = field(default_factory=list)
    waiting: dict[bytes, Landed] = field(default_factory=dict)


@dataclass(slots=True)
class Flights:
    """Which flight computes which key. Every key of a flight lands: with its outcome, or with nothing."""

    flying: dict[bytes, Flight] = field(default_factory=dict)

    def join(self, flight: Flight, key: bytes) -> Landed:
        """Give what comes when a key lands: its outcome, or None when somebody else must fly."""
        landed = flight.waiting.get(key)
        if landed is None:
            landed = flight.waiting[key] = asyncio.get_running_loop().create_future()
        return landed

    def land(self, flight: Flight, key: bytes, result: Any) -> None:
        """End the flight of a key, and tell those who wait for it; does nothing the second time."""
        if self.flying.get(key) is flight:
            del self.flying[key]
        if flight.waiting:
            landed = flight.waiting.pop(key, None)
            if landed is not None and not landed.done():
                landed.set_result(result)

    def end(self, flight: Flight) -> None:
        """End a flight: keys that have not landed never will, and whoever waits for one of them flies himself."""
        keys, flight.keys = flight.keys, []
        for key in keys:
            self.land(flight, key, None)


async def any_landed(landings: Sequence[Landed], until: float | None) -> None:
    """Wait until one of these has landed, or until a moment on the loop's clock."""
    patience = None if until is None else max(until - asyncio.get_running_loop().time(), 0.0)
    await asyncio.wait(set(landings), timeout=patience, return_when=asyncio.FIRST_COMPLETED)
