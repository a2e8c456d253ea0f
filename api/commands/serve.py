"""``tally serve``: the API, its worker and its console."""

from __future__ import annotations

import argparse
import os
import socket
import time

from adapters.api_key_file import ApiKeyFile
from api.commands.command import DONE, print_json, settings_of
from api.settings import Settings
from domain.errors import ConflictError, MalformedError

HOST_DEFAULT, PORT_DEFAULT = "127.0.0.1", 8321
# Requests under way when it is stopped get this long; what they were told is durable in any case.
GRACE_SECONDS = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "--host",
        default=HOST_DEFAULT,
        help=f"address to listen on (default {HOST_DEFAULT}, this machine only)",
    )
    parser.add_argument("--port", type=int, default=PORT_DEFAULT, help=f"port (default {PORT_DEFAULT})")


def run(arguments: argparse.Namespace) -> int:
    """Serve until stopped; what was acknowledged is finished first."""
    from granian import Granian
    from granian.constants import Interfaces, Loops
    from granian.log import LogLevels

    settings = settings_of(arguments)
    check_address(arguments.host, arguments.port)
    key = _first_key(settings)
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    base = f"http://{host}:{arguments.port}"
    if arguments.json:
        print_json({"url": base, "first_key": key, "tenant": settings.tenant})
    else:
        if key:
            print(
                f"First API key of tenant {settings.tenant}, shown only now (`tally keys` makes others):\n\n"
                f"  {key}\n"
            )
        print(f"Tallystick on {base}   console {base}/   docs {base}/docs   stop with Ctrl-C", flush=True)
    # The server imports the application in a process of its own; the environment carries the settings there.
    os.environ |= {
        "TALLY_HOME": str(settings.home),
        "TALLY_STORE": settings.store,
        "TALLY_TENANT": settings.tenant,
        "TALLY_ORIGIN": settings.origin_prefix,
    }
    Granian(
        "api.serving:app",
        address=arguments.host,
        port=arguments.port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        # One process owns the ledgers' workers and views; more nodes are more processes on EventStoreDB.
        workers=1,
        workers_kill_timeout=GRACE_SECONDS,
        respawn_failed_workers=True,
        websockets=False,
        log_access=False,
        log_level=LogLevels.warning,
    ).serve()
    return DONE


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


def _first_key(settings: Settings) -> str:
    """A tenant that never had a key gets one, shown once; otherwise nobody could call."""
    created = ApiKeyFile(settings.keys_folder).create_first(
        settings.tenant, label="first key", now_ns=time.time_ns()
    )
    return created[0] if created else ""
