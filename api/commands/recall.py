"""``tally recall KIND TARGET``: withdraw a calibration, firmware or procedure version, and name what rests on
it."""

from __future__ import annotations

import argparse

from api.commands.command import DONE, at_workplace, print_json
from api.workplace import Workplace
from domain.events import RecallDeclared
from ledger.recall import KINDS, recall
from ledger.recorded import event_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("kind", choices=KINDS, help="what is withdrawn")
    parser.add_argument("target", help="DEVICE/CALIBRATION, DEVICE/FIRMWARE or PROCEDURE/VERSION")
    parser.add_argument("--reason", required=True, help="why, in a sentence; it is recorded")


def run(arguments: argparse.Namespace) -> int:
    """Declare the recall and list the receipts it affects; doing it again changes nothing."""

    async def work(workplace: Workplace) -> int:
        desk = await workplace.desk()
        declared, affected = await recall(desk, arguments.kind, arguments.target, arguments.reason, "cli")
        recall_id = event_of(declared, RecallDeclared).recall_id
        if arguments.json:
            print_json(
                {
                    "recall_id": recall_id,
                    "index": declared.index,
                    "receipts": [{"receipt_id": one.receipt_id, "index": one.index} for one in affected],
                }
            )
            return DONE
        print(f"{recall_id}, entry {declared.index}: {len(affected)} receipt(s) rest on {arguments.target}.")
        for one in affected:
            print(f"  {one.receipt_id}  entry {one.index}")
        print("Nothing old was changed; `tally status RECEIPT` says recalled from now on.")
        return DONE

    return at_workplace(arguments, work)
