"""The command line ``tally``.

Exit status: 0 done, 1 a check failed (a receipt that does not verify, a replay that diverged, an audit with findings), 2 usage or bad
input.  Errors are one line on standard error that says what is wrong and what to do; ``--json`` prints one JSON document on standard output.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from api.commands import (
    apply,
    audit,
    batches,
    bench,
    demo,
    ingest,
    key,
    rebuild,
    receipts,
    replay,
    reprocess,
    runs,
    serve,
    verify,
)
from api.commands.command import CHECK_FAILED, DONE, USAGE, Command
from domain.errors import InvalidError, TallystickError

COMMANDS: tuple[Command, ...] = (
    demo.COMMAND,
    serve.COMMAND,
    apply.COMMAND,
    ingest.COMMAND,
    batches.COMMAND,
    runs.COMMAND,
    receipts.COMMAND,
    verify.COMMAND,
    replay.COMMAND,
    reprocess.COMMAND,
    audit.COMMAND,
    rebuild.COMMAND,
    key.COMMAND,
    bench.COMMAND,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``tally``; returns the exit status."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if parsed.command is None:
        parser.print_help()
        return USAGE
    command: Command = parsed.command
    try:
        return command.run(parsed)
    except InvalidError as error:
        return _complain(error, CHECK_FAILED if command.is_check else USAGE)
    except TallystickError as error:
        return _complain(error, USAGE)
    except FileNotFoundError as error:
        return _say(f"no such file: {error.filename}", USAGE)
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        return _say(f"cannot use {error.filename}: {error.strerror}", USAGE)
    except BrokenPipeError:
        # The reader of our output has gone (`tally runs | head`); that is its right.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return _say("interrupted; nothing acknowledged was lost", 130)


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    for flags, text in (
        ("--home", "folder for ledger, vault, keys and views (TALLY_HOME, default .tally)"),
        ("--store", "where ledgers lie, a folder or esdb://… (TALLY_STORE, default <home>/ledgers)"),
        ("--tenant", "tenant (TALLY_TENANT, default demo)"),
    ):
        shared.add_argument(flags, help=text, default=argparse.SUPPRESS)
    shared.add_argument(
        "--json", action="store_true", help="print JSON for machines", default=argparse.SUPPRESS
    )
    parser = argparse.ArgumentParser(
        prog="tally",
        description="An event-sourced ledger with immutable receipts for measurements.",
        epilog="Start with: tally demo",
        parents=[shared],
    )
    parser.set_defaults(command=None, home=None, store=None, tenant=None, json=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        child = commands.add_parser(
            command.name, help=command.help, description=command.help, parents=[shared]
        )
        command.add_arguments(child)
        child.set_defaults(command=command)
    return parser


def _complain(error: TallystickError, status: int) -> int:
    return _say(str(error), status)


def _say(sentence: str, status: int) -> int:
    print(f"tally: {' '.join(sentence.split())}", file=sys.stderr)
    return status
