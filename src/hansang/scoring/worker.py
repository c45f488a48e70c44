"""Other processes that score: each loads the service itself, takes chunks over a pipe and writes its parts."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa

from hansang.errors import HansangError
from hansang.scoring.chunk import Chunk
from hansang.scoring.parts import Parts
from hansang.scoring.scorer import Layout, Scorer
from hansang.service import Service
from hansang.settings import Settings
from hansang.target import load_target

LAST_WORDS = 5.0  # seconds that a process has to leave its resources
PROGRAM = "from hansang.scoring.worker import main; main()"


@dataclass(frozen=True, slots=True)
class Job:
    """What a process has to know to score chunks."""

    target: str
    endpoint: str
    out: Path
    layout: Layout
    settings: dict[str, Any]
    instead: str = ""


class Worker:
    """A process of its own that scores chunks; it ends when this end of its pipe is closed, or this process is."""

    def __init__(self, job: Job) -> None:
        self.pipe, other = Pipe()
        with other:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(other.fileno())],
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what the service prints must not stand between our own lines
                process_group=0,  # an interrupt is for the first process, which then ends this one
            )
        self.idle = False
        self.pipe.send(job)

    async def start(self) -> Mapping[str, Any]:
        """Wait until the service is loaded; gives the models that it loaded."""
        models: Mapping[str, Any] = await self._receive()
        return models

    async def score(self, chunk: Chunk) -> None:
        """Have a chunk scored and its part written."""
        self.idle = False
        await asyncio.to_thread(self.pipe.send, chunk)
        await self._receive()

    async def _receive(self) -> Any:
        try:
            answer = await asyncio.to_thread(self.pipe.recv)
        except (EOFError, OSError) as error:
            status = await asyncio.to_thread(self.process.wait)
            raise HansangError(f"a scoring process ended with status {status}; its last words are above") from error
        if isinstance(answer, str):
            raise HansangError(f"a scoring process failed: {answer}")
        self.idle = True
        return answer

    def close(self) -> None:
        """End the process: at once when it is in the middle of something, for parts are written whole or not at all."""
        try:
            if self.idle:
                self.pipe.send(None)
            else:
                self.process.kill()
            self.process.wait(LAST_WORDS)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.pipe.close()


def models_of(service: Service) -> dict[str, str]:
    """Name the models in memory with their versions and the places they came from."""
    return {
        f"{number} {model.loaded.name}": f"{model.loaded.version} {getattr(model.loaded.artifact, 'uri', '')}".strip()
        for number, model in enumerate(service.models)
    }


def steady_memory() -> None:
    """Take Arrow's memory from jemalloc where it is there: it gives back what the default pool keeps."""
    if "jemalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())


async def serve(pipe: Connection) -> None:
    """Score the chunks that come over a pipe until None comes."""
    job: Job = pipe.recv()
    chunks: asyncio.Queue[Chunk | None] = asyncio.Queue()
    threading.Thread(target=listen, args=(pipe, chunks, asyncio.get_running_loop()), daemon=True).start()
    try:
        service = load_target(job.target, job.instead)
        service.load(Settings(**job.settings))
        async with service.running():
            endpoint = next(endpoint for endpoint in service.endpoints if endpoint.path == job.endpoint)
            scorer, parts = Scorer(endpoint, job.layout), Parts(job.out)
            pipe.send(models_of(service))
            while (chunk := await chunks.get()) is not None:
                table, errors = await scorer.score(chunk)
                await asyncio.to_thread(parts.write, chunk.index, table, errors)
                pipe.send(chunk.index)
    except HansangError as error:
        pipe.send(str(error))


def listen(pipe: Connection, chunks: asyncio.Queue[Chunk | None], loop: asyncio.AbstractEventLoop) -> None:
    """Hand on what comes over the pipe; when the other end is gone, nobody may go on writing parts."""
    try:
        while True:
            chunk = pipe.recv()
            loop.call_soon_threadsafe(chunks.put_nowait, chunk)
            if chunk is None:
                return
    except (EOFError, OSError):
        os._exit(1)


def main() -> None:
    """Run the process whose end of the pipe is the descriptor in the first argument."""
    steady_memory()
    asyncio.run(serve(Connection(int(sys.argv[1]))))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a model's own threads may not want to end
