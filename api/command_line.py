"""The command line ``tally``.

Exit status: 0 done, 1 a check failed (a receipt that does not verify, a replay that diverged, an audit with
findings), 2 usage or bad input, 70 a fault of Tallystick itself, 130 interrupted.  An error is one line on
standard error that says what is wrong and what to do.  With ``--json`` there is one JSON document on standard
output, ``{"error": …}`` when something was wrong.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import NoReturn

from api.commands.command import BUG, CHECK_FAILED, DONE, INTERRUPTED, USAGE, Command, print_json
from domain.errors import InvalidError, TallystickError

COMMANDS: tuple[Command, ...] = (
    Command("demo", "do the main job on real input: ingest, run, receipts, verify, replay", is_check=True),
    Command("serve", "serve the API and the console, and work off what is ingested"),
    Command("apply", "register, calibrate, publish and deploy what a setup file declares"),
    Command("ingest", "keep batches, run what is deployed for them, and issue receipts"),
    Command("sources", "list devices and connections"),
    Command("batches", "list batches and what became of them"),
    Command("runs", "list runs with their verdicts, or show one with its gates and windows"),
    Command("receipts", "list receipts, show one, or write its bundle and artifacts to files"),
    Command("verify", "verify a receipt bundle offline, with nothing but a public key", is_check=True),
    Command("replay", "run a receipt again from the events and compare byte for byte", is_check=True),
    Command("reprocess", "run what older versions of a procedure saw through the one in force"),
    Command("history", "what happened to a batch, run, receipt or source, when, and why it was trusted"),
    Command("audit", "re-derive every link, root, seal and receipt of a ledger", is_check=True),
    Command("verify-log", "audit a log from its tiles alone: a server's or a folder's", is_check=True),
    Command("mirror", "keep a folder of a log's tiles that any web server can show"),
    Command("status", "what a receipt is worth now: valid, superseded, recalled or withheld", is_check=True),
    Command("complete", "prove that a list of entries is complete, or verify such a proof", is_check=True),
    Command("bundle", "put receipts with all they rest on into one file, or verify one", is_check=True),
    Command("recall", "withdraw a calibration, firmware or procedure version and name what rests on it"),
    Command("erase", "erase a person: destroy the key of everything that came from a connection"),
    Command("backup", "copy a ledger and everything it rests on, and prove the copy"),
    Command("restore", "compare a store with what was seen, or go on from an older state", is_check=True),
    Command(
        "timestamp", "have a checkpoint stamped by a timestamp authority, or check stamps", is_check=True
    ),
    Command("migrate", "move ledgers to another store, byte for byte, and prove it", is_check=True),
    Command("node", "a development node that speaks EventStoreDB's protocol; it is not EventStoreDB"),
    Command("witness", "cosign other people's logs, and compare what they have shown"),
    Command("witnesses", "show one's own ledgers to witnesses, and what came of it", is_check=True),
    Command("rebuild", "fold the read views again from the ledger and prove them equal", is_check=True),
    Command("bench", "measure, each figure beside a reference measured in the same run"),
    Command("key", "print the ledger's public key, list its keys, rotate or revoke them"),
    Command("keys", "make, list and revoke API keys"),
)

_DEBUG_VARIABLE = "TALLY_DEBUG"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``tally``; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a character shows its number; a table is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    is_json = "--json" in given
    try:
        return _run(given)
    except _UsageError as error:
        return _complain(error, USAGE, is_json=is_json)
    except TallystickError as error:
        return _complain(error, USAGE, is_json=is_json)
    except BrokenPipeError:
        # The reader of our output has gone (`tally runs | head`); that is its right.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return _complain(
            TallystickError("interrupted", remedy="Nothing acknowledged was lost; run it again to go on."),
            INTERRUPTED,
            is_json=is_json,
        )
    except OSError as error:
        return _complain(_of_system(error), USAGE, is_json=is_json)
    except Exception as error:
        if os.environ.get(_DEBUG_VARIABLE):
            traceback.print_exc()
        fault = TallystickError(
            f"a fault of Tallystick itself: {type(error).__name__}",
            actual=str(error)[:300],
            remedy=f"Nothing acknowledged was lost. Set {_DEBUG_VARIABLE}=1 to see where, and tell us.",
        )
        return _complain(fault, BUG, is_json=is_json)


def _run(given: list[str]) -> int:
    parser, children = _parser()
    command = _asked_for(given)
    if command is None:
        parser.parse_args(given)
        parser.print_help()
        return USAGE
    module = command.load()
    module.add_arguments(children[command.name])
    parsed = parser.parse_args(given)
    try:
        status = module.run(parsed)
    except InvalidError as error:
        return _complain(error, CHECK_FAILED if command.is_check else USAGE, is_json=parsed.json)
    sys.stdout.flush()
    return status


class _UsageError(TallystickError):
    """The words on the command line do not make a command."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError(message, remedy=f"See: {self.prog} --help")


def _asked_for(given: list[str]) -> Command | None:
    """The command that these words begin with, whose module alone is imported."""
    first = _Parser(prog="tally", add_help=False, allow_abbrev=False, parents=[_shared()])
    first.add_argument("command", nargs="?")
    name = first.parse_known_args(given)[0].command
    return next((command for command in COMMANDS if command.name == name), None)


def _shared() -> _Parser:
    shared = _Parser(add_help=False, allow_abbrev=False)
    for flags, text in (
        ("--home", "folder for ledger, vault, keys and views (TALLY_HOME, default .tally)"),
        ("--store", "where ledgers lie, a folder or esdb://… (TALLY_STORE, default <home>/ledgers)"),
        ("--tenant", "tenant (TALLY_TENANT, default demo)"),
    ):
        shared.add_argument(flags, help=text, default=argparse.SUPPRESS)
    shared.add_argument(
        "--json", action="store_true", help="print JSON for machines", default=argparse.SUPPRESS
    )
    return shared


def _parser() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    shared = _shared()
    parser = _Parser(
        prog="tally",
        allow_abbrev=False,
        description="An event-sourced ledger with immutable receipts for measurements.",
        epilog="Start with: tally demo",
        parents=[shared],
    )
    # This sets the defaults of the arguments themselves, so the commands need arguments of their own: a
    # default of theirs would undo what was said before the command.
    parser.set_defaults(home=None, store=None, tenant=None, json=False)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    children = {
        command.name: subparsers.add_parser(
            command.name, help=command.help, description=command.help, parents=[_shared()], allow_abbrev=False
        )
        for command in COMMANDS
    }
    return parser, children


def _of_system(error: OSError) -> TallystickError:
    """What the operating system refused, as a sentence."""
    place = str(error.filename) if error.filename is not None else ""
    if isinstance(error, FileNotFoundError):
        return TallystickError("no such file", field=place)
    return TallystickError(error.strerror or str(error) or type(error).__name__, field=place)


def _complain(error: TallystickError, status: int, *, is_json: bool) -> int:
    print(f"tally: {' '.join(str(error).split())}", file=sys.stderr)
    if is_json:
        told = {name: getattr(error, name) for name in ("what", "field", "expected", "actual", "remedy")}
        kind = type(error).__name__.lstrip("_")
        print_json({"error": {"kind": kind, **{name: value for name, value in told.items() if value}}})
    return status
