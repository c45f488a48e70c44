"""Which other files an ONNX file refers to, read from its protobuf without the onnx package.

ONNX Runtime opens the files that a model names; this looks first, so that a model cannot reach outside its folder.
Field numbers are those of onnx/onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from hansang.errors import ModelError

NESTED: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
DEEPEST = 100

Buffer = mmap.mmap | bytes


def check_references(file: Path) -> None:
    """Refuse a file that is not ONNX, or whose tensors lie in files outside its folder."""
    folder = file.resolve().parent
    for location in external_files(file):
        target = (folder / location).resolve()
        if not target.is_relative_to(folder):
            raise ModelError(
                f"{file} keeps tensors in {location!r}, outside the model's folder; put the file beside the model"
            )
        if not target.is_file():
            raise ModelError(f"{file} keeps tensors in {location!r}, which is missing from the model's folder")


def external_files(file: Path) -> set[str]:
    """Find the names of all external data files."""
    with file.open("rb") as stream:
        try:
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return set(locations(data, 0, len(data), "model"))
        except (ValueError, IndexError) as error:
            raise ModelError(
                f"{file} is not an ONNX model: {error}; expected a file written by an ONNX exporter"
            ) from error


def locations(data: Buffer, start: int, end: int, message: str, depth: int = 0) -> Iterator[str]:
    """Walk a message and give the locations of external data in it."""
    if depth > DEEPEST:
        raise ValueError("it is nested too deeply")
    inner = NESTED[message]
    for number, first, last in fields(data, start, end):
        kind = inner.get(number)
        if kind == "entry":
            pair = {n: bytes(data[a:b]) for n, a, b in fields(data, first, last)}
            if pair.get(1) == b"location":
                yield pair.get(2, b"").decode("utf-8")
        elif kind:
            yield from locations(data, first, last, kind, depth + 1)


def fields(data: Buffer, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Give the length-delimited fields of a message: number, start and end."""
    while position < end:
        tag, position = varint(data, position)
        wire = tag & 7
        if wire == BYTES:
            size, position = varint(data, position)
            if position + size > end:
                raise ValueError("it is cut short")
            yield tag >> 3, position, position + size
            position += size
        elif wire == VARINT:
            _, position = varint(data, position)
        elif wire in (FIXED64, FIXED32):
            position += 8 if wire == FIXED64 else 4
        else:
            raise ValueError("its bytes are not protobuf")
    if position != end:
        raise ValueError("it is cut short")


def varint(data: Buffer, position: int) -> tuple[int, int]:
    """Read a number and give the position after it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("its bytes are not protobuf")
