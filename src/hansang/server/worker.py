"""One worker process: `python -m hansang.server.worker`, started by `workers.py`."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from contextlib import suppress

from hansang.errors import HansangError, UsageError
from hansang.logs.config import configure
from hansang.server.run import announce, serve_here
from hansang.server.workers import ANNOUNCE, SETTINGS
from hansang.service import Service
from hansang.settings import Settings

LAST_WORDS = 3000


def main(target: str, settings: Settings, listener: int, pipe: int, number: str) -> int:
    """Serve on an inherited socket; write a byte a second to the parent's pipe, and why it could not start."""
    started = time.perf_counter()

    def beat() -> None:
        try:
            os.write(pipe, b".")
        except BrokenPipeError:  # the parent is gone: answer what was accepted, and end
            os.kill(os.getpid(), signal.SIGTERM)

    def ready(service: Service) -> None:
        beat()
        if number.endswith(ANNOUNCE):
            announce(service, settings, started, print)

    try:
        configure(f"worker-{number.removesuffix(ANNOUNCE)}", settings.log_config, settings.log_level)
        return serve_here(target, settings, socket.socket(fileno=listener), ready, beat)
    except HansangError as error:
        with suppress(BrokenPipeError):
            os.write(pipe, b"!" + str(error).encode()[:LAST_WORDS])
        return 2 if isinstance(error, UsageError) else 1


if __name__ == "__main__":
    given = Settings.model_validate_json(os.environ.pop(SETTINGS))
    sys.exit(main(sys.argv[1], given, int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
