"""``tally ingest FILE``: keep a batch, derive its dataset, run what is deployed for it, issue receipts."""

from __future__ import annotations

import argparse
import mimetypes
import os
import sys
from pathlib import Path
from typing import Any

from api.commands.command import CHECK_FAILED, DONE, at_workplace, print_json, read_file
from api.commands.outcomes import outcome_rows, outcomes_since
from api.commands.table import format_table
from api.uploads import checked_options
from api.work_lease import WorkLease, settle_or_wait
from api.workplace import Workplace
from domain.errors import MalformedError
from domain.events import BatchIngested
from ledger.ingest import SAMPLES, Upload, ingest
from ledger.ports import BATCH_BYTES_MAX
from ledger.recorded import event_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("file", nargs="+", help="files to ingest, each one batch; - for standard input")
    parser.add_argument("--source", required=True, help="id of the device or connection that sent it")
    parser.add_argument(
        "--kind", default=SAMPLES, help="samples (default), or a payload kind such as oura.sleep"
    )
    parser.add_argument("--media-type", help="when the file's name does not say what it is")
    parser.add_argument("--sequence", type=int, help="the sender's own running number")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="how the file is to be read, such as sample_rate_hz=200 or channel_names.XX.ABC..HHZ=left"
        " (may be repeated)",
    )
    parser.add_argument(
        "--no-run", action="store_true", help="only keep the bytes; a running server works them off"
    )


def run(arguments: argparse.Namespace) -> int:
    """Ingest; 0 when everything was taken in, 1 when something was quarantined or stuck."""
    options = checked_options(arguments.kind, parse_options(arguments.option), are_words=True)
    for name in arguments.file:
        # One that is missing is told before any of the others is recorded.
        if name != "-":
            os.stat(name)

    async def work(workplace: Workplace) -> int:
        desk = await workplace.desk()
        desk.source(arguments.source)
        size_before = desk.ledger.size
        taken = []
        for name in arguments.file:
            upload = Upload(
                source_id=arguments.source,
                kind=arguments.kind,
                data=read_file(name, BATCH_BYTES_MAX),
                media_type=arguments.media_type
                or mimetypes.guess_type(name)[0]
                or "application/octet-stream",
                file_name="" if name == "-" else Path(name).name,
                sequence=arguments.sequence,
                received_at_ns=desk.clock(),
                format_options=options,
            )
            taken.append((name, *await ingest(desk, upload, "cli")))
        lease = WorkLease(workplace.settings.work_lease_path(workplace.settings.tenant))
        stuck = () if arguments.no_run else await settle_or_wait(desk, lease, _tell_waiting)
        batch_ids = {event_of(recorded, BatchIngested).batch_id for _, recorded, _ in taken}
        outcomes = await outcomes_since(desk, size_before, batch_ids)
        if arguments.json:
            print_json(
                {
                    "batches": [
                        {
                            "file": name,
                            "batch_id": event_of(recorded, BatchIngested).batch_id,
                            "index": recorded.index,
                            "is_new": is_new,
                        }
                        for name, recorded, is_new in taken
                    ],
                    "outcomes": outcomes,
                    "stuck": [str(item.error) for item in stuck],
                }
            )
        else:
            rows = [
                (
                    name,
                    event_of(recorded, BatchIngested).batch_id,
                    recorded.index,
                    "new" if is_new else "already there",
                )
                for name, recorded, is_new in taken
            ]
            print(format_table(("file", "batch", "entry", ""), rows))
            if outcomes:
                print("\n" + format_table(*outcome_rows(outcomes)))
            for item in stuck:
                print(f"  stuck: {item.error}")
        return CHECK_FAILED if stuck or any(outcome.is_quarantine for outcome in outcomes) else DONE

    return at_workplace(arguments, work)


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """``NAME=VALUE`` pairs; a dot nests (``channel_names.A=B``).  Raises: MalformedError."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise MalformedError("not an option", field="--option", expected="NAME=VALUE", actual=pair)
        group, dot, key = name.partition(".")
        holder = options.setdefault(group, {}) if dot else options
        if not isinstance(holder, dict) or (key if dot else name) in holder:
            raise MalformedError("an option is given twice", field="--option", actual=pair[:80])
        holder[key if dot else name] = value
    return options


def _tell_waiting() -> None:
    print("note: another process works this ledger off; waiting for it.", file=sys.stderr)
