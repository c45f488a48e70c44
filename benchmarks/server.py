"""Start a peer in its own process group, know when it answers, and end it by its own pids."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import usage

START_SECONDS = 90
STOP_SECONDS = 15
QUIET = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "LITSERVE_LOG_LEVEL": "WARNING",
    "PYTHONWARNINGS": "ignore",
}


class StartFailedError(Exception):
    """The server ended or gave no answer in time; the text is the end of its output."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A running server; a context manager that leaves nothing behind."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        answers: Callable[["Server"], bool],
    ) -> None:
        self.command = list(command)
        self.port = port
        self.folder = folder
        self.environment = dict(environment or {})
        self.answers = answers
        self.mark = uuid.uuid4().hex
        self.first_answer = 0.0

    def __enter__(self) -> "Server":
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._log = (self.folder / "output.log").open("wb")
        inherited = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH"}}
        started = time.perf_counter()
        self.process = subprocess.Popen(
            self.command,
            cwd=self.folder,
            env={**inherited, **QUIET, usage.MARK: self.mark, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self._wait(started)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait(self, started: float) -> None:
        while not self.answers(self):
            if self.process.poll() is not None:
                raise StartFailedError(f"ended with status {self.process.returncode}: {self.last_words()}")
            if time.perf_counter() - started > START_SECONDS:
                raise StartFailedError(f"no right answer in {START_SECONDS} s: {self.last_words()}")
            time.sleep(0.004)
        self.first_answer = time.perf_counter() - started

    def stop(self) -> None:
        """Ask the server to end, wait, then end what is left of its own processes, by pid."""
        mine = self.pids()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in set(mine) | set(self.pids()):
            if pid in self.pids():
                _end(pid)
        self._log.close()

    def pids(self) -> list[int]:
        return usage.tree(self.process.pid, self.mark)

    def cpu_seconds(self) -> float:
        return usage.cpu_seconds(self.pids())

    def memory_mb(self) -> float:
        return usage.pss_mb(self.pids())

    def last_words(self) -> str:
        """Return the last telling line of the output, without this machine's paths."""
        self._log.flush()
        text = (self.folder / "output.log").read_text(errors="replace").strip()
        lines = [line for line in text.splitlines() if line.strip()]
        return (lines[-1] if lines else "it said nothing").replace(str(Path.cwd()), ".")[:300]

    def request(self, method: str, path: str, body: str | None = None, timeout: float = 5) -> tuple[int, bytes]:
        """Make one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, {"content-type": "application/json"} if body else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get_ok(self, path: str) -> bool:
        try:
            return self.request("GET", path)[0] == 200
        except (OSError, http.client.HTTPException):
            return False


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
