"""The spool's format: one checksummed frame a turn, columnar inside, so that reading needs no Python per row.

    frame    sync (8) | length (4) | crc32 of the payload (4) | payload
    payload  rows (4) | rows before this frame (4) | groups (4) | group ...
    group    header | shared | ids | latencies | input sizes | output sizes | inputs | outputs | sparse columns
    sparse   numbers (4 a row) | statuses (4 a row) | for each text column: bytes (4) | sizes (4 a row) | text

Everything is little endian. `sync` is drawn anew for every segment, so that no request body can hold a frame that a
reader would believe in when it looks for the next one after a fault. A text of size -1 is absent.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from struct import Struct
from struct import error as StructError

from pydantic_core import to_json

from hansang.errors import RecordError
from hansang.record.rows import Rows, Shared

FRAME = Struct("<8sII")
PAYLOAD = Struct("<III")
GROUP = Struct("<IHHIIIdd")
SIZE = Struct("<I")
ID_SIZE = 36

NUMBERS, STATUSES, REQUEST_IDS, KEYS, ERRORS, TAGS = 1, 2, 4, 8, 16, 32
TEXTS = (REQUEST_IDS, KEYS, ERRORS, TAGS)


@lru_cache(256)
def fixed(rows: int) -> Struct:
    """Give the layout of the columns that every group has: latencies, input sizes, output sizes."""
    return Struct(f"<{rows}d{2 * rows}I")


@lru_cache(256)
def integers(rows: int) -> Struct:
    """Give the layout of a column of whole numbers."""
    return Struct(f"<{rows}i")


@lru_cache(1024)
def shared_bytes(shared: Shared) -> bytes:
    """Encode what a group shares as a JSON array, in the order of its fields."""
    fields = (getattr(shared, name) for name in Shared.__slots__)
    return to_json([value if isinstance(value, bool) else clean(value) for value in fields])


def clean(text: str) -> str:
    """Replace lone surrogates, which have no UTF-8; what a client sent must never keep a row out of the record."""
    return text.encode("utf-8", "replace").decode()


def omitted(bodies: Sequence[bytes], limit: int) -> list[bytes]:
    """Put the hash and the size in the place of every body above the limit."""
    return [
        body
        if len(body) <= limit
        else b'{"omitted": "%s", "bytes": %d}' % (sha256(body).hexdigest().encode(), len(body))
        for body in bodies
    ]


def text_column(texts: Sequence[str | None], rows: int) -> list[bytes]:
    """Encode a sparse column of texts."""
    encoded = [None if text is None else text.encode("utf-8", "replace") for text in texts]
    blob = b"".join([text for text in encoded if text is not None])
    sizes = integers(rows).pack(*[-1 if text is None else len(text) for text in encoded])
    return [SIZE.pack(len(blob)), sizes, blob]


def sparse_columns(group: Rows, rows: int) -> tuple[int, list[bytes]]:
    """Encode the columns that a group has beyond those of every group; give their flags with them."""
    flags = 0
    parts: list[bytes] = []
    if group.numbers is not None:
        flags = NUMBERS
        parts.append(integers(rows).pack(*group.numbers))
    if group.statuses is not None:
        flags |= STATUSES
        parts.append(integers(rows).pack(*group.statuses))
    if group.request_ids is not None:
        flags |= REQUEST_IDS
        parts += text_column(group.request_ids, rows)
    if group.keys is not None:
        flags |= KEYS
        parts += text_column(group.keys, rows)
    if group.errors is not None:
        flags |= ERRORS
        parts += text_column(group.errors, rows)
    if group.tags is not None:
        flags |= TAGS
        parts += text_column([None if tags is None else tags_text(tags) for tags in group.tags], rows)
    return flags, parts


def tags_text(tags: dict[str, object]) -> str:
    """Write tags as JSON; a value that has no JSON is kept as its text."""
    return to_json(tags, serialize_unknown=True, inf_nan_mode="null").decode()


def encode_group(group: Rows, limit: int) -> list[bytes]:
    """Encode a group as parts to be joined."""
    ids = "".join(group.ids).encode()
    rows = len(group.ids)
    if len(ids) != rows * ID_SIZE:
        raise RecordError(f"an id of the record is {ID_SIZE} ASCII characters; got {group.ids!r}")
    inputs, outputs = group.inputs, group.outputs
    if not rows == len(inputs) == len(outputs) == len(group.latencies):
        raise RecordError(
            f"got {rows} ids, {len(inputs)} inputs, {len(outputs)} outputs and {len(group.latencies)} latencies; "
            "give one of each per row"
        )
    input_sizes, output_sizes = list(map(len, inputs)), list(map(len, outputs))
    if max(input_sizes) > limit:
        inputs = omitted(inputs, limit)
        input_sizes = list(map(len, inputs))
    if max(output_sizes) > limit:
        outputs = omitted(outputs, limit)
        output_sizes = list(map(len, outputs))
    columns = fixed(rows).pack(*group.latencies, *input_sizes, *output_sizes)
    flags, sparse = sparse_columns(group, rows)
    shared = shared_bytes(group.shared)
    head = GROUP.pack(
        rows, flags, len(shared), group.batch_rows, sum(input_sizes), sum(output_sizes), group.time, group.queue
    )
    return [head, shared, ids, columns, *inputs, *outputs, *sparse]


def encode(sync: bytes, before: int, groups: Sequence[Rows], limit: int) -> tuple[bytes, int]:
    """Encode the groups of one turn as a frame; give it with its number of rows.

    Raises `RecordError` when the lists of a group are not of one length.
    """
    rows = 0
    count = 0
    parts = [b""]
    try:
        for group in groups:
            if group.ids:
                rows += len(group.ids)
                count += 1
                parts += encode_group(group, limit)
    except (StructError, ValueError) as error:
        raise RecordError(f"a group of rows does not fit the record: {error}") from error
    parts[0] = PAYLOAD.pack(rows, before, count)
    return sealed(sync, b"".join(parts)), rows


def frame_ids(data: bytes, at: int) -> Iterator[bytes]:
    """Give the ids of each group of the frame of predictions whose payload starts here, one after the other."""
    _, _, groups = PAYLOAD.unpack_from(data, at)
    at += PAYLOAD.size
    for _ in range(groups):
        rows, flags, shared, _, input_bytes, output_bytes, _, _ = GROUP.unpack_from(data, at)
        at += GROUP.size + shared
        yield data[at : at + ID_SIZE * rows]
        at += (ID_SIZE + 16) * rows + input_bytes + output_bytes
        at += 4 * rows * ((flags & NUMBERS > 0) + (flags & STATUSES > 0))
        for flag in TEXTS:
            if flags & flag:
                at += SIZE.size + 4 * rows + SIZE.unpack_from(data, at)[0]


def last_frame(sync: bytes, before: int) -> bytes:
    """Give the empty frame that ends a closed segment: it says how many rows a reader must have met."""
    return sealed(sync, PAYLOAD.pack(0, before, 0))


def sealed(sync: bytes, payload: bytes) -> bytes:
    """Put the frame's head before a payload."""
    return FRAME.pack(sync, len(payload), zlib.crc32(payload)) + payload


