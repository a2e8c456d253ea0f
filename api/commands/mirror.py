"""``tally mirror FOLDER``: keep a folder of tiles that any web server can show, audited first."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import closing
from pathlib import Path

from adapters.tile_directory import TileDirectory
from api.commands.command import DONE, at_desk, print_json, progress
from api.commands.trust import known_policy, policy_from
from api.commands.verify_log import API_KEY_VARIABLE, open_source
from api.workplace import Workplace
from ledger.checkpoint import parse_checkpoint
from ledger.desk import Desk
from ledger.notes import parse_note
from ledger.tile_mirror import MirrorReport, mirror, shown_checkpoint
from ledger.tile_serving import published_checkpoint, published_tile
from ledger.tiles import Tile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("folder", help="where the mirror lies; made, or brought up to date")
    parser.add_argument(
        "--from",
        dest="source",
        metavar="SOURCE",
        help=f"another log's address (key in {API_KEY_VARIABLE}) or folder; needs --key or --policy",
    )
    parser.add_argument("--key", help="with --from: the log's public key you trust (vkey or file)")
    parser.add_argument("--policy", help="with --from: a tlog-policy file")
    parser.add_argument(
        "--any-entries", action="store_true", help="with --from: a log of other software; see verify-log"
    )


def run(arguments: argparse.Namespace) -> int:
    """Copy what is new, audit it, and publish the checkpoint last."""
    shelf = TileDirectory(Path(arguments.folder))
    if arguments.source:
        report = _of_source(arguments, shelf)
        return _show(report, arguments)

    async def work(workplace: Workplace, desk: Desk) -> int:
        ledger = desk.ledger

        async def fetch(tile: Tile) -> bytes:
            return await published_tile(ledger, tile)

        policy = await known_policy(workplace, ledger)
        with shelf.writing():
            note = await published_checkpoint(ledger)
            # What was mirrored before witnesses were asked may be newer than what they have seen.
            if parse_checkpoint(parse_note(note).text).size < shown_checkpoint(shelf, ledger.origin).size:
                note = ledger.checkpoint
            report = await mirror(fetch, note, policy, shelf, progress=progress("files"))
        return _show(report, arguments)

    return at_desk(arguments, work)


def _of_source(arguments: argparse.Namespace, shelf: TileDirectory) -> MirrorReport:
    policy = policy_from(arguments.key, arguments.policy)
    source = open_source(arguments.source)

    async def fetch(tile: Tile) -> bytes:
        return await asyncio.to_thread(source, tile)

    with shelf.writing(), closing(source):
        return asyncio.run(
            mirror(
                fetch,
                source.checkpoint(),
                policy,
                shelf,
                is_chained=not arguments.any_entries,
                expect=source.expect,
                progress=progress("files"),
            )
        )


def _show(report: MirrorReport, arguments: argparse.Namespace) -> int:
    if arguments.json:
        print_json(report)
    else:
        print(
            f"✓ {report.origin}: {report.size} entries ({report.size - report.size_before} new), "
            f"{report.file_count} files written to {arguments.folder}\n  root {report.root}"
        )
    return DONE
