"""The message that two processes of one service send each other: four bytes, a length, JSON, raw buffers."""

from __future__ import annotations

import json
from typing import Any

from hansang.peers.values import Packer, Unpacker, WireError

MEDIA = "application/x-hansang-batch"
VERSION = 1
MAGIC = b"HSB"
START = 8

encoder = json.JSONEncoder(check_circular=False, allow_nan=False, separators=(",", ":"))


def write(content: dict[str, Any], packer: Packer) -> bytes:
    """Make a message of JSON content, in which the packed values are, and of the packer's buffers."""
    content["buffers"] = [len(buffer) for buffer in packer.buffers]
    text = encoder.encode(content).encode("ascii")
    return b"".join([MAGIC, bytes((VERSION,)), len(text).to_bytes(4, "big"), text, *packer.buffers])


def read(message: bytes) -> dict[str, Any]:
    """Give a message's content with its values as they were; raises `WireError` for anything that is not one."""
    if message[:3] != MAGIC or len(message) < START:
        raise WireError("the body is not a message of hansang")
    if message[3] != VERSION:
        raise WireError(
            f"the other side speaks version {message[3]} of the wire format, this one {VERSION}; "
            "run the same hansang on both sides"
        )
    end = START + int.from_bytes(message[4:START], "big")
    if end > len(message):
        raise WireError("the message is shorter than it says")
    buffers: list[memoryview] = []
    unpacker = Unpacker(buffers)
    try:
        text = message[START:end].decode("ascii")
        cut(memoryview(message)[end:], text, buffers)
        content: dict[str, Any] = json.loads(text, object_hook=unpacker.hook)
        return content if isinstance(content, dict) else {}
    except WireError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError) as error:
        raise WireError(f"the message cannot be read: {type(error).__name__}: {error}") from error


def cut(data: memoryview, text: str, buffers: list[memoryview]) -> None:
    """Cut the raw bytes into buffers, whose sizes are the last field of the JSON text."""
    _, _, sizes = text.rpartition('"buffers":')
    start = 0
    for size in json.loads(sizes.removesuffix("}") or "[]"):
        if type(size) is not int or size < 0:
            raise WireError(f"{size!r} is not the size of a buffer")
        buffers.append(data[start : start + size])
        start += size
    if start != len(data):
        raise WireError(f"the message has {len(data)} bytes of buffers and says {start}")
