"""Ports that nobody else gets: each is held by a bound socket that does not listen, until the block ends."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def held(number: int = 1) -> Iterator[list[int]]:
    """Hold some ports; a server that sets SO_REUSEADDR can still listen on them, and until then they refuse."""
    with ExitStack() as stack:
        ports = []
        for _ in range(number):
            holder = stack.enter_context(socket.socket())
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", 0))
            ports.append(int(holder.getsockname()[1]))
        yield ports
