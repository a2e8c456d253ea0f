"""``tally complete TOPIC``: prove that a list is complete, or verify such a proof offline."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from api.commands.command import DONE, at_workplace, print_json, read_file
from api.commands.table import format_table, format_time
from api.commands.trust import describe_witnesses, known_policy, names_of, policy_from
from api.workplace import Workplace
from domain.errors import MalformedError
from ledger.completeness import PROOF_BYTES_MAX, Complete, Topics, verify_completeness


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "topic",
        nargs="?",
        help="receipts/SOURCE, calibrations/DEVICE, configurations/DEVICE, batches/SOURCE, "
        "quarantines/SOURCE, erasures/CONNECTION, status/RECEIPT, replays/RECEIPT or recalls",
    )
    parser.add_argument(
        "--newest",
        action="store_true",
        help="prove it under the newest seal, also where witnesses have cosigned a checkpoint that covers it",
    )
    parser.add_argument("--output", metavar="FILE", help="write the proof")
    parser.add_argument(
        "--verify", metavar="FILE", help="verify a proof instead of making one; needs --key or --policy"
    )
    parser.add_argument("--key", help="with --verify: the ledger's public key (vkey or file)")
    parser.add_argument("--policy", help="with --verify: a tlog-policy file")


def run(arguments: argparse.Namespace) -> int:
    """Prove or verify, and list what is proven complete."""
    if arguments.verify:
        proof = read_file(arguments.verify, PROOF_BYTES_MAX)
        return _show(verify_completeness(proof, policy_from(arguments.key, arguments.policy)), arguments)
    if not arguments.topic:
        raise MalformedError("no topic", remedy="Name one, or verify a proof with --verify FILE --key VKEY.")

    async def work(workplace: Workplace) -> int:
        desk = await workplace.desk()
        proof = await Topics(desk.ledger).prove(arguments.topic, "cli", is_newest=arguments.newest)
        if arguments.output:
            await asyncio.to_thread(Path(arguments.output).write_bytes, proof)
        return _show(verify_completeness(proof, await known_policy(workplace, desk.ledger)), arguments)

    return at_workplace(arguments, work)


def _show(complete: Complete, arguments: argparse.Namespace) -> int:
    if arguments.json:
        events = [{"index": r.index, "type": r.event.TYPE, "subject": r.subject} for r in complete.events]
        print_json(
            {
                "topic": complete.topic,
                "origin": complete.origin,
                "size": complete.size,
                "witnesses": names_of(complete.witnessed),
                "entries": events,
            }
        )
    elif complete.events:
        rows = [(r.index, format_time(r.recorded_at_ns), r.event.TYPE, r.subject) for r in complete.events]
        print(format_table(("entry", "recorded", "event", "subject"), rows))
        print(
            f"\nThese are all entries about {complete.topic} "
            f"among the first {complete.size} of {complete.origin}."
        )
    else:
        print(
            f"There is no entry about {complete.topic} among the first {complete.size} of {complete.origin}."
        )
    if not arguments.json:
        print(f"It is proven under a checkpoint {describe_witnesses(names_of(complete.witnessed))}.")
    return DONE
