"""Listening on an address: what every command that serves has in common."""

from __future__ import annotations

import socket

from domain.errors import ConflictError, MalformedError

# Requests under way when it is stopped get this long; what they were told is durable in any case.
GRACE_SECONDS = 30


def url_of(host: str, port: int) -> str:
    """Where a server on this address is found."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def listen(application: str, host: str, port: int, *, is_factory: bool = False) -> None:
    """Serve ``application`` (``module:name``, or what makes it) until stopped; requests under way are
    finished first.

    The server imports the application in a process of its own; the environment carries settings there.
    """
    from granian import Granian
    from granian.constants import Interfaces, Loops
    from granian.log import LogLevels

    Granian(
        application,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        factory=is_factory,
        loop=Loops.uvloop,
        # One process owns the ledgers' workers and views; more nodes are more processes on EventStoreDB.
        workers=1,
        workers_kill_timeout=GRACE_SECONDS,
        respawn_failed_workers=True,
        websockets=False,
        log_access=False,
        log_level=LogLevels.warning,
    ).serve()


def check_address(host: str, port: int) -> None:
    """Say in one line what the server would say in many.  Raises: MalformedError, ConflictError."""
    if not 1 <= port <= 65_535:
        raise MalformedError("not a port", field="--port", expected="1 to 65535", actual=str(port))
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise MalformedError("not an address", field="--host", actual=host[:80]) from error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise ConflictError(
                "cannot listen there",
                field=f"{host}:{port}",
                actual=error.strerror or str(error),
                remedy="Name another --port, or stop what listens there.",
            ) from error
