"""``tally node``: a development node that speaks EventStoreDB's protocol.  It is not EventStoreDB."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from adapters.esdb_node.node import NodeOptions, run_node
from api.commands.command import DONE
from domain.errors import MalformedError

PORT_DEFAULT = 2113
PASSWORD_VARIABLE = "TALLY_NODE_PASSWORD"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "--path", metavar="FILE", help="file of the log (default: in memory, gone when it stops)"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=PORT_DEFAULT,
        help=f"on loopback (default {PORT_DEFAULT}; 0 takes a free one)",
    )
    parser.add_argument(
        "--tls", action="store_true", help="speak TLS, with a certificate made for this start"
    )
    parser.add_argument("--cert", metavar="FILE", help="with --tls: the server's certificate, PEM")
    parser.add_argument("--key", metavar="FILE", help="with --tls: its private key, PEM")
    parser.add_argument(
        "--username",
        default="admin",
        help=f"with --tls: who may call (default admin); password in {PASSWORD_VARIABLE}, default changeit",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the node until it is stopped."""
    if not 0 <= arguments.port <= 65_535:
        raise MalformedError("not a port", field="--port", expected="0 to 65535", actual=str(arguments.port))
    if bool(arguments.cert) != bool(arguments.key) or (arguments.cert and not arguments.tls):
        raise MalformedError(
            "a certificate comes with its key, for TLS",
            field="--cert",
            expected="--tls --cert FILE --key FILE",
        )
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    run_node(
        NodeOptions(
            path=Path(arguments.path) if arguments.path else None,
            port=arguments.port,
            tls=arguments.tls,
            certificate_path=Path(arguments.cert) if arguments.cert else None,
            key_path=Path(arguments.key) if arguments.key else None,
            username=arguments.username,
            password=os.environ.get(PASSWORD_VARIABLE) or "changeit",
        )
    )
    return DONE
