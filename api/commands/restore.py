"""``tally restore``: compare what is there with what was seen, or go on knowingly from an older state."""

from __future__ import annotations

import argparse

from adapters.checkpoint_memory import FileCheckpointMemory
from api.commands.command import CHECK_FAILED, DONE, at_workplace, print_json
from api.commands.table import format_table
from api.workplace import Workplace
from ledger.checkpoint import parse_checkpoint
from ledger.notes import parse_note
from ledger.seen import Acceptance, InvalidHistoryError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "--accept",
        metavar="REASON",
        help="go on from what is there, whatever was seen; the ledger records this with both checkpoints",
    )


def run(arguments: argparse.Namespace) -> int:
    """Compare, or accept; 1 when the store does not hold what was seen and nobody accepts it."""
    acceptance = None if arguments.accept is None else Acceptance(actor="cli", reason=arguments.accept)

    async def work(workplace: Workplace) -> int:
        tenant = workplace.settings.tenant
        note = FileCheckpointMemory(workplace.settings.seen_folder(tenant)).last()
        seen = parse_checkpoint(parse_note(note).text) if note else None
        if seen is None:
            await workplace.check_exists(tenant)
        try:
            ledger = (await workplace.desk(acceptance=acceptance)).ledger
        except InvalidHistoryError as error:
            if arguments.json:
                raise
            print(
                format_table(
                    ("", "entries", "root"),
                    [
                        ("seen here", error.seen.size, error.seen.root.hex()),
                        (
                            "in the store",
                            error.found_size,
                            error.found_root.hex() if error.found_root else "",
                        ),
                    ],
                )
            )
            print(f"\n✗ {error.what}.\n\n{error.remedy}")
            return CHECK_FAILED
        is_accepted = bool(note) and note.decode() in ledger.state.forgone
        if arguments.json:
            print_json(
                {
                    "seen_size": seen.size if seen else None,
                    "size": ledger.size,
                    "is_accepted": is_accepted,
                }
            )
        elif is_accepted and seen is not None:
            print(f"{ledger.name} goes on with {ledger.size} entries; {seen.size} had been seen.")
            print(
                "The entry ledger.restored.v1 names both checkpoints. Witnesses that cosigned the other one"
            )
            print("will not cosign this history under the same name: docs/operations.md says what to do.")
        else:
            print(f"✓ {ledger.name} holds everything that was seen here: {ledger.size} entries.")
        return DONE

    return at_workplace(arguments, work)
