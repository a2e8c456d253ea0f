"""``tally serve``: the API, its worker and its console."""

from __future__ import annotations

import argparse
import os
import time

from adapters.api_key_file import ApiKeyFile
from api.commands.command import DONE, settings_of
from api.settings import Settings
from domain.errors import MalformedError

HOST_DEFAULT, PORT_DEFAULT = "127.0.0.1", 8321


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "--host",
        default=HOST_DEFAULT,
        help=f"address to listen on (default {HOST_DEFAULT}, this machine only)",
    )
    parser.add_argument("--port", type=int, default=PORT_DEFAULT, help=f"port (default {PORT_DEFAULT})")


def run(arguments: argparse.Namespace) -> int:
    """Serve until stopped."""
    from granian import Granian
    from granian.constants import Interfaces, Loops

    settings = settings_of(arguments)
    if not 1 <= arguments.port <= 65_535:
        raise MalformedError("not a port", field="--port", expected="1 to 65535", actual=str(arguments.port))
    _first_key(settings)
    # The server imports the application in a process of its own; the environment carries the settings there.
    os.environ |= {
        "TALLY_HOME": str(settings.home),
        "TALLY_STORE": settings.store,
        "TALLY_TENANT": settings.tenant,
    }
    base = f"http://{arguments.host}:{arguments.port}"
    print(f"Tallystick on {base}   console {base}/   docs {base}/docs   stop with Ctrl-C", flush=True)
    Granian(
        "api.serving:app",
        address=arguments.host,
        port=arguments.port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        # One process owns the ledgers' writers and the views; more nodes are more processes on EventStoreDB.
        workers=1,
        websockets=False,
        log_access=False,
    ).serve()
    return DONE


def _first_key(settings: Settings) -> None:
    """A tenant without a key gets one, shown once; otherwise nobody could call."""
    keys = ApiKeyFile(settings.keys_folder)
    if not keys.keys(settings.tenant):
        text, key = keys.create(settings.tenant, ("admin",), label="first key", now_ns=time.time_ns())
        print(
            f"First API key of tenant {settings.tenant} (shown once; make others with `tally keys`):\n  {text}"
        )

