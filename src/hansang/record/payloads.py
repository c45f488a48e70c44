"""Payloads: what is too large for a row, or no JSON at all, under the hash of its content; the row refers to it.

    payloads/<first two digits>/<sha256>

It is the store itself, or, where the payloads go to an object store, the place where they wait for the process that
moves them. A name that is there has its whole content, whoever is killed when.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from hansang.errors import RecordError
from hansang.extras import require
from hansang.record.files import replace_text, size_of
from hansang.record.frame import omitted
from hansang.record.segment import sync_folder

FOLDER, CONFIG = "payloads", "payloads.json"
NAME = re.compile(r"[0-9a-f]{64}")
LOOK = 1.0  # seconds between two looks at what waits
YOUNG = 3600.0  # seconds in which no limit of bytes deletes a payload: its row may just be on its way
SMALLEST = 256  # bytes of a value that is worth a payload of its own
DAY = 86400.0
JSON, TEXT = "application/json", "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the payloads of a record are in the end, and how long; an empty `url` is the record's own folder.

    `days` count from the last row that referred to a payload.
    """

    url: str = ""
    days: float | None = None
    bytes: int | None = None


def set_place(folder: Path, place: Place | None) -> None:
    """Say where payloads go from now on; None leaves them where they are."""
    if place is not None and read_place(folder) != place:
        replace_text(folder / CONFIG, json.dumps(asdict(place)))


def read_place(folder: Path) -> Place:
    """Read where the payloads of a record are."""
    with suppress(FileNotFoundError):
        return Place(**json.loads((folder / CONFIG).read_text("utf-8")))
    return Place()


def payload_path(folder: Path, name: str) -> Path:
    """Give the place of a payload beside its record."""
    return folder / FOLDER / name[:2] / name


def payload_files(folder: Path) -> list[Path]:
    """List the payloads beside a record, the oldest first."""
    found = [path for path in (folder / FOLDER).glob("*/*") if NAME.fullmatch(path.name)]
    return sorted(found, key=modified)


def modified(path: Path) -> float:
    """Give when a file was last written or asked for; now when it is gone."""
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return time.time()


@dataclass(slots=True)
class Payloads:
    """Writes payloads beside a record; used from threads.

    What `put` has written survives the death of the process, with `sync` also a power loss. Above `limit` bytes that
    wait it raises `OSError`.
    """

    folder: Path
    sync: bool = False
    limit: int | None = None
    clock: Callable[[], float] = time.monotonic
    _waiting: int = field(default=0, init=False)
    _looked: float = field(default=float("-inf"), init=False)

    def put(self, name: str, data: bytes) -> bool:
        """Write a payload; False when it was there already: then it counts as new."""
        path = payload_path(self.folder, name)
        try:
            if path.stat().st_size == len(data):
                os.utime(path)
                return False
        except FileNotFoundError:
            pass  # nobody has it, or it was moved away just now
        self._room(len(data))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
        try:
            with temporary.open("xb") as file:
                file.write(data)
                if self.sync:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        if self.sync:
            for place in (path.parent, path.parent.parent, self.folder):
                sync_folder(place)
        return True

    def _room(self, size: int) -> None:
        if self.limit is None:
            return
        now = self.clock()
        if now - self._looked >= LOOK:
            self._looked = now
            self._waiting = sum(map(size_of, payload_files(self.folder)))
        self._waiting += size
        if self._waiting > self.limit:
            self._waiting -= size
            raise OSError(f"more than {self.limit} bytes of payloads wait")


# --- what becomes a payload ---

Found = dict[str, bytes]  # contents by their hash


def shrunk(body: bytes, limit: int, found: Found) -> bytes:
    """Make a JSON body fit into a row: its largest values become payloads, or all of it does."""
    if len(body) <= limit:
        return body
    try:
        value = from_json(body)
    except ValueError:
        value = None
    if isinstance(value, dict):
        left = len(body)
        sizes = {name: len(to_json(item, inf_nan_mode="constants")) for name, item in value.items()}
        for name, size in sorted(sizes.items(), key=lambda pair: -pair[1]):
            if left <= limit or size <= SMALLEST:
                break
            value[name] = reference_to(value[name], found)
            left -= size - SMALLEST // 2
        smaller = to_json(value, inf_nan_mode="constants")
        if len(smaller) <= limit:
            return smaller
    found[sha256(body).hexdigest()] = body
    return omitted([body], limit)[0]


