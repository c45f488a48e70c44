"""Measure one peer with one model: install, start, compare its answers with the model's, load, take its memory."""

import http.client
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import catalog
import environments
import models
from catalog import Launch, Peer
from load import LoadFailedError, measure
from server import Server, StartFailedError, free_port

PREPARED = 1024
CHECKED = 32
CLOSELY = {"", "logregonnx"}


@dataclass(frozen=True, slots=True)
class Effort:
    """How long the measurements last."""

    seconds: float = 5
    warm: float = 3
    connections: tuple[int, ...] = (64, 1)
    repeats: int = 3


def measure_peer(peer: Peer, model: str, runtime: str, effort: Effort) -> dict:
    """Return the row of this peer for the table; a peer that does not work is a row with its reason."""
    about = {"peer": peer.name, "says": peer.says, "model": model, "runtime": runtime}
    try:
        environments.prepare(peer.environment, peer.packages)
        about["versions"] = environments.versions(peer.environment, peer.packages) if peer.packages else {}
        with start(peer, model, runtime) as server:
            return {**about, **_measure(server, peer, model, runtime, effort)}
    except (environments.InstallFailedError, StartFailedError, LoadFailedError, OSError) as error:
        return {**about, "failed": " ".join(str(error).split())[:300] or type(error).__name__}


def start(peer: Peer, model: str, runtime: str) -> Server:
    """Return the server, not yet entered: it is ready when its first answers are the model's own."""
    folder = environments.BENCH / "run" / "-".join(filter(None, (peer.name, model, runtime)))
    launch = Launch(model, runtime, free_port(), folder)
    rows = models.rows(CHECKED, seed=1).tolist()
    labels = models.expected(model, rows) if model else None
    right = _FirstAnswer(peer, rows, labels)
    return Server(
        peer.command(launch),
        port=launch.port,
        folder=folder,
        environment=catalog.settings(peer, launch, (free_port(), free_port())),
        answers=right,
    )


class _FirstAnswer:
    """Ready means: the first row is answered with 200; then all checked rows must be right, or it is no peer."""

    def __init__(self, peer: Peer, rows: Sequence[Sequence[float]], labels: Sequence[int] | None) -> None:
        self.peer, self.rows, self.labels = peer, rows, labels

    def __call__(self, server: Server) -> bool:
        try:
            status, _ = server.request("POST", self.peer.path, self.peer.body(self.rows[0]))
        except (OSError, http.client.HTTPException):
            return False
        return status == 200

    def verify(self, server: Server) -> None:
        if self.labels is None:
            return
        for row, label in zip(self.rows, self.labels, strict=True):
            status, body = server.request("POST", self.peer.path, self.peer.body(row))
            if status != 200 or next(_integers(json.loads(body)), None) != label:
                raise LoadFailedError(f"for row {list(row)} expected label {label}, got {status}: {body[:120]!r}")


def _measure(server: Server, peer: Peer, model: str, runtime: str, effort: Effort) -> dict:
    server.answers.verify(server)
    bodies = [peer.body(row) for row in models.rows(PREPARED).tolist()]
    times = {"seconds": effort.seconds, "warm": effort.warm}
    closely = peer.ids and f"{model}{runtime}" in CLOSELY
    repeats = effort.repeats if closely else 1

    def median(connections: int, ids: bool = False) -> dict:
        """Measure and keep the run of median CPU; those that are compared most closely run more than once."""
        tries = [
            measure(server, peer.path, bodies, connections=connections, ids=ids, **times)
            for _ in range(repeats if connections > 1 else 1)
        ]
        return asdict(sorted(tries, key=lambda run: run.cpu_us)[len(tries) // 2])

    runs = {str(connections): median(connections) for connections in effort.connections}
    if closely:
        runs["64 ids"] = median(64, ids=True)
    server.answers.verify(server)
    return {"runs": runs, "memory_mb": round(server.memory_mb(), 1), "first_answer_s": round(server.first_answer, 2)}


def _integers(value: object) -> Iterator[int]:
    """Walk an answer in its own order and give each whole number: the peers wrap the label differently."""
    if isinstance(value, bool):
        return
    if isinstance(value, int):
        yield value
    elif isinstance(value, dict):
        shape_last = sorted(value.items(), key=lambda item: item[0] in {"shape", "parameters", "meta"})
        for _, inner in shape_last:
            yield from _integers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _integers(inner)
