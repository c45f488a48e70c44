"""What the workers of one server know of each other: a note a worker, and a tap on the shoulder."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hansang.metrics import is_alive

NOTE = ".standing"
TAP = ".tap"
LONGEST = 200


class Siblings:
    """The workers that share a folder; without one, this process alone.

    Each worker writes `<pid>.standing`, which the others read when they are asked, and listens on the datagram socket
    `<pid>.tap`: nobody polls. A worker that died is left out.
    """

    def __init__(self, folder: Path | None, tapped: Callable[[str], None]) -> None:
        self.folder = folder
        self.tapped = tapped
        self._own: list[dict[str, Any]] = []
        self._ear: socket.socket | None = None

    async def __aenter__(self) -> Siblings:
        if self.folder is not None:
            ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            ear.setblocking(False)
            path = self.folder / f"{os.getpid()}{TAP}"
            try:
                path.unlink(missing_ok=True)  # of a process that died, and had this one's id
                ear.bind(str(path))
            except OSError:  # the folder's name is too long for a socket: the poll finds out what a tap would say
                ear.close()
                return self
            self._ear = ear
            asyncio.get_running_loop().add_reader(ear.fileno(), self._hear)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.folder is not None:
            for kind in (NOTE, TAP):
                with contextlib.suppress(OSError):
                    (self.folder / f"{os.getpid()}{kind}").unlink(missing_ok=True)
        if self._ear is not None:
            asyncio.get_running_loop().remove_reader(self._ear.fileno())
            self._ear.close()
            self._ear = None

    def _hear(self) -> None:
        ear = self._ear
        while ear is not None:
            try:
                word = ear.recv(LONGEST)
            except OSError:
                return
            self.tapped(word.decode(errors="replace"))

    def tap(self, word: str) -> None:
        """Say a word to every worker, this one included."""
        if self._ear is None or self.folder is None:
            self.tapped(word)
            return
        for path in self.folder.glob(f"*{TAP}"):
            with contextlib.suppress(OSError):  # one that died does not hear, one that is busy hears soon enough
                self._ear.sendto(word.encode()[:LONGEST], str(path))

    def note(self, models: list[dict[str, Any]]) -> None:
        """Write down what this worker has."""
        self._own = models
        if self.folder is None:
            return
        path = self.folder / f"{os.getpid()}{NOTE}"
        part = path.with_suffix(".part")
        with contextlib.suppress(OSError):
            part.write_text(json.dumps(models), encoding="utf-8")
            os.replace(part, path)

    def notes(self) -> list[dict[str, Any]]:
        """Give what every living worker has, this one's own from memory."""
        found: dict[int, list[dict[str, Any]]] = {}
        for path in self.folder.glob(f"*{NOTE}") if self.folder is not None else ():
            pid = int(path.stem)
            with contextlib.suppress(OSError, ValueError):
                if is_alive(pid):
                    found[pid] = json.loads(path.read_text(encoding="utf-8"))
        found[os.getpid()] = self._own
        return [{"pid": pid, "models": models} for pid, models in sorted(found.items())]
