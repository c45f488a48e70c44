"""The run: chunks go to this process and to others, parts come back in any order, the output grows in the input's."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict, Unpack

from hansang.errors import HansangError, UsageError
from hansang.scoring.chunk import Chunk
from hansang.scoring.out import Output
from hansang.scoring.parts import Parts
from hansang.scoring.plan import Plan, choose_endpoint, make_plan
from hansang.scoring.read import Reading, read_chunks
from hansang.scoring.scorer import Scorer
from hansang.scoring.summary import Summary
from hansang.scoring.worker import Job, Worker
from hansang.service import Service
from hansang.settings import Settings, load_settings

Report = Callable[[int, float], None]

LANES = 2  # chunks in this process at once: one is read, checked or written while the model has the other
WORTH = 2.0  # other processes must have at least so many times their start-up to work
LOOK = 0.5  # seconds between looks at whether they are worth it


class Options(TypedDict, total=False):
    """The options of `score`.

    `endpoint` is a path, where the service has several. `keep` are the input columns beside the predictions: "all",
    "none", or names. `chunk` is the rows read at once. `processes` is how many processes score; more than one need the
    `target` of the command line, from which each loads the service itself; with a target the default is one a core, as
    soon as they are worth their start-up. `restart` throws away what a run on other inputs or models has left.
    `report` is told the rows and the share of the input that are done. `instead` is the model that those processes put
    in the place of one of the service's own, as was done with `service`. `after` is awaited with the scorer when all
    rows have been scored and the service still runs.
    """

    endpoint: str | None
    keep: str | Sequence[str]
    chunk: int | None
    processes: int | None
    target: str | None
    restart: bool
    settings: Settings | None
    report: Report | None
    instead: str
    after: Callable[[Scorer], Awaitable[None]] | None


def score(
    service: Service,
    inputs: Iterable[str | PathLike[str]],
    out: str | PathLike[str],
    **options: Unpack[Options],
) -> Summary:
    """Score files with a service, offline: the graph and the validation of its endpoint, without the server.

    `inputs` are Parquet, CSV and JSON Lines files, globs, and folders of Parquet files; pictures and the like for an
    endpoint that takes one upload. `out` is written as its suffix says and appears when it is whole. A row that is not
    valid, or that the model fails on, has an `error` and does not stop the run. A run that was killed goes on where
    it was when it is started again.

    Raises `UsageError` for what is wrong before the run.
    """
    return asyncio.run(_score(service, inputs, Path(out), options))


async def _score(service: Service, inputs: Iterable[str | PathLike[str]], out: Path, options: Options) -> Summary:
    started = time.perf_counter()
    settings = options.get("settings") or load_settings(Settings)
    processes, target = options.get("processes"), options.get("target")
    if processes is not None and processes < 1:
        raise UsageError(f"{processes} processes cannot score; give at least 1")
    if processes not in (None, 1) and target is None:
        raise UsageError("several processes need target=, from which each of them loads the service")
    service.load(settings)
    endpoint = choose_endpoint(service, options.get("endpoint"))
    keep, chunk = options.get("keep", "all"), options.get("chunk")
    plan = make_plan(service, endpoint, inputs, out, keep=keep, chunk=chunk, target=target)
    loading = time.perf_counter() - started
    parts = Parts(out)
    with parts.opened(plan.identity, options.get("restart", False)) as finished, closing(Output(parts)) as output:
        async with service.running():
            run = Run(plan, parts, finished, output, options.get("report"))
            if target is not None:
                values = settings.model_dump(exclude_unset=True)
                run.job = Job(target, endpoint.path, out, plan.layout, values, options.get("instead", ""))
            await run.through(processes, loading)
            if (after := options.get("after")) is not None:
                await after(plan.scorer)
        await asyncio.to_thread(output.place)
    errors = output.errors
    return Summary(
        out,
        output.rows,
        sum(errors.values()),
        dict(errors.most_common()),
        output.rows - run.scored,
        time.perf_counter() - started,
        run.processes,
        plan.identity["models"],
    )


class Run:
    """Scores what is left of a plan."""

    def __init__(self, plan: Plan, parts: Parts, finished: set[int], output: Output, report: Report | None) -> None:
        self.plan = plan
        self.parts = parts
        self.finished = set(finished)
        self.report = report
        self.output = output
        self.job: Job | None = None
        self.scored = 0
        self.processes = 1
        self.total = sum(max(source.size, 1) for source in plan.sources)
        self.passed = 0.0
        self.weight = 0.0
        self.chunks: asyncio.Queue[Chunk | None] = asyncio.Queue(1)
        self.ended = asyncio.Event()  # nothing is left to be taken
        self.news = asyncio.Event()  # a part is finished
        self.complete = False  # all parts are
        self.started = time.perf_counter()

    async def through(self, processes: int | None, loading: float) -> None:
        """Score every chunk and append every part to the output; `loading` is what another process takes to start."""
        already = frozenset(self.finished)
        reading = Reading(self.plan.chunk, self.plan.columns, already.__contains__, self._pass)
        try:
            async with asyncio.TaskGroup() as whole:
                whole.create_task(self._merge())
                async with asyncio.TaskGroup() as work:
                    work.create_task(self._read(read_chunks(self.plan.sources, reading)))
                    work.create_task(self._help(processes, loading))
                    for _ in range(LANES):
                        work.create_task(self._work(self._here))
                self.complete = True
                self.news.set()
        except ExceptionGroup as group:
            raise first_of(group) from None  # one error is enough, and it has its own traceback

    def _pass(self, weight: float) -> None:
        self.passed += weight

    async def _read(self, chunks: Iterator[Chunk]) -> None:
        """Read ahead by one chunk."""
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            await self.chunks.put(chunk)
        await self.chunks.put(None)

    async def _work(self, score: Callable[[Chunk], Awaitable[None]]) -> None:
        """Score chunks until there are no more."""
        while (chunk := await self.chunks.get()) is not None:
            await score(chunk)
            self.finished.add(chunk.index)
            self.scored += chunk.rows
            self.weight += chunk.weight
            self.news.set()
            if self.report is not None:
                self.report(self.scored, min((self.passed + self.weight) / self.total, 1.0))
        self.ended.set()
        await self.chunks.put(None)  # for the next who asks

    async def _here(self, chunk: Chunk) -> None:
        """Score a chunk in this process."""
        table, errors = await self.plan.scorer.score(chunk)
        await asyncio.to_thread(self.parts.write, chunk.index, table, errors)

    async def _merge(self) -> None:
        """Append the parts in order, as soon as those before them are there."""
        index = 0
        while True:
            while index in self.finished:
                await asyncio.to_thread(self.output.append, index)
                index += 1
            if self.complete:
                return
            await self.news.wait()
            self.news.clear()

    # --- other processes ---

    async def _help(self, processes: int | None, loading: float) -> None:
        """Start other processes: those that were asked for, or one a core as soon as they are worth their start-up."""
        if self.job is None or processes == 1:
            return
        if processes is None:
            processes = len(os.sched_getaffinity(0))
            while self._left() < WORTH * loading:
                if await self._unless_ended(asyncio.sleep(LOOK, True)) is None:
                    return
        async with asyncio.TaskGroup() as group:
            for _ in range(processes - 1):
                group.create_task(self._elsewhere(self.job))

    def _left(self) -> float:
        """Forecast the seconds that are left in this process alone."""
        spent = time.perf_counter() - self.started
        if spent < LOOK:
            return 0.0
        return spent * (self.total - self.passed - self.weight) / self.weight if self.weight else math.inf

    async def _elsewhere(self, job: Job) -> None:
        """Score chunks in another process."""
        worker = await asyncio.to_thread(Worker, job)
        try:
            models = await self._unless_ended(worker.start())
            if models is None:
                return
            if models != self.plan.identity["models"]:
                raise HansangError(f"a scoring process loaded other models: {models}; start the run again")
            self.processes += 1
            await self._work(worker.score)
        finally:
            worker.close()

    async def _unless_ended(self, waiting: Coroutine[Any, Any, Any]) -> Any:
        """Wait for something, but not when there is no work left; None then."""
        ended = asyncio.create_task(self.ended.wait())
        task = asyncio.create_task(waiting)
        try:
            await asyncio.wait([ended, task], return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            ended.cancel()
            task.cancel()


def first_of(group: ExceptionGroup) -> Exception:
    """Give the first error of a group."""
    error = group.exceptions[0]
    return first_of(error) if isinstance(error, ExceptionGroup) else error
