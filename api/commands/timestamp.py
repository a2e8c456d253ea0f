"""``tally timestamp``: have the newest checkpoint stamped by a timestamp authority, or check what was."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from adapters.timestamp_authority import CERTIFICATES_BYTES_MAX, HttpTimestampAuthority, parse_certificates
from api.commands.command import DONE, at_desk, print_json, read_file
from api.commands.table import format_table, format_time
from api.workplace import Workplace
from ledger.desk import Desk
from ledger.timestamping import (
    StampedCheckpoint,
    stamped_checkpoints,
    timestamp_checkpoint,
    verify_timestamps,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--ca", required=True, help="certificates you trust (PEM): roots and intermediates")
    parser.add_argument("--url", help="have the newest checkpoint stamped here; else tokens are checked")
    parser.add_argument(
        "--export", metavar="FOLDER", help="write tokens and checkpoints, for `openssl ts -verify`"
    )


def run(arguments: argparse.Namespace) -> int:
    """Stamp if asked, then verify and list every token; 1 when one does not verify."""
    certificates = parse_certificates(read_file(arguments.ca, CERTIFICATES_BYTES_MAX))
    authority = HttpTimestampAuthority(certificates, arguments.url or "")

    async def work(workplace: Workplace, desk: Desk) -> int:
        if arguments.url:
            await timestamp_checkpoint(desk.ledger, authority, "cli")
        stamped = await stamped_checkpoints(desk.ledger.log, desk.ledger.name)
        verify_timestamps(stamped[-1:] if arguments.url else stamped, authority)
        if arguments.export:
            await asyncio.to_thread(_export, Path(arguments.export), stamped)
        if arguments.json:
            print_json(
                [
                    {
                        "index": one.recorded.index,
                        "size": one.event.size,
                        "time_ns": one.event.time_ns,
                        "accuracy_ns": one.event.accuracy_ns,
                        "authority": one.event.authority,
                    }
                    for one in stamped
                ]
            )
        else:
            _print(stamped)
        return DONE

    return at_desk(arguments, work)


def _export(folder: Path, stamped: list[StampedCheckpoint]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for one in stamped:
        name = f"{one.event.size}-{one.recorded.index}"
        (folder / f"{name}.checkpoint").write_bytes(one.note)
        (folder / f"{name}.tsr").write_bytes(one.event.token)


def _print(stamped: list[StampedCheckpoint]) -> None:
    rows = [
        (
            one.recorded.index,
            one.event.size,
            format_time(one.event.time_ns),
            "not said" if one.event.accuracy_ns is None else f"{one.event.accuracy_ns / 1e9:g} s",
            one.event.authority,
        )
        for one in stamped
    ]
    print(format_table(("entry", "entries covered", "existed by", "accuracy", "says"), rows))
    if stamped:
        print("\n✓ What is covered existed by then, whatever the clock of this ledger's machine said.")
