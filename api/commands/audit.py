"""``tally audit``: derive every link, root, seal and receipt again and name the first bad position."""

from __future__ import annotations

import argparse

from api.commands.command import CHECK_FAILED, DONE, at_workplace, print_json, progress, read_file
from api.commands.table import format_table
from api.commands.trust import key_from
from api.workplace import Workplace
from ledger.audit import AuditReport, audit
from ledger.ledger import ledger_name
from ledger.notes import NOTE_BYTES_MAX


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "--key", help="the public key you trust (vkey or file); without it the ledger's own is believed"
    )
    parser.add_argument("--checkpoint", help="a checkpoint you kept; shows truncation and rewritten history")
    parser.add_argument("--no-vault", action="store_true", help="do not read the objects in the vault")


def run(arguments: argparse.Namespace) -> int:
    """Audit the tenant's ledger; 0 when it is clean, 1 when there are findings."""

    async def work(workplace: Workplace) -> int:
        tenant = workplace.settings.tenant
        await workplace.check_exists(tenant)
        report = await audit(
            workplace.log,
            ledger_name(tenant),
            vault=None if arguments.no_vault else workplace.vault(tenant),
            keys=workplace.keys,
            trusted=key_from(arguments.key) if arguments.key else None,
            kept_checkpoint=read_file(arguments.checkpoint, NOTE_BYTES_MAX) if arguments.checkpoint else b"",
            progress=progress("entries"),
        )
        if arguments.json:
            print_json(report)
        else:
            _print(report, is_trusted=bool(arguments.key))
        return DONE if report.is_clean else CHECK_FAILED

    return at_workplace(arguments, work)


def _print(report: AuditReport, *, is_trusted: bool) -> None:
    print(
        format_table(
            ("what", "count"),
            [
                ("entries", report.size),
                ("seals", report.seal_count),
                ("receipts rebuilt", report.receipt_count),
                ("vault objects", report.object_count),
                ("of them shredded", report.shredded_count),
                ("bytes", report.byte_count),
            ],
        )
    )
    print(f"  root {report.root}")
    if not is_trusted:
        print("  note: seals were checked with the ledger's own key; pass --key with one you got elsewhere.")
    for warning in report.warnings[:20]:
        print(f"  warning, entry {warning.index}: {warning.check}: {warning.detail}")
    if report.is_clean:
        print(f"\n✓ {report.ledger} is clean.")
        return
    print(f"\n✗ {len(report.findings)} finding(s), first bad position first:")
    for finding in report.findings[:20]:
        place = f"entry {finding.index}" if finding.index >= 0 else "ledger"
        print(f"  {place}: {finding.check}: {finding.detail}")
