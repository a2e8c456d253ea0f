"""``tally erase CONNECTION``: make everything that came from a person's connection unreadable for ever."""

from __future__ import annotations

import argparse

from api.commands.command import DONE, at_desk, print_json
from api.workplace import Workplace
from domain.errors import MalformedError
from domain.events import SubjectErased
from ledger.desk import Desk
from ledger.erasure import ErasureReason, erase_subject
from ledger.recorded import event_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("connection", help="id of the connection")
    parser.add_argument(
        "--reason",
        required=True,
        choices=[str(reason) for reason in ErasureReason],
        help="a code, never a word about the person; it is recorded",
    )
    parser.add_argument("--yes", action="store_true", help="do it; nothing can undo it")


def run(arguments: argparse.Namespace) -> int:
    """Erase; doing it again changes nothing."""
    if not arguments.yes:
        raise MalformedError(
            "erasing cannot be undone, by anybody",
            field=arguments.connection,
            remedy="Say it with --yes. Receipts and proofs stay valid; the data cannot be read again.",
        )

    async def work(workplace: Workplace, desk: Desk) -> int:
        recorded = await erase_subject(desk, arguments.connection, arguments.reason, "cli")
        event = event_of(recorded, SubjectErased)
        if arguments.json:
            print_json(
                {"connection_id": event.connection_id, "index": recorded.index, "reason": event.reason}
            )
        else:
            print(f"{event.connection_id} was erased by entry {recorded.index} ({event.reason}).")
            print("Its key is destroyed here, and is destroyed again wherever this ledger is opened.")
            print("Delete its copies in backups of keys: docs/operations.md says which there may be.")
        return DONE

    return at_desk(arguments, work)
