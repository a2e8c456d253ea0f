"""``tally ingest FILE``: keep a batch, derive its dataset, run what is deployed for it, issue receipts."""

from __future__ import annotations

import argparse
import mimetypes
from pathlib import Path
from typing import Any

from api.commands.command import CHECK_FAILED, DONE, at_workplace, print_json, read_file
from api.commands.outcomes import outcome_rows, outcomes_since
from api.commands.table import format_table
from api.workplace import Workplace
from domain.errors import MalformedError
from domain.events import BatchIngested
from ledger.ingest import SAMPLES, Upload, ingest
from ledger.ports import BATCH_BYTES_MAX
from ledger.worker import settle


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
        help="how the file is to be read, such as channel_names.XX.ABC..HHZ=left (may be repeated)",
    )
    parser.add_argument(
        "--no-run", action="store_true", help="only keep the bytes; a running server works them off"
    )


def run(arguments: argparse.Namespace) -> int:
    """Ingest; 0 when everything was taken in, 1 when something was quarantined or stuck."""
    options = parse_options(arguments.option)

    async def work(workplace: Workplace) -> int:
        desk = await workplace.desk()
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
        stuck = () if arguments.no_run else await settle(desk)
        outcomes = await outcomes_since(desk, size_before)
        if arguments.json:
            print_json(
                {
                    "batches": [
                        {"file": name, "batch_id": _batch(r.event).batch_id, "index": r.index, "is_new": new}
                        for name, r, new in taken
                    ],
                    "outcomes": outcomes,
                    "stuck": [str(item.error) for item in stuck],
                }
            )
        else:
            rows = [
                (name, _batch(r.event).batch_id, r.index, "new" if new else "already there")
                for name, r, new in taken
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
        if dot:
            options.setdefault(group, {})[key] = value
        else:
            options[name] = value
    return options


def _batch(event: object) -> BatchIngested:
    assert isinstance(event, BatchIngested)
    return event
