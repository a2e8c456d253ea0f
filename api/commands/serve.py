"""``tally serve``: the API, its worker and its console."""

from __future__ import annotations

import argparse
import os
import time

from adapters.api_key_file import ApiKeyFile
from api.commands.command import DONE, print_json, settings_of
from api.listening import check_address, listen, url_of
from api.settings import Settings

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
    """Serve until stopped; what was acknowledged is finished first."""
    settings = settings_of(arguments)
    check_address(arguments.host, arguments.port)
    key = _first_key(settings)
    base = url_of(arguments.host, arguments.port)
    if arguments.json:
        print_json({"url": base, "first_key": key, "tenant": settings.tenant})
    else:
        if key:
            print(
                f"First API key of tenant {settings.tenant}, shown only now (`tally keys` makes others):\n\n"
                f"  {key}\n"
            )
        print(f"Tallystick on {base}   console {base}/   docs {base}/docs   stop with Ctrl-C", flush=True)
    os.environ |= {
        "TALLY_HOME": str(settings.home),
        "TALLY_STORE": settings.store,
        "TALLY_TENANT": settings.tenant,
        "TALLY_ORIGIN": settings.origin_prefix,
    }
    listen("api.serving:app", arguments.host, arguments.port)
    return DONE


def _first_key(settings: Settings) -> str:
    """A tenant that never had a key gets one, shown once; otherwise nobody could call."""
    created = ApiKeyFile(settings.keys_folder).create_first(
        settings.tenant, label="first key", now_ns=time.time_ns()
    )
    return created[0] if created else ""
