"""Starting and stopping: the socket, the workers, the drain."""

from __future__ import annotations

import errno
import gc
import logging
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable

import uvicorn
from uvicorn.lifespan.on import LifespanOn

from hansang.alone import alone
from hansang.errors import HansangError, UsageError
from hansang.logs.config import configure
from hansang.server.exchange import EncodedLines, Exchange, LoggedExchange
from hansang.server.head import Heads
from hansang.server.parent import orphaned
from hansang.server.protocol import PredictProtocol
from hansang.server.serving import Serving
from hansang.server.visits import Visits
from hansang.server.workers import Workers
from hansang.service import Service
from hansang.settings import Settings
from hansang.target import load_target

log = logging.getLogger("hansang")

SWEEP_TICKS = 10


class Lifespan(LifespanOn):
    """uvicorn's, but silent: what goes wrong at start is said once, by whoever started the server."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.logger = logging.getLogger("hansang.lifespan")
        self.logger.disabled = True


class Config(uvicorn.Config):
    """uvicorn's configuration for a loaded service."""

    def __init__(self, service: Service, settings: Settings) -> None:
        super().__init__(
            Visits(service.app),
            host=settings.host,
            port=settings.port,
            http=PredictProtocol,
            ws="none",
            lifespan="on",
            access_log=False,  # Hansang's own has the predictions, too
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=max(1, round(settings.drain_timeout)),
            backlog=2048,
        )
        self.settings = settings
        self.service = service
        self.heads = Heads(settings.max_body)
        self.lines = EncodedLines()
        self.exchange = LoggedExchange if settings.access_log else Exchange

    def load(self) -> None:
        """Load what uvicorn loads."""
        super().load()
        self.lifespan_class = Lifespan

    @property
    def fault(self) -> Exception | None:
        """What went wrong when the application started or ended."""
        fault: Exception | None = getattr(self.service.app.state, "fault", None)
        return fault

    @property
    def serving(self) -> Serving:
        """What this process serves with; the application's lifespan made it."""
        serving: Serving = self.service.app.state.serving
        return serving


class Server(uvicorn.Server):
    """uvicorn's server with a drain that answers what was accepted and refuses what comes after."""

    def __init__(self, config: Config, ready: Callable[[], None], tick: Callable[[], None] | None = None) -> None:
        super().__init__(config)
        self.serving_config = config
        self.ready = ready
        self.tick = tick

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so; raises a `HansangError` that says why it cannot."""
        config = self.serving_config
        try:
            await super().startup(sockets)
        except SystemExit:
            fault = config.fault
            if fault is None or isinstance(fault, HansangError):
                raise (fault or HansangError("the service could not start")) from None
            log.debug("the service could not start", exc_info=fault)
            raise HansangError(
                f"the service could not start: {type(fault).__name__}: {fault} (--log-level debug shows where)"
            ) from fault
        except OSError as error:
            raise not_listening(config.settings, error) from error
        if not self.should_exit:
            self.ready()

    async def on_tick(self, counter: int) -> bool:
        """Look once a second for connections that have waited too long."""
        if counter % SWEEP_TICKS == 0:
            try:
                self._look()
            except Exception:  # nothing that is only looked at may end the server
                log.exception("this is a bug of hansang: the look at the connections and the record failed")
            if self.tick is not None:
                self.tick()
        return await super().on_tick(counter)

    def _look(self) -> None:
        now = time.monotonic()
        for connection in list(self.server_state.connections):
            if isinstance(connection, PredictProtocol):
                connection.sweep(now)
        self.serving_config.serving.measure()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new rows with 503 while accepted ones are answered, then close the sockets."""
        config = self.serving_config
        await config.serving.drained(config.settings.drain_timeout)
        left = min(config.serving.until - time.monotonic(), config.settings.drain_timeout)
        config.timeout_graceful_shutdown = max(1, math.ceil(left))
        await super().shutdown(sockets)


def serve(target: str, settings: Settings, say: Callable[[str], None] = print) -> int:
    """Serve a target until a signal ends it; gives the exit status.

    Raises `UsageError` when the target cannot be loaded or the port is taken.
    """
    started = time.perf_counter()
    configure("server" if settings.workers == 1 else "parent", settings.log_config, settings.log_level)
    listener = bind(settings)
    if settings.workers > 1:
        return Workers(target, settings, listener).run()
    return serve_here(target, settings, listener, lambda service: announce(service, settings, started, say), end_orphan)


def end_orphan() -> None:
    """End when the process that started this one has ended without a word."""
    if orphaned():
        os.kill(os.getpid(), signal.SIGTERM)


def serve_here(
    target: str,
    settings: Settings,
    listener: socket.socket,
    ready: Callable[[Service], None],
    tick: Callable[[], None] | None = None,
) -> int:
    """Serve in this process, on a socket that is bound."""
    service = load_target(target)
    if settings.node is not None:
        service = alone(service, settings.node)
    service.app.state.settings = settings
    service.load(settings)
    config = Config(service, settings)
    server = Server(config, lambda: ready(service), tick)
    # a signal before uvicorn listens for it must not be lost, and the one that uvicorn raises again at its end not kill
    handlers = {number: signal.signal(number, server.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
    gc.collect()
    gc.freeze()  # what the start made stays as long as the process: no collection need walk through it again
    try:
        server.run(sockets=[listener])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if config.fault is not None:
        log.error("the service did not end as it should", exc_info=config.fault)
        return 1
    return 0


def bind(settings: Settings) -> socket.socket:
    """Open the listening socket.

    It is made with `IPPROTO_TCP`, since asyncio sets TCP_NODELAY on accepted connections only then; without it every
    answer of a keep-alive connection can wait 40 ms for an acknowledgement (Kludex/uvicorn#3149).
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise not_listening(settings, error) from error
    listener.setblocking(False)
    listener.set_inheritable(True)
    settings.port = listener.getsockname()[1]
    return listener


def not_listening(settings: Settings, error: OSError) -> UsageError:
    """Say why there is no listening socket."""
    if error.errno == errno.EADDRINUSE:
        return UsageError(f"port {settings.port} of {settings.host} is in use; end the other server or take --port 0")
    return UsageError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}")


def announce(service: Service, settings: Settings, started: float, say: Callable[[str], None]) -> None:
    """Print where the service listens, its models and where its documentation is."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    base = f"http://{host}:{settings.port}"
    for endpoint in service.endpoints:
        say(f"{service.name}: POST {base}{endpoint.path}")
    for model in service.models:
        loaded = model.loaded
        version = f" version {loaded.version}" if loaded.version else ""
        say(f"  model {loaded.name}{version} ({loaded.runtime.name}, {loaded.seconds * 1000:.0f} ms to load)")
    say(f"  docs {base}/docs, metrics {base}/metrics, ready in {time.perf_counter() - started:.2f} s")
    sys.stdout.flush()
