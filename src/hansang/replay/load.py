"""Replay as load: recorded requests sent to a server when they came then, or at a fixed rate; an open loop."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack

import numpy as np
from pydantic_core import from_json

from hansang.errors import RecordError, UsageError
from hansang.peers.http import Address, Answer, NoAnswer, Pool
from hansang.replay.altered import of_openapi
from hansang.replay.compare import Comparison, Pair
from hansang.replay.fields import Tolerance
from hansang.replay.flat import flat
from hansang.replay.options import Choice
from hansang.replay.recorded import MARK, Selection, Taken, endpoint_of, moments, open_record
from hansang.replay.requests import Request, requests
from hansang.replay.rows import RowsFile
from hansang.replay.sketch import Sketch

TOGETHER = 1000  # rows that are compared at once
AHEAD = 256  # requests that are read at once
LEAD = 0.05  # seconds between the start and the first request
OK = 400
TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Rate:
    """When requests are sent: as they came, so many times faster, or so many a second whatever they did."""

    times: float = 1.0
    per_second: float | None = None

    @classmethod
    def of(cls, text: str) -> Rate:
        """Read `2x`, or requests a second as `200`; raises `UsageError`."""
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(x|/s)?\s*", text)
        value = float(found[1]) if found else 0.0
        if found is None or value <= 0:
            raise UsageError(f"the rate {text!r} is not understood; write 2x, or requests a second as 200")
        return cls(times=value) if found[2] == "x" else cls(per_second=value)

    def due(self, number: int, since_first: float) -> float:
        """Give when a request is due, in seconds after the first."""
        return since_first / self.times if self.per_second is None else number / self.per_second


class Options(Choice, total=False):
    """The options of `load`.

    `in_flight` is the most requests that wait for their answers at once: when so many do, the next one is late, and
    counted as such. `timeout` is the patience with one answer, in seconds.
    """

    rate: Rate
    in_flight: int
    timeout: float


@dataclass(slots=True)
class Load:
    """What became of the requests.

    `waits` counts from the moment at which a request was due, as a caller of then would have seen it; `answers` from
    when it was sent. `late` is the longest a request was sent after it was due, `held` how many waited for a free place
    in flight.
    """

    service: str
    endpoint: str
    url: str
    taken: Taken
    comparison: Comparison
    waits: Sketch = field(default_factory=Sketch)
    answers: Sketch = field(default_factory=Sketch)
    statuses: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    partial: int = 0
    held: int = 0
    late: float = 0.0
    asked_seconds: float = 0.0
    sent_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def unanswered(self) -> int:
        """The requests that got no whole answer of their own: none, or one that says that the server failed."""
        return sum(count for status, count in self.statuses.items() if not status.isdigit() or int(status) >= 500)

    def document(self) -> dict[str, Any]:
        """Give plain values; rates are in requests a second."""
        taken = self.taken
        return {
            "service": self.service,
            "endpoint": self.endpoint,
            "url": self.url,
            "recorded_versions": dict(taken.versions.most_common()),
            "first": taken.first,
            "last": taken.last,
            "requests": self.requests,
            "replayed": taken.rows,
            "not_replayed": dict(taken.left.most_common()),
            "arrays_without_all_rows": self.partial,
            "asked_rate": rate(self.requests, self.asked_seconds),
            "sent_rate": rate(self.requests, self.sent_seconds),
            "answered_rate": rate(self.requests, self.seconds),
            "late_seconds": round(self.late, 4),
            "held_back": self.held,
            "statuses": dict(self.statuses.most_common()),
            "latency_ms": self.waits.quantiles(0.5, 0.95, 0.99),
            "latency_from_sending_ms": self.answers.quantiles(0.5, 0.95, 0.99),
            **self.comparison.document(),
            "seconds": round(self.seconds, 3),
        }


def rate(count: int, seconds: float) -> float:
    """Give so many a second."""
    return round(count / seconds, 2) if seconds > 0 else 0.0


def load(service: str, url: str, folder: str | Path = ".hansang/records", **options: Unpack[Options]) -> Load:
    """Send the recorded requests of a service, by its name in the record, to a server; compare its answers.

    The rows of an array go together. Which fields of the rows the record may hold in another form is asked of the
    server's `/openapi.json`. A `url` without a path gets the endpoint's. The loop is open: a request is sent
    when it is due, whether or not earlier ones were answered. The server records what it answers as it always does,
    with the request id `replay-` and the recorded prediction id; such rows are never replayed themselves.

    Raises `UsageError` and `RecordError` before the first request.
    """
    address = Address.of(url)
    start, end = moments(options.get("since"), options.get("until"))
    with TemporaryDirectory(prefix="hansang-replay-") as place, ExitStack() as stack:
        path = options.get("rows")
        rows = None if path is None else stack.enter_context(RowsFile(path))
        connection = stack.enter_context(open_record(Path(folder), start, end, Path(place)))
        chosen = Selection(Path(folder), service, options.get("endpoint") or "", start, end)
        name = endpoint_of(connection, chosen, ())
        place_of = address.path if address.path != "/" else f"/{name}"
        some = (options.get("version"), options.get("limit"))
        rows_altered, hidden = of_openapi(asyncio.run(described(Pool(address), options)), place_of)
        accept = options.get("accept", ())
        altered = {field: how for field, how in rows_altered.items() if field not in accept}
        selection = Selection(Path(folder), service, name, start, end, *some, altered, accept)
        comparison = Comparison(options.get("tolerance", Tolerance()), hidden)
        found = Load(service, name, url, Taken(), comparison)
        driver = Driver(found, options, place_of, rows)
        asyncio.run(driver.through(Pool(address, options.get("in_flight", 256)), connection, selection))
    if not found.requests and not found.taken.left:
        raise RecordError(f"no rows of {service!r} in this time to be replayed")
    return found


async def described(pool: Pool, options: Options) -> Any:
    """Ask a server for its description; None where it gives none."""
    try:
        async with pool, asyncio.timeout(options.get("timeout", TIMEOUT)):
            answer = await pool.ask("GET", "/openapi.json", {}, b"")
    except (TimeoutError, NoAnswer):
        return None
    return read(answer) if answer.status < OK else None


class Driver:
    """Sends requests when they are due."""

    def __init__(self, found: Load, options: Options, path: str, rows: RowsFile | None) -> None:
        self.found = found
        self.rate = options.get("rate", Rate())
        self.timeout = options.get("timeout", TIMEOUT)
        self.free = asyncio.Semaphore(options.get("in_flight", 256))
        self.report = options.get("report")
        self.path = path
        self.rows = rows
        self.pairs: list[Pair] = []
        self.waits: list[float] = []
        self.answers: list[float] = []

    async def through(self, pool: Pool, connection: Any, selection: Selection) -> None:
        """Send every request and wait for every answer."""
        coming = requests(connection, selection, self.found.taken)
        loop = asyncio.get_running_loop()
        async with pool, asyncio.TaskGroup() as group:
            first: float | None = None
            start = due = 0.0
            async for request in ahead(coming):
                if first is None:
                    first, start = request.arrived, loop.time() + LEAD
                due = start + self.rate.due(self.found.requests, request.arrived - first)
                if (pause := due - loop.time()) > 0:
                    await asyncio.sleep(pause)
                self.found.held += self.free.locked()
                await self.free.acquire()
                self.found.late = max(self.found.late, loop.time() - due)
                self.found.requests += 1
                self.found.partial += request.partial
                group.create_task(self._send(pool, request, due))
            self.found.asked_seconds = due - start
            self.found.sent_seconds = loop.time() - start
        self.found.seconds = loop.time() - start
        self._flush()

    async def _send(self, pool: Pool, request: Request, due: float) -> None:
        """Send one request and keep what came back."""
        loop = asyncio.get_running_loop()
        headers = {"content-type": "application/json", "x-request-id": MARK + request.id}
        sent = loop.time()
        answer: Answer | None = None
        try:
            async with asyncio.timeout(self.timeout):
                answer = await pool.ask("POST", self.path, headers, request.body)
            status = str(answer.status)
        except TimeoutError:
            status = f"no answer within {self.timeout:g} s"
        except NoAnswer as error:
            status = str(error)
        finally:
            self.free.release()
        now = loop.time()
        self.found.statuses[status] += 1
        self.waits.append((now - due) * 1e3)
        self.answers.append((now - sent) * 1e3)
        self.pairs += compared(request, answer, status)
        if len(self.pairs) >= TOGETHER:
            self._flush()

    def _flush(self) -> None:
        """Compare what has come."""
        changed = self.found.comparison.add(self.pairs)
        if self.rows is not None:
            self.rows.write(self.pairs, changed)
        self.found.waits.add(np.array(self.waits, float))
        self.found.answers.add(np.array(self.answers, float))
        self.pairs, self.waits, self.answers = [], [], []
        if self.report is not None:
            self.report(self.found.comparison.rows, 0.0)


async def ahead(coming: Iterator[Request]) -> AsyncIterator[Request]:
    """Read requests in a thread, some at a time."""
    while some := await asyncio.to_thread(list, islice(coming, AHEAD)):
        for request in some:
            yield request


def compared(request: Request, answer: Answer | None, status: str) -> Iterator[Pair]:
    """Put what came back beside what was recorded, row by row."""
    said = list(outcomes(answer, status, len(request.pairs)))
    for pair, (value, error) in zip(request.pairs, said, strict=True):
        pair.new, pair.new_error = (None, error) if error is not None else (flat(value), None)
        yield pair


def outcomes(answer: Answer | None, status: str, rows: int) -> Iterator[tuple[Any, str | None]]:
    """Give the value or the error of every row of an answer."""
    body = read(answer)
    if answer is None or body is None:
        yield from [(None, status)] * rows
    elif answer.status < OK and rows == 1 and not isinstance(body, list):
        yield body, None
    elif isinstance(body, list) and len(body) == rows:
        for item in body:
            failed = isinstance(item, dict) and item.keys() == {"error"}
            yield (None, words(item["error"])) if failed else (item, None)
    else:
        yield from [(None, words(body) if answer.status >= OK else "the answer has other rows than the request")] * rows


def read(answer: Answer | None) -> Any:
    """Read the JSON of an answer."""
    try:
        return None if answer is None else from_json(answer.body)
    except ValueError:
        return None


def words(problem: Any) -> str:
    """Give the status and the words of a problem document."""
    if not isinstance(problem, dict):
        return "an error without words"
    return f"{problem.get('status', '')}: {problem.get('detail') or problem.get('title') or ''}".strip(": ")
