"""A cache at work: sorts the rows of a batch into hits, rows that wait for another one's answer, and misses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence, Set
from dataclasses import replace
from functools import partial
from typing import Any

from hansang.batch import Batch
from hansang.call import Call
from hansang.dispatch import Part, Places
from hansang.errors import CallerLeft, DeadlineExceeded
from hansang.nodes.cache.counts import Counts
from hansang.nodes.cache.entry import THAWS, Entry, Unkept, all_frozen, frozen, is_leaders_own
from hansang.nodes.cache.far import Far
from hansang.nodes.cache.flights import Flight, Flights, Landed, any_landed
from hansang.nodes.cache.key import Keys, with_identity
from hansang.nodes.cache.memory import Memory
from hansang.nodes.cache.ways import Before, Steps, Way

Key = bytes | None
Node = Callable[[Batch], Awaitable[Batch]]

FOREVER = float("inf")
NOBODY: Set[int] = frozenset()

log = logging.getLogger("hansang")


class Cache:
    """The run-time of a cached node: its keys, its entries, and its flights.

    Entries are in this process (`near`) or elsewhere (`far`). Whoever computes a key *leads*; rows of the same key
    that come meanwhile *follow*: they get the leader's outcome, unless it is only the leader's own fault (`CallerLeft`,
    `DeadlineExceeded`, `Overloaded`, `Unavailable` and their kind). Then one of them leads.
    """

    def __init__(
        self,
        node: Node,
        keys: Keys,
        near: Memory | None,
        *,
        ttl: float | None,
        errors: bool,
        clock: Callable[[], float],
        counts: Counts,
    ) -> None:
        self.node, self.keys, self.near = node, keys, near
        self.far: Far | None = None
        self.ttl, self.errors, self.clock, self.counts = ttl, errors, clock, counts
        self.flights = Flights()
        self.steps = Steps(keys.label)

    def parts(self, batch: Batch) -> list[Part]:
        """Sort a batch."""
        identity = self.keys.identity.now()
        keys = self.keys.of(batch, identity)
        unread, unwritten = refused(batch)
        if not unread:
            return self._sorted(batch, keys, identity)
        writes = [None if place in unwritten else key for place, key in enumerate(keys)]
        past = sorted(unread)
        self.counts.bypass.add(len(past))
        parts = [self._past(batch.take(past), [writes[place] for place in past], identity, past)]
        rest = [place for place in range(batch.size) if place not in unread]
        if rest:
            parts = moved(self._sorted(batch.take(rest), [keys[place] for place in rest], identity), rest) + parts
        return parts

    def _past(self, batch: Batch, writes: list[Key], identity: bytes, at: Places) -> Part:
        """Give the part of rows that are computed whatever the cache holds."""
        return self._computed(batch, writes, Flight(identity, self.keys.identity.moves), at)

    def _sorted(self, batch: Batch, keys: list[Key], identity: bytes) -> list[Part]:
        near = self.near
        entries: list[Entry | None] = near.get(keys) if near is not None else [None] * len(keys)
        flight = Flight(identity, self.keys.identity.moves, batch.background)
        if self._all_lead(keys, entries):
            flight.keys = keys  # type: ignore[assignment]  # every row has one
            self.flights.flying.update(dict.fromkeys(flight.keys, flight))
            return [self._leading(batch, keys, range(batch.size), flight)]
        if None not in entries:
            return [self._hits(batch, range(batch.size), entries)]
        parts: list[Part] = []
        hits = [place for place, entry in enumerate(entries) if entry is not None]
        if hits:
            parts.append(self._hits(batch, hits, [entries[place] for place in hits]))
        leading, following = self._board(keys, entries, flight)
        if leading:
            parts.append(self._leading(batch, keys, leading, flight))
        if following:
            parts.append(self._following(batch, keys, following))
        return parts

    def _hits(self, batch: Batch, at: Places, entries: Sequence[Any]) -> Part:
        self.counts.hit.add(len(at))
        return settled(batch, at, entries, self.steps)

    def _board(
        self, keys: list[Key], entries: list[Entry | None], flight: Flight
    ) -> tuple[list[int], list[tuple[int, Landed]]]:
        """Give the rows that nobody computes yet, who lead now, and what the others wait for."""
        flying, leading, following = self.flights.flying, [], []
        for place, key in enumerate(keys):
            if entries[place] is not None:
                continue
            if key is None:
                leading.append(place)
                continue
            other = flying.get(key)
            if other is not None and other.background and not flight.background:
                other.alone, other = False, None
            if other is None:
                flying[key] = flight
                flight.keys.append(key)
                leading.append(place)
            else:
                following.append((place, self.flights.join(other, key)))
        return leading, following

    def _all_lead(self, keys: list[Key], entries: list[Entry | None]) -> bool:
        """Say whether every row is the first of its key, quickly: it is the usual case of rows that are all new."""
        flying = self.flights.flying
        return (
            entries.count(None) == len(keys) == len(set(keys))
            and None not in keys
            and (not flying or flying.keys().isdisjoint(keys))
        )

    # --- those who lead ---

    def _leading(self, batch: Batch, keys: list[Key], at: Places, flight: Flight) -> Part:
        """Compute the rows that nobody computes yet; look them up first where entries are elsewhere."""
        if len(at) == batch.size:
            part, some, places = batch, keys, None
        else:
            part, some, places = batch.take(at), [keys[place] for place in at], at
        if self.far is None or not self.far.reachable():
            nobody = some.count(None) if self.far is None else len(some)
            self._count_computed(nobody, len(some) - nobody)
            return self._computed(part, some, flight, places)
        lookup = Lookup(self.far, some, self.keys.label)
        then = partial(self._looked_up, part, lookup, flight)
        return Part(part, lookup, places, then, ended=partial(self.flights.end, flight))

    def _looked_up(self, batch: Batch, lookup: Lookup, flight: Flight, at: Places, answers: Batch) -> list[Part]:
        """Settle what was found elsewhere, and compute the rest."""
        hits = [place for place, entry in enumerate(lookup.found) if entry is not None]
        for place in hits:
            key = lookup.keys[place]
            if key is not None:
                self.flights.land(flight, key, lookup.found[place])
        parts = [self._hits(batch, hits, [lookup.found[place] for place in hits])] if hits else []
        missing = [place for place, entry in enumerate(lookup.found) if entry is None]
        if missing:
            keys = [lookup.keys[place] for place in missing]
            nobody = keys.count(None) if lookup.answered else len(keys)
            self._count_computed(nobody, len(keys) - nobody)
            whole = len(missing) == batch.size
            rest = batch if whole else batch.take(missing)
            parts.append(self._computed(rest, keys, flight, None if whole else missing))
        return parts

    def _computed(self, batch: Batch, keys: list[Key], flight: Flight, at: Places | None) -> Part:
        then = partial(self._landed, flight, keys, Before.of(batch, self.steps))
        return Part(batch, self.node, at, then, ended=partial(self.flights.end, flight))

    def _landed(self, flight: Flight, keys: list[Key], before: Before, at: Places, answers: Batch) -> tuple[Part]:
        """Keep what was computed, and hand it to those who wait for it."""
        expires = FOREVER if self.ttl is None else self.clock() + self.ttl
        identity = self.keys.identity
        current = flight.moves == identity.moves and flight.identity == identity.now()
        if len(at) == len(flight.keys) == len(keys) and flight.alone and not flight.waiting:
            way = before.one_way(answers)
            entries = None if way is None else all_frozen(answers.rows, way, expires)
            if entries is not None:
                for key in flight.keys:
                    del self.flights.flying[key]
                flight.keys = []
                if current:
                    self._put(keys, entries)
                return (Part(answers),)
        ways = before.ways(at, answers)
        self._land(flight, [keys[place] for place in at], answers, ways, expires if current else None)
        if len(at) == len(keys):
            flight.keys = []
        return (Part(answers),)

    def _land(
        self, flight: Flight, keys: list[Key], answers: Batch, ways: list[Way | None], expires: float | None
    ) -> None:
        """Land the flights of these rows one by one; without `expires` nothing is kept."""
        kept_keys: list[bytes] = []
        entries: list[Entry] = []
        failed = answers.failed
        for key, outcome, way in zip(keys, answers.rows, ways, strict=True):
            if key is None:
                continue
            kept = self.errors or not failed or not isinstance(outcome, Exception)
            entry = None
            if way is not None and (kept or flight.waiting):
                entry = self._entry(outcome, way, expires or FOREVER)
            if kept and entry is not None and expires is not None:
                kept_keys.append(key)
                entries.append(entry)
            self.flights.land(flight, key, entry)
        if entries:
            self._put(kept_keys, entries)

    def _entry(self, outcome: Any, way: Way, expires: float) -> Entry | None:
        """Make what is kept and what followers get; None when they must fly themselves."""
        if isinstance(outcome, Exception) and is_leaders_own(outcome):
            return None
        try:
            return frozen(outcome, way, expires)
        except Unkept as error:
            self.counts.unkept("value", error)
            return None

    def _put(self, keys: list[Any], entries: list[Entry]) -> None:
        if self.near is None:
            if self.far is not None:
                self.far.put(keys, entries)
            return
        refused = self.near.put(keys, entries)
        if refused:
            self.counts.unkept("large", f"larger than max_bytes={self.near.max_bytes}", refused)
        self.counts.size(len(self.near), self.near.bytes)

    def _count_computed(self, nobody: int, missed: int) -> None:
        if nobody:
            self.counts.bypass.add(nobody)
        if missed:
            self.counts.miss.add(missed)

    # --- those who follow ---

    def _following(self, batch: Batch, keys: list[Key], following: list[tuple[int, Landed]]) -> Part:
        """Let rows wait for the one that computes their key."""
        at = [place for place, _ in following]
        rows, landings = batch.take(at), [landed for _, landed in following]
        some = [keys[place] for place in at]
        return Part(rows, Wait(landings, self.keys.label), at, partial(self._followed, rows, some, landings))

    def _followed(
        self, batch: Batch, keys: list[Key], landings: list[Landed], at: Places, answers: Batch
    ) -> list[Part]:
        """Settle the rows whose key has landed or whose time is over; the others wait on, or lead now."""
        now = asyncio.get_running_loop().time()
        joined: list[int] = []
        failed: dict[int, Exception] = {}
        waiting: list[tuple[int, Landed]] = []
        again: list[int] = []
        calls: Sequence[Call | None] = batch.calls if batch.has_calls else [None] * batch.size
        for place, (landed, call) in enumerate(zip(landings, calls, strict=True)):
            if landed.done():
                (again if landed.result() is None else joined).append(place)
            elif call is not None and call.gone:
                failed[place] = CallerLeft("the caller left while another request computed the same answer")
            elif call is not None and call.deadline is not None and call.deadline <= now:
                failed[place] = DeadlineExceeded("the deadline has passed while another request computed the answer")
            else:
                waiting.append((place, landed))
        parts = []
        if joined:
            self.counts.joined.add(len(joined))
            parts.append(settled(batch, joined, [landings[place].result() for place in joined], self.steps))
        if failed:
            bad = list(failed)
            parts.append(Part(batch.take(bad).replace(list(failed.values())), at=bad))
        if again:
            identity = self.keys.identity.now()
            anew = [with_identity(keys[place], identity) for place in again]
            parts += moved(self._sorted(batch.take(again), anew, identity), again)
        if waiting:
            parts.append(self._following(batch, keys, waiting))
        return parts


class Lookup:
    """Asks for entries that are kept elsewhere, as the node of a part; its rows go through unchanged."""

    def __init__(self, far: Far, keys: list[Key], label: str) -> None:
        self.far, self.keys, self.label = far, keys, label
        self.found: list[Entry | None] = [None] * len(keys)
        self.answered = False

    async def __call__(self, batch: Batch) -> Batch:
        """Find what can be found, all in one round trip."""
        found = await self.far.get(self.keys)
        if found is not None:
            self.found, self.answered = found, True
        return batch


class Wait:
    """Waits for the first of some landings or for the first deadline, as the node of a part; see `Lookup`."""

    def __init__(self, landings: list[Landed], label: str) -> None:
        self.landings, self.label = landings, label

    async def __call__(self, batch: Batch) -> Batch:
        """Wait."""
        calls = batch.calls if batch.has_calls else []
        deadlines = [call.deadline for call in calls if call.deadline is not None]
        await any_landed(self.landings, min(deadlines, default=None))
        return batch


def settled(batch: Batch, at: Places, entries: Sequence[Any], steps: Steps) -> Part:
    """Give the part of rows that have their answers from the cache, with its step in their trails."""
    whole = len(at) == batch.size
    part = batch if whole else batch.take(at)
    ways = [entry[3] for entry in entries]
    if not part.has_calls:
        for step in map(steps.step, dict.fromkeys(ways)):
            if step not in part.steps:
                part.mark(step)
    elif ways.count(ways[0]) == len(ways):
        part.mark(steps.step(ways[0]))
    else:
        for call, way in zip(part.calls, ways, strict=True):
            call.trail.append(steps.step(way))
    answers = part.replace([THAWS[thaw](held) if thaw else held for held, thaw, _, _, _ in entries])
    return Part(answers, at=None if whole else at)


def moved(parts: Iterable[Part], places: Places) -> list[Part]:
    """Give the parts of some rows of a batch as parts of the batch."""
    return [replace(part, at=places if part.at is None else [places[place] for place in part.at]) for part in parts]


def refused(batch: Batch) -> tuple[Set[int], Set[int]]:
    """Give the rows whose request wants no answer from a cache, and those that must not be kept either (RFC 9111)."""
    if not batch.has_calls or True not in ["cache-control" in call.headers for call in batch.calls]:
        return NOBODY, NOBODY
    wishes = [call.headers.get("cache-control", "").lower() for call in batch.calls]
    words = [{word.strip() for word in wish.split(",")} for wish in wishes]
    unwritten = {place for place, each in enumerate(words) if "no-store" in each}
    return unwritten | {place for place, each in enumerate(words) if "no-cache" in each}, unwritten
