"""A TCP proxy on a thread of its own that fails as networks do, when a test tells it to."""

from __future__ import annotations

import contextlib
import enum
import socket
import threading
from collections.abc import Iterator


class Fault(enum.Enum):
    """What happens to bytes that pass from now on."""

    NONE = "pass everything on"
    REFUSE = "end every connection as soon as it is made"
    LOSE_REQUESTS = "end connections instead of passing anything to the server"
    LOSE_ANSWERS = "pass requests on, end connections instead of passing an answer back"


class FaultyProxy:
    """Listens on a free port and forwards to ``port``."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._deaf: set[int] = set()
        self._lock = threading.Lock()
        self.fault = Fault.NONE
        self.calls_lost = 0
        threading.Thread(target=self._accept, daemon=True, name="faulty proxy").start()

    @property
    def port(self) -> int:
        """Where to connect."""
        return int(self._listener.getsockname()[1])

    def go_deaf(self) -> None:
        """From now on the open connections carry nothing; new ones work."""
        with self._lock:
            self._deaf |= {id(one) for one in self._sockets}

    def drop(self) -> None:
        """End every open connection."""
        with self._lock:
            for one in self._sockets:
                _end(one)
            self._sockets.clear()

    def close(self) -> None:
        """Stop."""
        _end(self._listener)
        self.drop()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.fault is Fault.REFUSE:
                _end(client)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._server_port))
            except OSError:
                _end(client)
                continue
            with self._lock:
                self._sockets += [client, server]
            for source, target, loses in (
                (client, server, Fault.LOSE_REQUESTS),
                (server, client, Fault.LOSE_ANSWERS),
            ):
                threading.Thread(target=self._pass_on, args=(source, target, loses), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, loses: Fault) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if id(source) in self._deaf:
                    continue
                if self.fault is loses and _carries_messages(data):
                    self.calls_lost += 1
                    break
                target.sendall(data)
        _end(source)
        _end(target)


@contextlib.contextmanager
def faulty_proxy(port: int) -> Iterator[FaultyProxy]:
    """A proxy before the server on ``port``."""
    proxy = FaultyProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()


def _carries_messages(data: bytes) -> bool:
    """Whether there is more in it than HTTP/2's own conversation (settings, pings, windows), which has to
    work for a call to get as far as being lost."""
    data = data.removeprefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    while len(data) >= 9:
        if data[3] in (0, 1):  # DATA, HEADERS
            return True
        data = data[9 + int.from_bytes(data[:3], "big") :]
    return bool(data)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
