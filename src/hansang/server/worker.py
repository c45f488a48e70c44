"""One worker process: `python -m hansang.server.worker`, started by `workers.py`."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

from hansang.errors import HansangError
from hansang.server.run import announce, serve_here
from hansang.service import Service
from hansang.settings import Settings


def main(target: str, settings_json: str, listener: int, pipe: int, speak: bool) -> int:
    """Serve on an inherited socket; write a byte a second to the parent's pipe."""
    started = time.perf_counter()
    settings = Settings.model_validate_json(settings_json)

    def beat() -> None:
        try:
            os.write(pipe, b".")
        except BrokenPipeError:  # the parent is gone: answer what was accepted, and end
            os.kill(os.getpid(), signal.SIGTERM)

    def ready(service: Service) -> None:
        beat()
        if speak:
            announce(service, settings, started, print)

    try:
        return serve_here(target, settings, socket.socket(fileno=listener), ready, beat)
    except HansangError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "announce"))
