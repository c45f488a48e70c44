"""Which processes make up a service, as its settings say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from hansang.errors import UsageError
from hansang.settings import Settings

FRONT = "front"
ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class Process:
    """One process: the front, which answers the clients, or a node."""

    name: str
    target: str
    host: str
    port: int
    workers: int
    node: str | None = None

    @property
    def arguments(self) -> list[str]:
        """What follows `hansang` on the command line."""
        node = ["--node", self.node] if self.node is not None else []
        where = ["--host", self.host, "--port", str(self.port), "--workers", str(self.workers)]
        return ["serve", self.target, *node, *where]

    @property
    def command(self) -> list[str]:
        """The command, run by the same Python."""
        return [sys.executable, "-m", "hansang.cli", *self.arguments]

    @property
    def url(self) -> str:
        """Where it listens."""
        host = ANY.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The processes of this machine, and the nodes that others serve, by name."""

    nodes: tuple[Process, ...]
    front: Process
    elsewhere: dict[str, str]

    def lines(self) -> Iterator[str]:
        """Say it, a line a process."""
        width = max(len(name) for name in (FRONT, *self.elsewhere, *(node.name for node in self.nodes)))
        for process in (*self.nodes, self.front):
            yield f"{process.name:{width}}  hansang {' '.join(process.arguments)}"
        for name, url in self.elsewhere.items():
            yield f"{name:{width}}  runs at {url}"


def plan(target: str, settings: Settings) -> Plan:
    """Make the plan of a service.

    Raises `UsageError` when no node is to be started here, and when two processes would have the same port.
    """
    nodes = tuple(
        Process(name, target, place.host, place.port, place.workers, name)
        for name, place in settings.nodes.items()
        if place.port is not None
    )
    if not nodes:
        raise UsageError(
            "no node has a port, so there is nothing to start beside the service: write [nodes.NAME] and port = 8101 "
            "in hansang.toml, or use hansang serve"
        )
    if not settings.port:
        raise UsageError("hansang up needs to know the port of the service; give --port")
    front = Process(FRONT, target, settings.host, settings.port, settings.workers)
    taken: dict[int, str] = {}
    for process in (*nodes, front):
        other = taken.setdefault(process.port, process.name)
        if other != process.name:
            raise UsageError(f"{other} and {process.name} have the same port {process.port}; give each its own")
    elsewhere = {name: place.address(name) for name, place in settings.nodes.items() if place.url is not None}
    return Plan(nodes, front, elsewhere)
