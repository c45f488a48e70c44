"""A gate before a server: shut, nobody reaches it, and whoever was there is thrown out."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading


class Gate:
    """Listens on a port of its own and passes connections on; begins shut."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.selector = selectors.DefaultSelector()
        self.pairs: dict[socket.socket, socket.socket] = {}
        self.lock = threading.Lock()
        self.is_open = False
        self.ended = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def open(self) -> None:
        self.is_open = True

    def shut(self) -> None:
        with self.lock:
            self.is_open = False
            for one in list(self.pairs):
                self._drop(one)

    def close(self) -> None:
        self.ended = True
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()
        self.thread.join()
        self.shut()
        self.listener.close()
        self.selector.close()

    def _run(self) -> None:
        while not self.ended:
            for key, _ in self.selector.select():
                with self.lock:
                    one = key.fileobj
                    assert isinstance(one, socket.socket)
                    if one is self.listener:
                        self._accept()
                    elif one in self.pairs:
                        self._pass(one)

    def _accept(self) -> None:
        near, _ = self.listener.accept()
        if not self.is_open or self.ended:
            near.close()
            return
        far = socket.create_connection(("127.0.0.1", self.target))
        for one, other in ((near, far), (far, near)):
            self.pairs[one] = other
            self.selector.register(one, selectors.EVENT_READ)

    def _pass(self, one: socket.socket) -> None:
        try:
            data = one.recv(65536)
            if data:
                self.pairs[one].sendall(data)
        except OSError:
            data = b""
        if not data:
            self._drop(one)

    def _drop(self, one: socket.socket) -> None:
        other = self.pairs.pop(one, None)
        if other is None:
            return
        self.pairs.pop(other, None)
        for each in (one, other):
            self.selector.unregister(each)
            each.close()
