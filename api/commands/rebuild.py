"""``tally rebuild``: fold the read views again from the ledger, and prove them equal."""

from __future__ import annotations

import argparse
import asyncio

from api.commands.command import CHECK_FAILED, DONE, at_workplace, print_json
from api.commands.table import format_table
from api.workplace import Workplace
from ledger.ledger import ledger_name
from projections.rebuild import RebuildReport, rebuild
from projections.schema import view_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(arguments: argparse.Namespace) -> int:
    """Rebuild; 1 when the view that was there says something else than the ledger."""

    async def work(workplace: Workplace) -> int:
        tenant = workplace.settings.tenant
        await workplace.check_exists(tenant)
        folder = workplace.settings.views_folder
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True, mode=0o700)
        report = await rebuild(workplace.log, ledger_name(tenant), view_path(folder, tenant))
        if arguments.json:
            print_json(
                {
                    "ledger": report.ledger,
                    "path": report.path,
                    "event_count": report.event_count,
                    "seconds": report.seconds,
                    "live": report.live,
                    "detail": report.detail,
                    "compared_count": report.compared_count,
                    "is_equal": report.is_equal,
                    "tables": [
                        {
                            "table": table.table,
                            "is_equal": table.is_equal,
                            "live": table.live,
                            "rebuilt": table.rebuilt,
                        }
                        for table in report.tables
                    ],
                    "previous": report.previous,
                }
            )
        else:
            _show(report)
        return CHECK_FAILED if report.live == "compared" and not report.is_equal else DONE

    return at_workplace(arguments, work)


def _show(report: RebuildReport) -> None:
    rate = f"{report.events_per_second:,.0f} a second" if report.seconds else ""
    print(f"{report.event_count:,} entries folded in {report.seconds:.2f} s{f', {rate}' if rate else ''}.")
    if report.live != "compared":
        reasons = {"missing": "there was no view before", "unreadable": "the view could not be read"}
        print(f"Nothing was compared: {reasons.get(report.live, report.detail)}. The new one is in place.")
        return
    rows = [
        (
            table.table,
            table.live.row_count,
            table.rebuilt.row_count,
            table.rebuilt.digest[:16],
            "equal" if table.is_equal else "DIFFERENT",
        )
        for table in report.tables
        if table.live.row_count or table.rebuilt.row_count
    ]
    print(format_table(("table", "rows before", "rows now", "digest", ""), rows))
    if report.is_equal:
        print(f"\n✓ both are equal, table by table, at {report.compared_count:,} entries.")
    else:
        print(f"\n✗ they differ; the ledger's own is in place, the other one is kept at {report.previous}.")
