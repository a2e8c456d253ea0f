"""``tally batches``: what was ingested, and what became of it."""

from __future__ import annotations

import argparse
from functools import partial

from api.commands.command import print_json
from api.commands.table import format_table, format_time
from api.commands.views import add_limit, at_views, rows_of
from projections.reading.batches import BatchSummary, Quarantine, list_batches, list_quarantines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--source", help="only of this device or connection")
    parser.add_argument("--kind", help="only of this kind, such as samples or oura.sleep")
    parser.add_argument(
        "--quarantined", action="store_true", help="only those that could not be used so far, and why"
    )
    add_limit(parser)


def run(arguments: argparse.Namespace) -> int:
    """List."""
    if arguments.quarantined:
        return at_views(
            arguments,
            lambda connection: [
                row
                for row in rows_of(
                    partial(list_quarantines, connection),
                    arguments.limit,
                    source_id=arguments.source,
                    is_resolved=False,
                )
                if arguments.kind in (None, row.kind)
            ],
            lambda found: _show_quarantined(found, arguments),
        )
    return at_views(
        arguments,
        lambda connection: rows_of(
            partial(list_batches, connection),
            arguments.limit,
            source_id=arguments.source,
            kind=arguments.kind,
        ),
        lambda found: _show(found, arguments),
    )


def _show(found: list[BatchSummary], arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json(found)
        return
    rows = [
        (
            row.entry_index,
            row.batch_id,
            row.source_id,
            row.kind,
            row.byte_count,
            format_time(row.received_at_ns),
            row.status,
        )
        for row in found
    ]
    print(format_table(("entry", "batch", "source", "kind", "bytes", "received", "status"), rows))


def _show_quarantined(found: list[Quarantine], arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json(found)
        return
    if not found:
        print("Nothing is quarantined.")
        return
    for row in found:
        by = f"{row.procedure} {row.procedure_version}".strip()
        print(f"{row.batch_id}  {row.kind} from {row.source_id}, {row.byte_count} bytes kept, {row.digest}")
        print(f"  entry {row.entry_index}, {row.stage}{f' by {by}' if by else ''}: {row.detail}")
        if row.remedy:
            print(f"  {row.remedy}")
    print("\nThe bytes stay in the vault. `tally reprocess PROCEDURE` tries them with the version in force.")
