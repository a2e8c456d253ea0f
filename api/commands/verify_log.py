"""``tally verify-log SOURCE``: audit a log from its tiles alone, from a server or a folder."""

from __future__ import annotations

import argparse
import os
from contextlib import closing
from pathlib import Path

from adapters.tile_directory import TileDirectory
from adapters.tile_web import TileWeb
from api.commands.command import DONE, print_json, progress, read_file
from api.commands.table import format_table
from api.commands.trust import policy_from
from ledger.checkpoint import open_checkpoint
from ledger.notes import NOTE_BYTES_MAX
from ledger.policy import open_witnessed_checkpoint
from ledger.tile_audit import audit_tiles, tiles_of_audit

API_KEY_VARIABLE = "TALLY_API_KEY"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_source(parser, "source")
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="FILE",
        help="a checkpoint you kept; shows truncation and rewritten history (may be repeated)",
    )


def add_source(parser: argparse.ArgumentParser, name: str) -> None:
    """Where a log is read from, and whom to believe."""
    parser.add_argument(
        name,
        help=f"address below which /checkpoint and /tile lie (its API key in {API_KEY_VARIABLE}), "
        "or a folder that `tally mirror` made",
    )
    parser.add_argument("--key", help="the log's public key you trust (vkey or file)")
    parser.add_argument("--policy", help="a tlog-policy file: log key, witnesses and quorum")
    parser.add_argument(
        "--any-entries",
        action="store_true",
        help="a log of other software: hash its entries, and ask nothing else of them",
    )


def open_source(name: str) -> TileDirectory | TileWeb:
    """A log's tiles by address or folder.  Raises: MalformedError."""
    if "://" in name:
        return TileWeb(name, api_key=os.environ.get(API_KEY_VARIABLE, ""))
    return TileDirectory(Path(name))


def run(arguments: argparse.Namespace) -> int:
    """Audit; the first thing that does not hold is an error that names its place."""
    policy = policy_from(arguments.key, arguments.policy)
    source = open_source(arguments.source)
    checkpoint = open_witnessed_checkpoint(source.checkpoint(), policy).checkpoint
    keys = [log.key for log in policy.logs]
    kept = [open_checkpoint(read_file(name, NOTE_BYTES_MAX), keys) for name in arguments.checkpoint]
    with closing(source):
        source.expect(tiles_of_audit(0, checkpoint.size))
        report = audit_tiles(
            source,
            checkpoint,
            kept=kept,
            is_chained=not arguments.any_entries,
            progress=progress("entries"),
        )
    if arguments.json:
        print_json(report)
        return DONE
    print(
        format_table(
            ("what", "count"),
            [
                ("entries", report.size),
                ("bytes of entries", report.byte_count),
                ("tiles of hashes", report.tile_count),
                ("checkpoints", report.checkpoint_count),
            ],
        )
    )
    print(f"  root {report.root}\n\n✓ {report.origin}: every entry, link, tile and root holds.")
    return DONE
