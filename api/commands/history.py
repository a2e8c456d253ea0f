"""``tally history SUBJECT``: what happened, when, and why it was trusted."""

from __future__ import annotations

import argparse

from api.commands.command import DONE, at_desk, print_json, progress
from api.commands.table import format_table, format_time
from api.history import history_of
from api.workplace import Workplace
from ledger.desk import Desk


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("subject", help="id of a source, batch, run or receipt, or an entry's subject")


def run(arguments: argparse.Namespace) -> int:
    """Show every entry about it, with those that led to it and those that followed."""

    async def work(workplace: Workplace, desk: Desk) -> int:
        found = await history_of(desk, arguments.subject, progress("entries"))
        if arguments.json:
            print_json(found)
            return DONE
        rows = [
            (
                entry.index,
                format_time(entry.recorded_at_ns),
                entry.event_type,
                entry.subject,
                entry.actor,
                ", ".join(map(str, entry.causation)) or "–",
            )
            for entry in found
        ]
        print(format_table(("entry", "recorded", "event", "subject", "by", "because of"), rows))
        return DONE

    return at_desk(arguments, work)
