"""``tally status RECEIPT``: what a receipt is worth now, with the proof."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from api.commands.command import CHECK_FAILED, DONE, at_workplace, print_json
from api.commands.trust import known_policy
from api.workplace import Workplace
from domain.events import ReceiptIssued
from ledger.completeness import Topics, verify_completeness
from ledger.receipt import parse_receipt
from ledger.recorded import event_of
from ledger.replay import find_receipt
from ledger.status import Status, proven_status
from ledger.topics import status_topic


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("receipt", help="receipt id (see: tally receipts)")
    parser.add_argument("--proof", metavar="FILE", help="write the proof of completeness it was read from")


def run(arguments: argparse.Namespace) -> int:
    """Say valid, superseded, recalled or withheld; 0 when it is valid, 1 otherwise."""

    async def work(workplace: Workplace) -> int:
        desk = await workplace.desk()
        index = await find_receipt(desk, arguments.receipt)
        receipt_id, predicate = parse_receipt(
            event_of((await desk.ledger.get(index))[1], ReceiptIssued).envelope
        )
        # Who wants to show it to somebody wants what witnesses vouch for; the entries are the same.
        proof = await Topics(desk.ledger).prove(
            status_topic(receipt_id), "cli", is_newest=not arguments.proof
        )
        complete = verify_completeness(proof, await known_policy(workplace, desk.ledger))
        status = proven_status(receipt_id, predicate, complete)
        if arguments.proof:
            await asyncio.to_thread(Path(arguments.proof).write_bytes, proof)
        if arguments.json:
            print_json(status)
        else:
            by = f" by {', '.join(status.by)}" if status.by else ""
            print(f"{receipt_id} is {status.status}{by}, as of {status.size} entries.")
        return DONE if status.status is Status.VALID else CHECK_FAILED

    return at_workplace(arguments, work)
