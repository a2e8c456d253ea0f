"""``tally migrate``: move ledgers from one store to another, byte for byte, and prove it."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from adapters.event_logs import describe, open_log
from api.commands.command import CHECK_FAILED, DONE, print_json, progress, settings_of
from api.commands.table import format_table
from domain.errors import InvalidError, UnknownError
from ledger.ledger import ledger_name
from ledger.migrate import MigrationReport, migrate
from ledger.ports import EventLog


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "--from", dest="source", help="the store to move from, a folder or esdb://… (default: --store)"
    )
    parser.add_argument("--to", dest="target", required=True, help="the store to move to")
    parser.add_argument("--all", action="store_true", help="every ledger of the store, not only the tenant's")


def run(arguments: argparse.Namespace) -> int:
    """Move the tenant's ledger or all; 0 when both stores are proven equal, 1 when they are not."""
    settings = settings_of(arguments)
    source, target = arguments.source or settings.store, arguments.target
    if "://" not in source and not Path(source).is_dir():
        raise UnknownError("no such store", field="--from", actual=describe(source))
    if _place(source) == _place(target):
        raise InvalidError("a ledger moves to another store", field="--to", actual=describe(target))
    reports = asyncio.run(_move(source, target, None if arguments.all else settings.tenant))
    is_complete = all(report.size == report.source_size for report in reports)
    if arguments.json:
        print_json({"is_complete": is_complete, "ledgers": reports})
    else:
        _print(reports, describe(source), describe(target), is_complete)
    return DONE if is_complete else CHECK_FAILED


def _place(store: str) -> str:
    return store if "://" in store else str(Path(store).resolve())


async def _move(source_store: str, target_store: str, tenant: str | None) -> list[MigrationReport]:
    source, target = open_log(source_store), open_log(target_store)
    try:
        names = await _names(source, source_store, tenant)
        return [await migrate(source, target, name, progress=progress(name)) for name in names]
    finally:
        await source.close()
        await target.close()


async def _names(source: EventLog, store: str, tenant: str | None) -> list[str]:
    found = await source.ledgers()
    names = [name for name in found if tenant is None or name == ledger_name(tenant)]
    if not names:
        raise UnknownError(
            "no such ledger" if tenant else "no ledgers",
            field="--from",
            expected=", ".join(found[:10]),
            actual=f"{tenant or 'none'} in {describe(store)}",
        )
    return names


def _print(reports: list[MigrationReport], source: str, target: str, is_complete: bool) -> None:
    rows = [
        (one.ledger, one.size, one.copied_count, one.seal_count, one.receipt_count, one.root)
        for one in reports
    ]
    print(format_table(("ledger", "entries", "copied now", "seals", "receipts", "root"), rows))
    if is_complete:
        print("\n✓ Both stores hold the same bytes: every entry, body and seal was read back and compared.")
        print(f"  Use {target} from now on; nothing may be written to {source} any more.")
        return
    behind = sum(one.source_size - one.size for one in reports)
    print(f"\n✗ The source grew meanwhile by {behind} entries.")
    print(f"  Stop what writes to {source}, then run this again.")
