"""``tally bundle RECEIPT…``: receipts with everything they rest on in one file, or verify such a file
offline."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from api.commands.command import DONE, at_workplace, print_json, read_file
from api.commands.table import format_table, format_verdict
from api.commands.trust import describe_witnesses, names_of, policy_from
from api.workplace import Workplace
from domain.errors import MalformedError
from ledger.audit_bundle import (
    AUDIT_BUNDLE_BYTES_MAX,
    FILE_SUFFIX,
    VerifiedAuditBundle,
    make_audit_bundle,
    stated_cosigners,
    verify_audit_bundle,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("receipt", nargs="*", help="receipt ids (see: tally receipts)")
    parser.add_argument(
        "--output", metavar="FILE", help=f"where to write it (default <first receipt>{FILE_SUFFIX})"
    )
    parser.add_argument(
        "--objects", action="store_true", help="put the batches, datasets and artifacts in too"
    )
    parser.add_argument(
        "--newest",
        action="store_true",
        help="prove them under the newest seal, also where witnesses have cosigned one that covers them",
    )
    parser.add_argument("--verify", metavar="FILE", help="verify a bundle instead; needs --key or --policy")
    parser.add_argument("--key", help="with --verify: the ledger's public key (vkey or file)")
    parser.add_argument("--policy", help="with --verify: a tlog-policy file")


def run(arguments: argparse.Namespace) -> int:
    """Make or verify an audit bundle."""
    if arguments.verify:
        data = read_file(arguments.verify, AUDIT_BUNDLE_BYTES_MAX)
        verified = asyncio.run(verify_audit_bundle(data, policy_from(arguments.key, arguments.policy)))
        return _show(verified, arguments)
    if not arguments.receipt:
        raise MalformedError(
            "no receipt", remedy="Name some, or verify a bundle with --verify FILE --key VKEY."
        )

    async def work(workplace: Workplace) -> int:
        data = await make_audit_bundle(
            await workplace.desk(),
            arguments.receipt,
            with_objects=arguments.objects,
            is_newest=arguments.newest,
        )
        path = Path(arguments.output or f"{arguments.receipt[0]}{FILE_SUFFIX}")
        await asyncio.to_thread(path.write_bytes, data)
        witnesses = stated_cosigners(data)
        if arguments.json:
            print_json({"file": str(path), "byte_count": len(data), "witnesses": witnesses})
        else:
            print(f"{path}, {len(data):,} bytes; check it with: tally bundle --verify {path} --key VKEY")
            print(f"It is under a checkpoint {describe_witnesses(witnesses)}.")
        return DONE

    return at_workplace(arguments, work)


def _show(verified: VerifiedAuditBundle, arguments: argparse.Namespace) -> int:
    if arguments.json:
        print_json(
            {
                "verified": True,
                "checkpoint_size": verified.checkpoint.size,
                "witnesses": names_of(verified.witnessed),
                "entry_count": verified.entry_count,
                "objects": verified.objects,
                "receipts": [
                    {"receipt_id": one.receipt_id, "index": one.index, "verdict": one.predicate.verdict}
                    for one in verified.receipts
                ],
            }
        )
        return DONE
    rows = [
        (one.index, one.receipt_id, one.predicate.procedure.name, format_verdict(one.predicate.verdict))
        for one in verified.receipts
    ]
    print(format_table(("entry", "receipt", "procedure", "verdict"), rows))
    print(
        f"\n✓ {len(rows)} receipt(s) verify with {verified.entry_count} entries and "
        f"{len(verified.objects)} objects,\n  under a checkpoint of {verified.checkpoint.size} entries "
        f"of {verified.checkpoint.origin},\n  {describe_witnesses(names_of(verified.witnessed))}."
    )
    return DONE
