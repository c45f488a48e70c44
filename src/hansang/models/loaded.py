"""A version of a model in memory: read, measured, tried, and let go of."""

from __future__ import annotations

import ctypes
import gc
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hansang.batch import Batch
from hansang.errors import ModelError
from hansang.models.artifact import Artifact
from hansang.models.batcher import Batcher
from hansang.models.golden import check_golden
from hansang.models.runtime import Runtime

WARM_UP_SIZES = (1, 1, 8, 1, 32, 8)
WARM_UP_SECONDS = 0.3


@dataclass(slots=True, eq=False)
class Loaded:
    """A model in memory: where it came from, what runs it, what feeds it, and what tells it from any other.

    `users` counts the batches that are under way in it; `ended` is called when it is set and the last of them is done.
    """

    artifact: Artifact | None
    runtime: Runtime
    batcher: Batcher
    seconds: float
    name: str
    version: str
    fingerprint: str
    users: int = 0
    ended: Callable[[], None] | None = None


def attempt(loaded: Loaded) -> None:
    """Call a model on its input example and on its golden requests; a `ModelError` says what it does not answer.

    The first request is not slow after that, and the batcher knows the cost.
    """
    example = loaded.artifact.example if loaded.artifact else None
    if example:
        warm_up(loaded, example)
    if loaded.artifact is not None:
        check_golden(loaded.artifact, loaded.runtime.signature, loaded.batcher.predict)


def warm_up(loaded: Loaded, example: Sequence[Any]) -> None:
    """Call a model on rows in batches of some sizes, and learn what the calls cost."""
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


def free(box: list[Loaded]) -> None:
    """Let go of the memory of models that nobody else holds; `box` holds the only references and is emptied.

    The runtimes are dropped on this thread, since a large model takes its time; what the C library keeps back of it is
    given to the system, where that is glibc.
    """
    runtimes = [weakref.ref(loaded.runtime) for loaded in box]
    for place in range(len(box)):  # a name for each would hold the last one
        box[place].batcher.close()
    box.clear()
    if any(runtime() is not None for runtime in runtimes):
        gc.collect()  # a cycle in a library's own objects
    trim()


def trim() -> None:
    """Give free memory back to the system."""
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)
