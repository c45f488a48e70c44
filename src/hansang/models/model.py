"""A versioned model as a node."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from hansang.batch import Batch
from hansang.call import Step
from hansang.errors import ModelError
from hansang.fingerprint import described
from hansang.graph import Node
from hansang.metrics import SIZES, Metrics
from hansang.models.artifact import Artifact
from hansang.models.batcher import CALLER_LEFT, DEADLINE, OVERLOADED, Batcher, Limits
from hansang.models.registry import parse
from hansang.models.runtime import Runtime, function_runtime, load_runtime
from hansang.models.uri import resolve
from hansang.settings import Settings, load_settings

log = logging.getLogger("hansang")

WARM_UP_SIZES = (1, 1, 8, 1, 32, 8)
WARM_UP_SECONDS = 0.3


@dataclass(slots=True, eq=False)
class Loaded:
    """A model in memory: where it came from, what runs it, what feeds it, and what tells it from any other."""

    artifact: Artifact | None
    runtime: Runtime
    batcher: Batcher
    seconds: float
    name: str
    version: str
    fingerprint: str


@dataclass(frozen=True, eq=False)
class Model(Node):
    """A versioned model, micro-batched.

    `source` is `models:/name@alias`, `models:/name/3`, `models:/name` (its champion), `runs:/…/path`, a local MLflow
    model folder, a bare file (`.onnx`, LightGBM `.txt`, XGBoost `.json` or `.ubj`, `.skops`; `.joblib` and `.pkl`
    only with `trust=True`), or a Python function that takes a `Batch` and returns one prediction a row.

    `max_batch` is the most rows of one call, `max_queue` the most rows that wait; `slots` how many calls run at once;
    `threads` how many threads a native runtime may use in a call; `inline` lets cheap calls run on the event loop
    (default: only compiled runtimes do); `isolate=False` spares a costly model the search for a bad row.

    Raises `ModelError` when it is loaded: at start, never at the first request.
    """

    source: str | PathLike[str] | Callable[[Batch], Any]
    name: str = ""
    trust: bool = False
    max_batch: int | None = None
    max_queue: int = 4096
    slots: int = 1
    threads: int = 1
    inline: bool | None = None
    isolate: bool = True
    _state: list[Loaded] = field(default_factory=list, init=False, repr=False)
    changing: ClassVar[bool] = True

    @property
    def label(self) -> str:
        """Its name: the given one, the registered model's, the file's or the function's."""
        if self.name or self._state:
            return self.name or self._state[0].name
        if callable(self.source):
            return str(getattr(self.source, "__name__", "function"))
        reference = parse(str(self.source))
        return reference.name if reference is not None else Path(self.source).stem

    async def __call__(self, batch: Batch) -> Batch:
        """Predict a batch through the model's queue."""
        return await self.loaded.batcher(batch)

    def prompt(self, batch: Batch) -> bool:
        """Say whether the model would run on the event loop, at once."""
        return self.loaded.batcher.prompt(batch)

    def fingerprint(self) -> str:
        """Say what is in memory now: name, version and the files' identity; of a function its code."""
        return self.loaded.fingerprint

    @property
    def loaded(self) -> Loaded:
        """What is in memory; a `ModelError` before `load`."""
        if not self._state:
            raise ModelError(f"{self!r} is not loaded; serve it, or enter it with `async with`")
        return self._state[0]

    async def __aenter__(self) -> Model:
        await asyncio.to_thread(self.load)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.unload()

    def unload(self) -> None:
        """Let go of the model's memory and threads."""
        while self._state:
            self._state.pop().batcher.close()

    def load(self, settings: Settings | None = None, metrics: Metrics | None = None) -> Loaded:
        """Find, read, warm up and measure the model; does nothing when it is loaded."""
        if self._state:
            return self._state[0]
        started = time.perf_counter()
        artifact, runtime = self._open(settings or load_settings(Settings))
        name = self.name or (artifact.name if artifact else getattr(self.source, "__name__", "function"))
        version = artifact.version if artifact else ""
        inline = runtime.native if self.inline is None else self.inline
        limits = Limits(self.max_batch, self.max_queue, self.slots, inline, self.isolate, runtime.bulk)
        batcher = Batcher(
            self._predict(runtime, name),
            limits,
            step=Step("model", name, version),
            bucket=bucket_of(runtime),
            observe=call_counter(metrics, name, version) if metrics else None,
            dropped=drop_counter(metrics, name, version) if metrics else None,
        )
        fingerprint = f"{name} {version} {artifact.identity if artifact else described(self.source)}"
        loaded = Loaded(artifact, runtime, batcher, 0.0, name, version, fingerprint)
        try:
            self._warm_up(loaded)
        except ModelError:
            batcher.close()
            raise
        loaded.seconds = time.perf_counter() - started
        self._state.append(loaded)
        return loaded

    def _open(self, settings: Settings) -> tuple[Artifact | None, Runtime]:
        if callable(self.source):
            return None, function_runtime(self.source)
        artifact = resolve(str(self.source), registry=settings.registry)
        trust = self.trust or settings.trusts(str(self.source), artifact.name, f"models:/{artifact.name}")
        return artifact, load_runtime(artifact, trust=trust, threads=self.threads)

    def _predict(self, runtime: Runtime, name: str) -> Callable[[Batch], Batch]:
        def predict(batch: Batch) -> Batch:
            return batch.replace(runtime.predict(batch), name=name)

        return predict

    def _warm_up(self, loaded: Loaded) -> None:
        """Call the model on its input example: the first request is not slow, and the batcher knows the cost."""
        example = loaded.artifact.example if loaded.artifact else None
        if not example:
            return
        until = time.perf_counter() + WARM_UP_SECONDS
        for number, size in enumerate(WARM_UP_SIZES):
            rows = [example[n % len(example)] for n in range(size)]
            started = time.perf_counter()
            try:
                loaded.batcher.predict(Batch(rows))
            except Exception as error:
                raise ModelError(
                    f"{loaded.name}: the model does not answer its own input example: {type(error).__name__}: {error}"
                ) from error
            now = time.perf_counter()
            if number:  # the first call is not like the others
                loaded.batcher.cost.observe(size, now - started)
            if now > until:
                return


def bucket_of(runtime: Runtime) -> Callable[[Any], Hashable] | None:
    """Give what tells rows apart that must not share a call; None where all rows are of one shape."""
    return getattr(runtime, "bucket", None)


def call_counter(metrics: Metrics, name: str, version: str) -> Callable[[int, float, float], None]:
    """Give a function that counts a model's calls."""
    labels = {"model": name, "version": version}
    sizes = metrics.histogram("hansang_model_batch_rows", "Rows of a model call.", SIZES, **labels)
    seconds = metrics.histogram("hansang_model_seconds", "Time of a model call.", **labels)
    queue = metrics.histogram("hansang_model_queue_seconds", "Longest wait of a row before a model call.", **labels)

    def observe(rows: int, duration: float, waited: float) -> None:
        sizes.observe(rows)
        seconds.observe(duration)
        queue.observe(waited)

    return observe


def drop_counter(metrics: Metrics, name: str, version: str) -> Callable[[str, int], None]:
    """Give a function that counts the rows that a model never saw."""
    labels = {"model": name, "version": version}
    text = "Rows dropped before the model."
    counters = {
        why: metrics.counter("hansang_model_dropped_rows_total", text, reason=why, **labels)
        for why in (OVERLOADED, DEADLINE, CALLER_LEFT)
    }
    return lambda why, rows: counters[why].add(rows)