@dataclass(slots=True)
class Damage:
    """What a walk over frames had to leave out: rows that were written and cannot be read, and a tail cut off."""

    frames: int = 0
    rows: int = 0
    torn_bytes: int = 0


@dataclass(slots=True)
class Frames:
    """The places in `data` where the payloads of whole frames start; `damage` is complete when the walk is.

    A `closed` segment has no torn end: what is left over there is damage, at least one row.
    """

    data: bytes
    sync: bytes
    start: int = 0
    closed: bool = False
    damage: Damage = field(default_factory=Damage)

    def __iter__(self) -> Iterator[int]:
        """Walk from frame to frame; after a fault go on at the next frame whose checksum holds."""
        data, sync, size = self.data, self.sync, len(self.data)
        at = self.start
        seen = 0
        while at < size:
            end = frame_end(data, sync, at)
            if end:
                at += FRAME.size
                rows, before, _ = PAYLOAD.unpack_from(data, at)
                if before > seen:
                    self.lose(before - seen)
                seen = before + rows
                yield at
                at = end
                continue
            following = next_frame(data, sync, at + 1)
            if following == size:
                self.cut(at)
            at = following

    def lose(self, rows: int) -> None:
        """Count the rows missing before a frame; the frames are numbered by rows, so the count is exact."""
        self.damage.frames += 1
        self.damage.rows += rows

    def cut(self, at: int) -> None:
        """Count what is left at the end: a torn frame was never acknowledged, a whole one with a bad sum was."""
        data, size = self.data, len(self.data)
        counted = self.damage.frames
        while size - at >= FRAME.size + PAYLOAD.size:
            sync, length, _ = FRAME.unpack_from(data, at)
            rows, _, _ = PAYLOAD.unpack_from(data, at + FRAME.size)
            if sync != self.sync or at + FRAME.size + length > size:
                break
            self.lose(min(max(rows, 1), 1 + length // ID_SIZE))
            at += FRAME.size + length
        if at < size:
            self.damage.torn_bytes += size - at
            if self.closed and self.damage.frames == counted:
                self.lose(1)


def frame_end(data: bytes, sync: bytes, at: int) -> int:
    """Give the end of the frame that starts here, 0 when there is no whole frame with the right checksum."""
    if len(data) - at < FRAME.size + PAYLOAD.size:
        return 0
    found, length, crc = FRAME.unpack_from(data, at)
    end: int = at + FRAME.size + length
    if found != sync or length < PAYLOAD.size or end > len(data):
        return 0
    return end if zlib.crc32(memoryview(data)[at + FRAME.size : end]) == crc else 0


def next_frame(data: bytes, sync: bytes, at: int) -> int:
    """Give the start of the next good frame, or the end of the data."""
    while True:
        at = data.find(sync, at)
        if at < 0:
            return len(data)
        if frame_end(data, sync, at):
            return at
        at += 1
