"""Connections that ask a service of `tests.models.steps` all the time; every answer is held against its version."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from types import TracebackType
from typing import Self

from tests.models.steps import STEP

HEAD = "POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"


class Load:
    """Asks on many connections, from a thread of its own, while it is entered."""

    def __init__(self, port: int, connections: int = 16) -> None:
        self.port = port
        self.connections = connections
        self.answers: Counter[str] = Counter()
        self.faults: list[str] = []
        self.times: list[float] = []
        self._stop = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop = True
        self._thread.join(30)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        await asyncio.gather(*(self._ask(number) for number in range(self.connections)))

    async def _ask(self, number: int) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            while not self._stop:
                number = (number + 97) % 1009
                body = json.dumps({"x": number})
                started = asyncio.get_running_loop().time()
                writer.write((HEAD.format(len(body)) + body).encode())
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                fields = dict(line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
                answer = await reader.readexactly(int(fields["content-length"]))
                self.times.append(asyncio.get_running_loop().time() - started)
                self._check(number, head, fields.get("x-model-version", ""), answer)
            writer.close()
        except (OSError, ValueError, KeyError, asyncio.IncompleteReadError) as error:
            self.faults.append(f"{type(error).__name__}: {error}")

    def _check(self, x: int, head: str, version: str, answer: bytes) -> None:
        if " 200 " not in head.partition("\r\n")[0]:
            self.faults.append(f"{head} {answer!r}")
        elif json.loads(answer) != {"y": x + STEP * int(version)}:
            self.faults.append(f"{x} by version {version}: {answer!r}")
        else:
            self.answers[version] += 1
