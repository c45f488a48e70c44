"""Kill switches: what an operator has switched off at run time, for every process of a machine.

A name is off while a file of this name stands in the folder of the switches. A file needs no lock, two operators cannot
undo each other, and a restart changes nothing.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

from hansang.errors import UsageError

EVERY = 1.0
SETTLED_NS = 2_000_000_000  # a folder that changed so recently may change again without a new time stamp
LONGEST = 255

log = logging.getLogger("hansang")


class Switches:
    """The names that are off; looks at the folder at most once a second, which is one `stat` when nothing changed.

    `known` are the names that somebody here asks about. When the folder cannot be read, what was known last is valid.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self.clock = clock
        self.known: set[str] = set()
        self._off: frozenset[str] = frozenset()
        self._changed: int | None = None
        self._next = float("-inf")

    def off(self, name: str) -> bool:
        """Say whether a name is switched off."""
        now = self.clock()
        if now >= self._next:
            self._next = now + EVERY
            self._look()
        return name in self._off

    def _look(self) -> None:
        try:
            changed = os.stat(self.folder).st_mtime_ns
            if changed == self._changed:
                return
            off = frozenset(map(unquote, os.listdir(self.folder)))
        except FileNotFoundError:
            changed, off = 0, frozenset()
        except OSError as error:
            log.warning("the switches in %s cannot be read, they stay as they are: %s", self.folder, error)
            return
        self._changed = changed if time.time_ns() - changed > SETTLED_NS else None
        self._tell(off)

    def _tell(self, off: frozenset[str]) -> None:
        for name in off - self._off:
            here = "" if name in self.known else f", which is none of those here: {', '.join(self.known) or 'none'}"
            log.warning("switched off: %s%s", name, here)
        for name in self._off - off:
            log.warning("switched on: %s", name)
        self._off = off


def switch_off(folder: Path, name: str) -> bool:
    """Switch a name off; gives whether it was on. Raises `UsageError` for a name that cannot be one of a file."""
    file = place(folder, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.touch(exist_ok=False)
    except FileExistsError:
        if folder.is_dir():
            return False
        raise UsageError(f"{folder} is not a folder; say where the switches are with --dir") from None
    except OSError as error:
        raise UsageError(f"{name!r} cannot be switched off: {error}") from error
    return True


def switch_on(folder: Path, name: str) -> bool:
    """Switch a name on again; gives whether it was off."""
    try:
        place(folder, name).unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UsageError(f"{name!r} cannot be switched on: {error}") from error
    return True


def switched_off(folder: Path) -> dict[str, datetime]:
    """Give the names that are off, and since when."""
    found: dict[str, datetime] = {}
    try:
        for file in sorted(folder.iterdir()) if folder.exists() else ():
            with suppress(FileNotFoundError):  # switched on meanwhile
                found[unquote(file.name)] = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    except OSError as error:
        raise UsageError(f"the switches cannot be read: {error}") from error
    return found


def place(folder: Path, name: str) -> Path:
    """Give the file of a name."""
    file = quote(name, safe=" ")
    file = f"%2E{file[1:]}" if file.startswith(".") else file
    if not name or len(file) > LONGEST:
        raise UsageError(f"{name!r} is no name of a switch; give the name of a fallback")
    return folder / file