def reference_to(value: Any, found: Found) -> dict[str, Any]:
    """Make a payload of a value; gives what stands in its place."""
    text = isinstance(value, str)
    data = value.encode("utf-8", "surrogatepass") if text else to_json(value, inf_nan_mode="constants")
    name = sha256(data).hexdigest()
    found[name] = data
    return {"sha256": name, "bytes": len(data), "media_type": TEXT if text else JSON}


@dataclass(frozen=True, slots=True)
class Reference:
    """A payload that a row refers to; `at` is the path of the field, as `input.image`."""

    sha256: str
    bytes: int
    media_type: str
    at: str


def references(value: Any, at: str) -> Iterator[Reference]:
    """Give the payloads that a body refers to."""
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from references(item, f"{at}.{place}")
    elif isinstance(value, dict):
        name, size = value.get("sha256", value.get("omitted")), value.get("bytes")
        if isinstance(name, str) and isinstance(size, int) and NAME.fullmatch(name):
            media = value.get("media_type") or (JSON if "omitted" in value else "application/octet-stream")
            yield Reference(name, size, str(media), at)
        else:
            for key, item in value.items():
                yield from references(item, f"{at}.{key}")


def references_of(row: dict[str, Any]) -> list[Reference]:
    """Give the payloads that a row of the record refers to."""
    found: list[Reference] = []
    for side in ("input", "output"):
        body = row.get(side)
        if isinstance(body, str) and ('"sha256"' in body or '"omitted"' in body):
            with suppress(ValueError):
                found += references(json.loads(body), side)
    return found


# --- reading and keeping ---


def fetch(folder: Path, name: str) -> bytes | None:
    """Read a payload, beside the record or from where it was moved to; None when it is not kept.

    Raises `RecordError` when it is not what it was, or when the store cannot be asked.
    """
    if not NAME.fullmatch(name):
        return None
    data: bytes | None = None
    try:
        data = payload_path(folder, name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        pass  # it was moved, or is not kept
    except OSError as error:
        raise RecordError(f"the payload {name} cannot be read: {error.strerror}") from error
    place = read_place(folder)
    if data is None and place.url:
        try:
            data = require("hansang.record.sinks.objects", "").get(place.url, f"{name[:2]}/{name}")
        except Exception as error:  # each client has errors of its own
            raise RecordError(f"the payload store cannot be read: {type(error).__name__}: {error}") from error
    if data is not None and sha256(data).hexdigest() != name:
        raise RecordError(f"the payload {name} is damaged: its content has another hash")
    return data


def too_old(files: list[tuple[float, int]], place: Place, now: float) -> int:
    """Say how many of these files, the oldest first, are to be deleted; they are given by time and size."""
    total = sum(size for _, size in files)
    gone = 0
    for moment, size in files:
        aged = place.days is not None and now >= moment + place.days * DAY
        large = place.bytes is not None and total > place.bytes and now - moment > YOUNG
        if not (aged or large):
            break
        gone += 1
        total -= size
    return gone


def sweep(folder: Path, now: float) -> float:
    """Delete the payloads beside a record that are not kept any longer, and what a process that was killed has left.

    Gives when there may be something to do again.
    """
    place = read_place(folder)
    for leftover in (folder / FOLDER).glob("*/.*.tmp"):
        if now - modified(leftover) > YOUNG:
            leftover.unlink(missing_ok=True)
    if place.url or (place.days is None and place.bytes is None):
        return math.inf
    files = payload_files(folder)
    for path in files[: too_old([(modified(path), size_of(path)) for path in files], place, now)]:
        path.unlink(missing_ok=True)
    return now + YOUNG
