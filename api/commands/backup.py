"""``tally backup FOLDER``: a proven copy of the ledger and of everything it rests on."""

from __future__ import annotations

import argparse
from pathlib import Path

from api.backup import Backup, back_up
from api.commands.command import DONE, at_workplace, print_json, progress
from api.commands.table import format_table
from api.workplace import Workplace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("folder", help="where to; an earlier backup there is continued")
    parser.add_argument("--all", action="store_true", help="every ledger of the store, not only the tenant's")
    parser.add_argument("--no-vault", action="store_true", help="list the objects, do not copy them")
    parser.add_argument(
        "--keys", metavar="FOLDER", help="copy keys there too, without those of people who were erased"
    )


def run(arguments: argparse.Namespace) -> int:
    """Back up the tenant's ledger or all of them."""

    async def work(workplace: Workplace) -> int:
        tenants = await workplace.tenants() if arguments.all else [workplace.settings.tenant]
        bars: dict[str, object] = {}

        def on_step(what: str, done: int, size: int) -> None:
            bar = bars.setdefault(what, progress(what))
            bar(done, size)  # type: ignore[operator]

        backups = [
            await back_up(
                workplace,
                await workplace.existing_desk(tenant),
                Path(arguments.folder),
                with_vault=not arguments.no_vault,
                keys_folder=Path(arguments.keys) if arguments.keys else None,
                on_step=on_step,
            )
            for tenant in tenants
        ]
        if arguments.json:
            print_json(backups)
        else:
            _print(backups, arguments.folder)
        return DONE

    return at_workplace(arguments, work)


def _print(backups: list[Backup], folder: str) -> None:
    headers = ("tenant", "entries", "new", "objects", "left out as shredded", "keys", "root")
    rows = [
        (
            one.tenant,
            one.size,
            one.copied_count,
            one.object_count if one.has_objects else f"{one.object_count} listed",
            one.shredded_count,
            "–" if one.key_count is None else one.key_count,
            one.root,
        )
        for one in backups
    ]
    print(format_table(headers, rows))
    print("\n✓ Every entry was read back and compared, every object that was copied fits its digest.")
    print(f"  Look at it again at any time: tally audit --home {folder} --tenant TENANT")
    print("  Not in it, and never to be: what this installation has seen (TALLY_SEEN, docs/operations.md).")
