"""A versioned model as a node."""

from __future__ import annotations

import asyncio
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
from hansang.models.loaded import Loaded, attempt
from hansang.models.registry import parse
from hansang.models.runtime import Runtime, function_runtime, load_runtime
from hansang.models.signing import vouched
from hansang.models.start import start
from hansang.models.uri import resolve
from hansang.settings import Settings, load_settings
from hansang.site import Site


@dataclass(frozen=True, eq=False)
class Model(Node):
    """A versioned model, micro-batched.

    `source` is `models:/name`, which is managed: in a running server its version follows the alias `champion`. All
    others are pinned: `models:/name@alias`, `models:/name/3`, `runs:/…/path`, a local MLflow model folder, a bare file
    (`.onnx`, LightGBM `.txt`, XGBoost `.json` or `.ubj`, `.skops`; `.joblib` and `.pkl` only with `trust=True`), or a
    Python function that takes a `Batch` and returns one prediction a row.

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
    moves: int = field(default=0, init=False, repr=False)
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
        """Predict a batch through the queue of the version that answers now."""
        loaded = self.loaded
        loaded.users += 1
        try:
            return await loaded.batcher(batch)
        finally:
            loaded.users -= 1
            if loaded.ended is not None and not loaded.users:
                loaded.ended()

    def bind(self, site: Site) -> Node:
        """Give this model as it runs in a service: a managed one with room for a challenger beside it."""
        return self if site.managed is None or not self.managed else site.managed(self, site)

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

    @property
    def managed(self) -> str:
        """The name of the registered model that it follows; empty when it is pinned."""
        reference = parse(self.source) if isinstance(self.source, str) else None
        return reference.name if reference is not None and reference.managed else ""

    def load(self, settings: Settings | None = None, metrics: Metrics | None = None) -> Loaded:
        """Find, read, warm up and measure the model; does nothing when it is loaded."""
        if self._state:
            return self._state[0]
        settings = settings or load_settings(Settings)
        if callable(self.source):
            loaded = self.build(None, settings, metrics)
        elif self.managed:
            loaded = start(self.managed, settings.registry, lambda found: self.build(found, settings, metrics))
        else:
            loaded = self.build(resolve(str(self.source), registry=settings.registry), settings, metrics)
        self._state.append(loaded)
        return loaded

    def build(self, artifact: Artifact | None, settings: Settings, metrics: Metrics | None = None) -> Loaded:
        """Read a version into memory beside the one that answers, try it, and measure it; takes its time."""
        started = time.perf_counter()
        loaded = self.assemble(artifact, settings, metrics)
        try:
            attempt(loaded)
        except ModelError:
            loaded.batcher.close()
            raise
        loaded.seconds = time.perf_counter() - started
        return loaded

    def assemble(self, artifact: Artifact | None, settings: Settings, metrics: Metrics | None = None) -> Loaded:
        """Read a version into memory, if its files may be loaded; nobody has tried it yet."""
        if artifact is None:
            assert callable(self.source)  # what is not a function has files
            runtime, identity = function_runtime(self.source), described(self.source)
        else:
            said = settings.trusts(str(self.source), artifact.name, f"models:/{artifact.name}")
            trust = (
                vouched(artifact, settings.signers) or self.trust or said
            )  # a wrong signature is refused all the same
            runtime, identity = load_runtime(artifact, trust=trust, threads=self.threads), artifact.identity
        name = self.name or (artifact.name if artifact else getattr(self.source, "__name__", "function"))
        inline = runtime.native if self.inline is None else self.inline
        limits = Limits(self.max_batch, self.max_queue, self.slots, inline, self.isolate, runtime.bulk)
        return read(artifact, runtime, limits, name, identity, metrics)

    def switch(self, loaded: Loaded) -> Loaded:
        """Let another version answer from the next batch on; gives the one that did.

        Batches that are under way in that one end there. Call it on the event loop.
        """
        before, self._state[0] = self.loaded, loaded
        object.__setattr__(self, "moves", self.moves + 1)
        return before


def read(
    artifact: Artifact | None, runtime: Runtime, limits: Limits, name: str, identity: str, metrics: Metrics | None
) -> Loaded:
    """Put a queue before a runtime."""
    version = artifact.version if artifact else ""
    batcher = Batcher(
        predictor(runtime, name),
        limits,
        step=Step("model", name, version),
        bucket=bucket_of(runtime),
        observe=call_counter(metrics, name, version) if metrics else None,
        dropped=drop_counter(metrics, name, version) if metrics else None,
    )
    return Loaded(artifact, runtime, batcher, 0.0, name, version, f"{name} {version} {identity}")


def predictor(runtime: Runtime, name: str) -> Callable[[Batch], Batch]:
    """Give what the batcher calls."""

    def predict(batch: Batch) -> Batch:
        return batch.replace(runtime.predict(batch), name=name)

    return predict


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
