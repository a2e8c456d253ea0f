"""``tally apply FILE``: devices, connections, calibrations, contracts and deployments from a setup file."""

from __future__ import annotations

import argparse
from pathlib import Path

from adapters.plain_documents import DOCUMENT_BYTES_MAX
from adapters.setup_files import parse_setup
from api.commands.command import DONE, at_workplace, print_json, read_file
from api.commands.table import format_table
from api.setup import apply_setup
from api.workplace import Workplace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("setup", help="a YAML or JSON setup file (see docs/setup.md)")


def run(arguments: argparse.Namespace) -> int:
    """Apply the file; what is already there is left alone."""
    path = Path(arguments.setup)
    setup = parse_setup(read_file(arguments.setup, DOCUMENT_BYTES_MAX), path.name)

    async def work(workplace: Workplace) -> int:
        desk = await workplace.desk()
        applied = await apply_setup(
            desk, setup, lambda name: read_file(str(path.parent / name), DOCUMENT_BYTES_MAX), "cli"
        )
        if arguments.json:
            print_json(
                [
                    {"index": r.index, "type": r.event.TYPE, "subject": r.subject, "is_new": new}
                    for r, new in applied
                ]
            )
        else:
            rows = [
                (r.index, r.event.TYPE, r.subject, "new" if new else "already there") for r, new in applied
            ]
            print(format_table(("entry", "event", "subject", ""), rows))
        return DONE

    return at_workplace(arguments, work)
